"""What is run, in which order, and what follows from failures, stops and kills."""

import dataclasses
import json
import os
import pathlib
import signal
import time

import pytest
import small_tables
from commands import FORKSERVER

from cvrl_tf.errors import STOPPED_STATUS, InputError, Stopped
from cvrl_tf.reproduction import execution
from cvrl_tf.reproduction.execution import DONE, FAILED, State


class Runner:
    """Writes what the commands would write; those named in `failing` end with their status."""

    def __init__(self, **failing):
        self.failing, self.started = failing, []

    def __call__(self, run, log, lock):
        self.started.append(run.name)
        status = self.failing.get(run.name, 0)
        if status:
            log.write(b"some text\nerror: there is no space left.\nlast line\n")
        elif run.result.endswith(".json"):
            small_tables.write_result(run, [1, 0, 1, 1])
        elif run.result:
            pathlib.Path(run.result).write_text("video_0\n")
        else:
            pathlib.Path(run.output).mkdir()
        return status


def _execute(plan, **failing):
    runner, reports = Runner(**failing), []
    states = execution.execute(plan, reports.append, runner)
    return states, runner.started, reports


def test_each_run_is_run_once(tmp_path, capsys):
    plan = small_tables.make_plan(tmp_path)
    states, started, reports = _execute(plan)
    assert started == list(plan.runs) and len(reports) == 9
    assert {state.state for state in states.values()} == {DONE}
    assert f"[1 of 15] {plan.runs['base_seed0'].shell}\n" in capsys.readouterr().out
    more = small_tables.make_plan(tmp_path, seeds=(0, 1, 2))
    _, started, _ = _execute(more)
    assert started == [name for name in more.runs if "seed2" in name]
    assert json.loads((tmp_path / "records" / "base_seed0.json").read_text())["seconds"] >= 0


def test_a_run_that_fails_does_not_stop_the_others(tmp_path):
    plan = small_tables.make_plan(tmp_path)
    failing = {"base_seed0": 2, "other_seed1/knn": 1}
    states, started, reports = _execute(plan, **failing)
    skipped = ["base_seed0/knn", "base_seed0/tuned_split1", "base_seed0/tuned_split2"]
    assert started == [name for name in plan.runs if name not in skipped]
    log = tmp_path / "logs" / "base_seed0.txt"
    reason = f"exit status 2: there is no space left. (log: {log})"
    assert states["base_seed0"] == State(FAILED, reason, states["base_seed0"].seconds)
    assert states["base_seed0/knn"] == State(FAILED, "base_seed0 failed, which it needs")
    assert states["other_seed1/knn"].state == FAILED
    # The next call runs what failed, and nothing else.
    states, started, _ = _execute(plan)
    assert started == ["base_seed0", *skipped, "other_seed1/knn"]
    assert {state.state for state in states.values()} == {DONE}


def test_a_command_that_writes_no_result_has_failed(tmp_path):
    plan = small_tables.make_plan(tmp_path, seeds=(0,))
    states = execution.execute(plan, lambda states: None, lambda run, log, lock: 0)
    state = states["base_seed0/knn"]
    assert (state.state, state.reason) == (
        FAILED,
        f"it did not write {tmp_path}/evaluations/base_seed0/knn/results.json",
    )


def test_a_stop_ends_the_command_and_is_resumed(tmp_path):
    plan = small_tables.make_plan(tmp_path, seeds=(0,))
    with pytest.raises(Stopped, match=r"^other_seed0 was stopped; the same command resumes it\.$"):
        _execute(plan, other_seed0=STOPPED_STATUS)
    assert execution.states(plan)["other_seed0"].state == execution.STARTED
    _, started, _ = _execute(plan)
    assert started == ["other_seed0", "other_seed0/knn", "colors/knn"]


def test_results_of_a_script_count(tmp_path):
    """Its commands write no records."""
    plan = small_tables.make_plan(tmp_path, seeds=(0,))
    for name in ("base_seed0/knn", "base_seed0/tuned_split1", "other_seed0/knn"):
        small_tables.write_result(plan.runs[name], [1, 1])
    done = {name for name, state in execution.states(plan).items() if state.state == DONE}
    # All that needs other_seed0 is done, but not all that needs base_seed0.
    assert done == {
        *("base_seed0/knn", "base_seed0/tuned_split1", "other_seed0/knn", "other_seed0"),
        "ids/data_50pct_seed0",
    }


def test_runs_of_other_settings_and_versions_are_refused(tmp_path):
    plan = small_tables.make_plan(tmp_path)
    _execute(plan)
    other = small_tables.make_plan(tmp_path, pretrain_flags=("--steps=1",))
    message = r"has runs with pretrain_flags=\[\] \(now \['--steps=1'\]\): name another directory"
    with pytest.raises(InputError, match=message):
        _execute(other)
    moved = dataclasses.replace(plan.settings, data={"data": "elsewhere"})
    with pytest.raises(InputError, match=r"has runs with data=records \(now elsewhere\): name"):
        _execute(dataclasses.replace(plan, settings=moved))
    run = plan.runs["base_seed0"]
    changed = dataclasses.replace(run, arguments=(*run.arguments, "--optimizer=lars"))
    with pytest.raises(InputError, match=r"base_seed0\.json is of another command, python -m cvrl"):
        _execute(dataclasses.replace(plan, runs=plan.runs | {"base_seed0": changed}))
    small_tables.write_result(plan.runs["colors/knn"], [1, 1], version="0.0.1")
    with pytest.raises(InputError, match=r"colors/knn/results.json is of version 0\.0\.1 of this"):
        _execute(plan)


def test_a_damaged_record_is_named(tmp_path):
    plan = small_tables.make_plan(tmp_path)
    _execute(plan)
    path = tmp_path / "records" / "base_seed0.json"
    path.write_text("{")
    with pytest.raises(InputError, match=r"base_seed0\.json is damaged \(.*\): remove it; base_s"):
        execution.states(plan)


@pytest.fixture
def slow_command(tmp_path):
    """Starts processes that execute a command of some seconds; returns each with its output."""
    processes = []

    def start(seconds):
        output = tmp_path / f"output_{len(processes)}"
        arguments = str(tmp_path), str(output), seconds
        process = FORKSERVER.Process(target=small_tables.execute_slowly, args=arguments)
        process.start()
        processes.append(process)
        return process, output

    yield start
    for process in processes:
        process.kill()
        process.join()


def _wait_for(log, text):
    end = time.monotonic() + 120
    while not (log.exists() and text in log.read_text()):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_signal_is_passed_on_once_and_the_command_ends(slow_command, tmp_path):
    process, output = slow_command(120)
    log = tmp_path / "out" / "logs" / "colors.knn.txt"
    _wait_for(log, "waiting")
    os.kill(process.pid, signal.SIGINT)
    process.join(120)
    assert process.exitcode == STOPPED_STATUS
    assert log.read_text() == "waiting\nstopping\n"
    assert output.read_text().endswith("colors/knn was stopped; the same command resumes it.\n")


def test_after_a_kill_no_second_command_starts_beside_the_first(slow_command, tmp_path):
    process, _ = slow_command(120)
    log = tmp_path / "out" / "logs" / "colors.knn.txt"
    _wait_for(log, "waiting")
    process.kill()
    process.join()
    second, output = slow_command(0)
    second.join(120)
    assert second.exitcode == 2
    message = f"error: Another process ({process.pid} on "
    assert message in output.read_text() and "is reproducing in" in output.read_text()
    assert log.read_text() == "waiting\n"
    # The command ends by itself, and then the next one starts.
    os.kill(int((tmp_path / "slow_pid").read_text()), signal.SIGTERM)
    _wait_for(log, "stopping")
    for _ in range(20):  # the command holds the lock until its process is gone
        third, _ = slow_command(0)
        third.join(120)
        if third.exitcode == 0:
            break
    assert third.exitcode == 0 and log.read_text() == "waiting\nstopping\nwaiting\n"
