"""Jobs on videos, in processes that may hang or die without ending the run.

A decoder of arbitrary files can loop endlessly, crash the process or use all memory. So each
worker reports to its parent which video it decodes. The parent kills a worker without progress,
replaces a worker that ended, and asks the job how to continue without the video.
"""

import collections
import contextlib
import math
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from cvrl_tf import environment
from cvrl_tf.errors import InputError

TIMEOUT = 120.0
_POLL_SECONDS = 0.5
_HEARTBEAT_SECONDS = 1.0
# Of one job, outside its videos: then it is not a video's fault.
_MAX_DEATHS = 3

OnProgress = Callable[[int, int, int], None]


class Report:
    """Reports the progress of a job while it runs.

    Args:
      send: takes the messages.
    """

    def __init__(self, send: Callable[..., None] = lambda *message: None):
        self._send = send
        self._last = -math.inf

    def start(self, video: int) -> None:
        """The job starts this video, an index in the job: from now on its decoder is watched."""
        self._send("start", video)

    def progress(self) -> None:
        """A frame was decoded. Cheap enough to be called for each."""
        now = time.monotonic()
        if now - self._last >= _HEARTBEAT_SECONDS:
            self._last = now
            self._send("progress")

    def decoded(self) -> None:
        """The decoder has finished: what follows has no time limit."""
        self._send("decoded")

    def done(self, size: int, failed: bool) -> None:
        """The video is finished: bytes written, and whether it failed."""
        self._send("done", 1, size, int(failed))


class Job(Protocol):
    """Work on some videos. Pickled, and run more than once if a worker ends in the middle."""

    def run(self, report: Report) -> Any:
        """Does the work. An `InputError` ends the whole run."""

    def after(self, video: int, reason: str, final: bool) -> "Job":
        """The job to do instead, after the process ended at `video`; `final` if it must not try
        that video again."""


class Executor(Protocol):
    """Runs jobs, in a `with` block at whose end its processes have ended."""

    def __enter__(self) -> "Executor": ...

    def __exit__(self, *unused: object) -> None: ...

    @property
    def local(self) -> "Executor":
        """For jobs on this machine whose results are needed: itself, unless it is a cluster."""

    def run(self, jobs: Sequence[Job], on_progress: OnProgress) -> list[Any]:
        """Runs the jobs; see `WorkerPool.run`."""


class InProcess:
    """Runs jobs in sequence in this process, without protection from bad decoders."""

    count = 1

    def __enter__(self) -> "InProcess":
        return self

    def __exit__(self, *unused: object) -> None:
        pass

    @property
    def local(self) -> "InProcess":
        """See `Executor`."""
        return self

    def run(self, jobs: Sequence[Job], on_progress: OnProgress) -> list[Any]:
        """See `WorkerPool.run`."""
        return list(self.results(jobs, on_progress))

    def results(
        self, jobs: Iterable[Job], on_progress: OnProgress, ahead: int = 1
    ) -> Iterator[Any]:
        """See `WorkerPool.results`; a job runs when its result is asked for."""

        def send(kind: str, *values: int) -> None:
            if kind == "done":
                on_progress(*values)

        for job in jobs:
            yield job.run(Report(send))


class WorkerPool:
    """Processes that run jobs; they start when there is something to do, and end with the block.

    The caller's main module must be importable without side effects, as always with spawned
    processes.

    Args:
      count: how many; None for one for each core.
      timeout: seconds that decoding may go without a frame.
    """

    def __init__(self, count: int | None = None, timeout: float = TIMEOUT):
        self._count, self._timeout = count or environment.granted_cpus(), timeout
        self._workers: list[_Worker] = []
        self._lock = threading.Lock()  # `close` may come from another thread
        self._closed = False
        self._last = 0.0

    @property
    def count(self) -> int:
        """The number of processes."""
        return self._count

    def __enter__(self) -> "WorkerPool":
        self._closed = False
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    @property
    def local(self) -> "WorkerPool":
        """See `Executor`."""
        return self

    def close(self) -> None:
        """Ends the processes; `results`, which another thread may be in, then ends too."""
        with self._lock:
            self._closed = True
            for worker in self._workers:
                worker.kill()
            self._workers = []

    def run(self, jobs: Sequence[Job], on_progress: OnProgress) -> list[Any]:
        """Runs the jobs, each in one process at a time.

        Args:
          jobs: all of them.
          on_progress: as for `results`.

        Returns:
          The result of each.

        Raises:
          InputError: as `results`.
        """
        return list(self.results(jobs, on_progress, ahead=len(jobs)))

    def results(self, jobs: Iterable[Job], on_progress: OnProgress, ahead: int) -> Iterator[Any]:
        """Runs jobs as their results are used.

        Args:
          jobs: taken one by one.
          on_progress: called at least every second while a result is waited for, with the videos
            done, bytes written and failures since the last call; less than zero for a job that
            starts over.
          ahead: the maximum number of jobs that are begun and whose results are not used yet.

        Yields:
          The result of each job, in their order.

        Raises:
          InputError: a job raised it, or its process ended again and again outside its videos.
        """
        queue = _Queue(jobs, ahead)
        shown: tuple[int, ...] = _NOTHING
        self._last = time.monotonic()
        while queue.fill():
            with self._lock:
                if self._closed:
                    return
                self._hand_out(queue.waiting)
                self._attend_all(queue)
                counts = _add(queue.finished, *(worker.counts for worker in self._workers))
            on_progress(*(new - old for new, old in zip(counts, shown, strict=True)))
            shown = counts
            yield from queue.results()

    def _attend_all(self, queue: "_Queue") -> None:
        """Waits until a worker sends something, for half a second at most, and takes it."""
        busy = [worker for worker in self._workers if worker.job is not None]
        ready = multiprocessing.connection.wait(
            [worker.connection for worker in busy], _POLL_SECONDS
        )
        # Bounded, so that time in which all processes were stopped does not count.
        now = time.monotonic()
        step, self._last = min(now - self._last, 2 * _POLL_SECONDS), now
        for worker in busy:
            if not self._attend(worker, worker.connection in ready, step, queue):
                self._workers.remove(worker)

    def _attend(self, worker: "_Worker", ready: bool, step: float, queue: "_Queue") -> bool:
        """Takes the messages of a busy worker; False if it has ended or was ended.

        Args:
          worker: at a job of `queue`.
          ready: whether it has sent anything.
          step: seconds since the last look.
          queue: gets the result, or the job again.
        """
        try:
            if ready:
                worker.receive()
            else:
                worker.quiet += step
        except (EOFError, OSError):
            how = worker.kill()
            if worker.video is None:
                queue.count_death(worker.index, how)
            queue.waiting.appendleft((worker.index, worker.job_without(how, final=False)))
            return False
        if worker.decoding and worker.quiet > self._timeout:
            worker.kill()
            reason = f"timeout: no frame in {self._timeout:g} s"
            queue.waiting.appendleft((worker.index, worker.job_without(reason, final=True)))
            return False
        if worker.job is None:
            queue.finish(worker.index, worker.result, worker.counts)
            worker.result, worker.counts = None, _NOTHING
        return True

    def _hand_out(self, waiting: collections.deque[tuple[int, Job]]) -> None:
        idle = [worker for worker in self._workers if worker.job is None]
        while waiting and (idle or len(self._workers) < self._count):
            if not idle:
                self._workers.append(_Worker())
                idle.append(self._workers[-1])
            idle.pop().assign(*waiting.popleft())


_NOTHING = (0, 0, 0)


def _add(*counts: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*counts, strict=True)))


class _Queue:
    """The jobs of one call in their order: those to hand out, and the results of the others.

    Attributes:
      waiting: index and job of those to hand out.
      finished: videos done, bytes and failures of the jobs that have a result.
    """

    def __init__(self, jobs: Iterable[Job], ahead: int):
        self._jobs, self._ahead = enumerate(jobs), ahead
        self.waiting: collections.deque[tuple[int, Job]] = collections.deque()
        self.finished: tuple[int, ...] = _NOTHING
        self._results: dict[int, Any] = {}
        self._deaths: collections.Counter[int] = collections.Counter()
        self._taken = self._used = 0

    def fill(self) -> bool:
        """Takes the jobs that may begin; False when all results are used."""
        while self._taken - self._used < self._ahead:
            job = next(self._jobs, None)
            if job is None:
                break
            self.waiting.append(job)
            self._taken += 1
        return self._used < self._taken

    def count_death(self, index: int, how: str) -> None:
        """Notes that a process ended outside the videos of its job."""
        self._deaths[index] += 1
        if self._deaths[index] == _MAX_DEATHS:
            raise InputError(
                f"A worker process ended {_MAX_DEATHS} times between two videos ({how}): run the"
                " same command again with fewer workers."
            ) from None

    def finish(self, index: int, result: Any, counts: tuple[int, ...]) -> None:
        """Takes the result of a job."""
        self._results[index] = result
        self.finished = _add(self.finished, counts)

    def results(self) -> Iterator[Any]:
        """Yields the results whose turn it is."""
        while self._used in self._results:
            result = self._results.pop(self._used)
            self._used += 1
            yield result


class _Worker:
    """The parent's side of one process."""

    def __init__(self):
        context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs,), daemon=True)
        # It is started with the first process, and then unblocks interrupts.
        multiprocessing.resource_tracker.ensure_running()
        with _interrupts_blocked():  # which the worker inherits: an interrupt is for the parent
            self._process.start()
        theirs.close()  # so that the connection ends with the worker
        self.job: Job | None = None
        self.counts: tuple[int, ...] = _NOTHING  # of its job: videos done, bytes, failures

    def assign(self, index: int, job: Job) -> None:
        self.index, self.job, self.result = index, job, None
        self.video: int | None = None
        self.decoding, self.quiet, self.counts = False, 0.0, _NOTHING
        # A worker that has ended in the meantime is noticed when its answer is read.
        with contextlib.suppress(OSError):
            self.connection.send(job)

    def receive(self) -> None:
        """Takes all messages there are.

        Raises:
          EOFError, OSError: the process has ended.
        """
        self.quiet = 0.0
        while self.job is not None and self.connection.poll():
            kind, *values = self.connection.recv()
            if kind == "start":
                self.video, self.decoding = values[0], True
            elif kind == "decoded":
                self.decoding = False
            elif kind == "done":
                self.video, self.decoding = None, False
                self.counts = _add(self.counts, values)
            elif kind == "result":
                self.result, self.job = values[0], None
            elif kind == "input error":
                raise InputError(values[0])
            elif kind == "error":
                raise RuntimeError(f"in a worker process:\n{values[0]}")

    def job_without(self, reason: str, final: bool) -> Job:
        """The job, to start over after the process ended."""
        job = self.job
        assert job is not None  # only busy workers are asked
        return job if self.video is None else job.after(self.video, reason, final)

    def kill(self) -> str:
        """Ends the process; returns how it ended, if it had ended before."""
        self._process.join(0.1)
        self._process.kill()
        self._process.join(5)  # with a limit: a process that waits for a dead disk cannot be killed
        self.connection.close()
        status = self._process.exitcode or 0
        if status == -signal.SIGKILL:
            return "the process was killed (signal 9), most often because memory ran out"
        return f"the decoder crashed ({f'signal {-status}' if status < 0 else f'exit {status}'})"


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(connection: multiprocessing.connection.Connection) -> None:
    """The worker's side."""
    # Also while a decoder hangs: a worker must not outlive a parent that was killed.
    threading.Thread(target=_exit_with_parent, daemon=True).start()

    def send(*message: Any) -> None:
        try:
            connection.send(message)
        except OSError:  # the parent is gone; as an error it would look like the video's
            os._exit(1)

    while True:
        try:
            job = connection.recv()
        except (EOFError, OSError):
            os._exit(0)  # not sys.exit, see cli.application
        try:
            send("result", job.run(Report(send)))
        except InputError as error:
            send("input error", str(error))
        except Exception:
            send("error", traceback.format_exc())


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
