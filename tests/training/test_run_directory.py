from cvrl_tf.training.run_directory import RunDirectory


def test_workers_list_bad_records_in_files_of_their_own():
    run = RunDirectory("runs/first")
    assert run.bad_records() == "runs/first/bad_records.txt"
    assert run.bad_records(2) == "runs/first/bad_records_worker_2.txt"
