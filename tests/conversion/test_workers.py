import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from small_jobs import BetweenVideos, Job

from cvrl_tf.conversion.workers import InProcess, WorkerPool
from cvrl_tf.errors import InputError

CRASH = "the decoder crashed (signal 11)"


class _Counts(list):
    """Adds up what is reported."""

    def __call__(self, *values):
        self.append(values)

    @property
    def total(self):
        return tuple(map(sum, zip(*self, strict=True)))


@pytest.fixture
def log(tmp_path):
    return str(tmp_path / "log")


def _lines(log):
    with open(log) as file:
        return file.read().splitlines()


def test_jobs_run_side_by_side_and_results_keep_their_order(log):
    counts = _Counts()
    with WorkerPool(2) as pool:
        jobs = [Job(log, ("fine",) * (index + 1)) for index in range(5)]
        results = pool.run(jobs, counts)
        again = pool.run(jobs[:1], counts)
    assert len({process for process, _ in results}) == 2
    assert os.getpid() not in {process for process, _ in results}
    assert again[0][0] in {process for process, _ in results}
    assert counts.total == (16, 160, 0)
    assert not multiprocessing.active_children()


def test_results_come_in_order_and_jobs_are_taken_as_results_are_used(log):
    taken = []

    def jobs():
        for index, step in enumerate(["slow", *["fine"] * 7]):
            taken.append(index)
            yield Job(log, (step,) * (index + 1))

    counts = _Counts()
    with WorkerPool(2) as pool:
        results = pool.results(jobs(), counts, ahead=3)
        assert not taken
        for used, _ in enumerate(results):
            assert used < len(taken) <= used + 3
    assert used == 7 and counts.total == (36, 360, 0)


def test_closing_ends_results_in_another_thread(log):
    with WorkerPool(1) as pool:
        results = pool.results([Job(log, ("hang",))], _Counts(), ahead=1)
        found = []
        thread = threading.Thread(target=lambda: found.append(list(results)))
        thread.start()
        while not os.path.exists(log):
            time.sleep(0.05)
    thread.join(10)
    assert found == [[]] and not multiprocessing.active_children()


def test_in_process(log):
    counts = _Counts()
    with InProcess() as executor:
        results = executor.run([Job(log, ("fine", "fine"))] * 2, counts)
    assert results == [(os.getpid(), ())] * 2
    assert counts.total == (4, 40, 0)


def test_a_hanging_video_is_given_up_and_a_slow_one_is_not(log):
    counts = _Counts()
    with WorkerPool(1, timeout=1.6) as pool:
        [(_, left_out)] = pool.run([Job(log, ("fine", "slow", "hang", "fine"))], counts)
    assert left_out == ((2, "timeout: no frame in 1.6 s", True),)
    assert _lines(log) == ["0 fine", "1 slow", "2 hang", "0 fine", "1 slow", "2 hang", "3 fine"]
    assert counts.total == (4, 40, 1)  # the two before the video count once
    assert min(videos for videos, *_ in counts) == -2


def test_a_crash_is_tried_again_once(log):
    counts = _Counts()
    with WorkerPool(2) as pool:
        once, twice = pool.run([Job(log, ("fine", "die once")), Job(log, ("die", "fine"))], counts)
    assert once[1] == ((1, CRASH, False),)
    assert twice[1] == ((0, CRASH, False), (0, CRASH, True))
    assert counts.total == (4, 40, 1)


def test_deaths_between_videos_end_the_run(log):
    message = r"ended 3 times between two videos \(the decoder crashed \(exit 3\)\).*fewer workers"
    with pytest.raises(InputError, match=message), WorkerPool(1) as pool:
        pool.run([BetweenVideos()], _Counts())
    assert not multiprocessing.active_children()


def test_errors_come_to_the_caller(log):
    with WorkerPool(2) as pool, pytest.raises(InputError, match="^no space for it$"):
        pool.run([Job(log, ("refuse",)), Job(log, ("hang",))], _Counts())
    assert not multiprocessing.active_children()
    with WorkerPool(1) as pool, pytest.raises(RuntimeError, match="(?s)_do.*seven by zero"):
        pool.run([Job(log, ("bug",))], _Counts())


@pytest.fixture
def parent(log, tmp_path):
    """A process, first of its group, whose two workers hang at their videos."""
    path = tmp_path / "program.py"
    path.write_text(
        textwrap.dedent(
            f"""
            import signal
            from small_jobs import Job
            from cvrl_tf.conversion.workers import WorkerPool
            if __name__ == "__main__":
                # A shell has background commands ignore it.
                signal.signal(signal.SIGINT, signal.default_int_handler)
                try:
                    with WorkerPool(2) as pool:
                        pool.run([Job({log!r}, ("hang",))] * 2, lambda *counts: None)
                except KeyboardInterrupt:
                    print("interrupted")
            """
        )
    )
    parent = subprocess.Popen(
        [sys.executable, path],
        env={**os.environ, "PYTHONPATH": ":".join([os.getcwd(), *sys.path])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not os.path.exists(log) or len(_lines(log)) < 2:
        assert parent.poll() is None
        time.sleep(0.05)
    yield parent
    if parent.poll() is None:
        parent.kill()


def test_workers_end_with_a_parent_that_is_killed(parent):
    with open(f"/proc/{parent.pid}/task/{parent.pid}/children") as file:
        children = [int(child) for child in file.read().split()]
    assert len(children) >= 2
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 10
    while any(_runs(child) for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_interrupt_is_for_the_parent(parent):
    os.killpg(parent.pid, signal.SIGINT)
    assert parent.communicate(timeout=30) == ("interrupted\n", "")


def _runs(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
