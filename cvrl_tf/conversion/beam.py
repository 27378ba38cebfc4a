"""Conversion on a cluster: jobs as the elements of an Apache Beam pipeline."""

import contextlib
import threading
from collections.abc import Iterator, Sequence

import apache_beam
from apache_beam.options.pipeline_options import PipelineOptions

from cvrl_tf.conversion.job import ShardJob
from cvrl_tf.conversion.workers import TIMEOUT, OnProgress, WorkerPool
from cvrl_tf.errors import InputError

_POLL_SECONDS = 10.0
_WAIT_SECONDS = 1.0


class BeamPipeline:
    """Runs jobs as a Beam pipeline, each in a guarded process on its Beam worker.

    The output directory must be one that all Beam workers reach. A job that Beam runs twice writes
    the same bytes twice.

    Args:
      runner: such as "DirectRunner" or "DataflowRunner".
      arguments: of the runner, such as "--project=...".
      timeout: seconds that decoding may go without a frame.

    Attributes:
      local: processes on this machine.

    Raises:
      InputError: Beam has no such runner.
    """

    def __init__(self, runner: str, arguments: Sequence[str] = (), timeout: float = TIMEOUT):
        self._options = PipelineOptions([f"--runner={runner}", *arguments])
        self._timeout = timeout
        self.local = WorkerPool(timeout=timeout)
        try:
            self._runner = apache_beam.runners.create_runner(runner)
        except (ValueError, ImportError) as error:
            raise InputError(f"Beam cannot use runner={runner}: {error}") from None

    def __enter__(self) -> "BeamPipeline":
        return self

    def __exit__(self, *unused: object) -> None:
        self.local.close()

    def run(self, jobs: Sequence[ShardJob], on_progress: OnProgress) -> None:
        """Runs the jobs and returns when all are done.

        Args:
          jobs: all of them.
          on_progress: see `WorkerPool.run`; a shard counts once it is finished.

        Raises:
          InputError: see `WorkerPool.run`; or a part of the runner died, such as a worker process
            of the direct runner, which itself would wait for it for ever.
        """
        errors: list[BaseException] = []

        def run() -> None:
            try:
                self._run_pipeline(jobs)
            except BaseException as error:  # is raised below
                errors.append(error)

        thread = threading.Thread(target=run, name="pipeline", daemon=True)
        with _progress_of(jobs, on_progress), _dead_threads() as dead:
            thread.start()
            while thread.is_alive() and not dead:
                thread.join(_WAIT_SECONDS)
        if thread.is_alive():
            raise InputError(
                f"A part of the runner died ({dead[0]}): run the same command again; finished"
                " shards are kept."
            )
        if errors:
            raise errors[0]

    def _run_pipeline(self, jobs: Sequence[ShardJob]) -> None:
        with apache_beam.Pipeline(self._runner, self._options) as pipeline:
            elements = pipeline | apache_beam.Create(list(jobs))
            # Otherwise one worker would be given all that was created in one place.
            spread = elements | apache_beam.Reshuffle()
            _ = spread | apache_beam.ParDo(_RunJob(self._timeout))


@contextlib.contextmanager
def _dead_threads() -> Iterator[list[str]]:
    """A list that receives what ends any thread of this process while the block runs."""
    dead: list[str] = []
    before = threading.excepthook

    def note(arguments: threading.ExceptHookArgs) -> None:
        dead.append(f"{arguments.exc_type.__name__}: {arguments.exc_value}".rstrip(": "))

    threading.excepthook = note
    try:
        yield dead
    finally:
        threading.excepthook = before


class _RunJob(apache_beam.DoFn):
    def __init__(self, timeout: float):
        self._timeout = timeout

    def setup(self) -> None:
        self._pool = WorkerPool(1, self._timeout)

    def process(self, job: ShardJob) -> None:
        self._pool.run([job], lambda *counts: None)

    def teardown(self) -> None:
        self._pool.close()


@contextlib.contextmanager
def _progress_of(jobs: Sequence[ShardJob], on_progress: OnProgress) -> Iterator[None]:
    """Checks every 10 seconds which shards exist, because Beam's workers may be anywhere."""
    done = threading.Event()
    waiting = list(jobs)

    def look() -> None:
        for job in list(waiting):
            counts = job.finished()
            if counts is not None:
                waiting.remove(job)
                on_progress(*counts)

    def watch() -> None:
        while not done.wait(_POLL_SECONDS):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    look()
