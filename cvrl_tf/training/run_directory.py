"""The paths of what a run writes.

config.json      the configuration and the data (`cvrl_tf.training.run_config`), from which later
                 commands build the same network
flags.txt        the same as a flagfile, to run it again
checkpoints/     everything that the run resumes from (`cvrl_tf.training.checkpoints`)
best/            the weights of the best evaluation of a fine-tuning with validation videos; other
                 commands then use these
metrics.jsonl    figures every few steps (`cvrl_tf.training.metrics`); TensorBoard events beside it
clip_pairs.png   the clips of a few videos as the network sees them
evaluations/     results of evaluations of its checkpoints (`cvrl_tf.evaluation.report`)
features/        stored features of its backbone (`cvrl_tf.evaluation.features`)
bad_records.txt  unreadable records, if any, and why
lock             held while a process trains in the directory
"""

import dataclasses
import os

CONFIG_FILE, FLAGS_FILE, LOCK_FILE = "config.json", "flags.txt", "lock"
METRICS_FILE, PAIRS_FILE, BAD_RECORDS_FILE = "metrics.jsonl", "clip_pairs.png", "bad_records.txt"
CHECKPOINTS, BEST = "checkpoints", "best"
EVALUATIONS, FEATURES = "evaluations", "features"


@dataclasses.dataclass(frozen=True)
class RunDirectory:
    """The directory of a run, local or remote; it may not exist yet.

    Attributes:
      path: of the directory.
    """

    path: str

    @property
    def config(self) -> str:
        """`config.json`."""
        return os.path.join(self.path, CONFIG_FILE)

    @property
    def flags(self) -> str:
        """`flags.txt`."""
        return os.path.join(self.path, FLAGS_FILE)

    @property
    def lock(self) -> str:
        """`lock`."""
        return os.path.join(self.path, LOCK_FILE)

    @property
    def checkpoints(self) -> str:
        """The directory `checkpoints`."""
        return os.path.join(self.path, CHECKPOINTS)

    @property
    def best(self) -> str:
        """The directory `best`."""
        return os.path.join(self.path, BEST)

    @property
    def metrics(self) -> str:
        """`metrics.jsonl`."""
        return os.path.join(self.path, METRICS_FILE)

    @property
    def pairs(self) -> str:
        """`clip_pairs.png`."""
        return os.path.join(self.path, PAIRS_FILE)

    def bad_records(self, worker: int = 0) -> str:
        """`bad_records.txt`; of several workers each but the first has one with its number."""
        name = BAD_RECORDS_FILE if worker == 0 else f"bad_records_worker_{worker}.txt"
        return os.path.join(self.path, name)

    @property
    def evaluations(self) -> str:
        """The directory `evaluations`, with a directory for each evaluation."""
        return os.path.join(self.path, EVALUATIONS)

    @property
    def features(self) -> str:
        """The directory `features`."""
        return os.path.join(self.path, FEATURES)
