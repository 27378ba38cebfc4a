"""Puts training under pressure on a CPU, and tells what was lost, which must be nothing.

  python -m tools.pressure --kills=20 --output=pressure.json

Small runs of python -m cvrl_tf.train, on records that are rendered for it, in a temporary
directory: killed at random moments, as one process and as one of two workers; with damaged records;
without room for a checkpoint; with a second process in their directory; stopped by SIGTERM. Each is
started again and compared with a run without trouble: final weights and optimizer state bit for
bit, every line of metrics but for its times, the files left. It takes minutes, mostly for
starting processes. It needs Linux, and 3 GB of memory for the two workers. The exit status is 1
when anything was lost.
"""

import dataclasses
import sys
import tempfile

from absl import flags

from cvrl_tf import text
from cvrl_tf.cli import application
from cvrl_tf.errors import InputError
from cvrl_tf.progress import Progress
from tools.benchmark import report
from tools.pressure.trials import Campaign, Result

TRIALS = {  # and how many processes each starts, for 0 kills
    "kills": 1,
    "workers": 4,
    "bad_records": 1,
    "full_disk": 2,
    "two_processes": 2,
    "sigterm": 2,
}
KILLS = flags.DEFINE_integer("kills", 20, "Kills of the run of one process.", 1)
WORKER_KILLS = flags.DEFINE_integer("worker_kills", 3, "Kills of one of two workers.", 1)
STEPS = flags.DEFINE_integer(
    "steps",
    120,
    "Steps of each run: several a kill, or the run ends before its last kill; an epoch at least, so"
    " that every damaged record is met.",
    75,
)
TRIALS_FLAG = flags.DEFINE_list("trials", list(TRIALS), f"Which: {', '.join(TRIALS)}.")
SEED = flags.DEFINE_integer("seed", 0, "Seed of the random moments and of the damage.", 0)
OUTPUT = flags.DEFINE_string("output", None, "File for all figures, as JSON.")

GROUPS = {"Trouble": [TRIALS_FLAG, KILLS, WORKER_KILLS, STEPS, SEED], "Output": [OUTPUT]}


def main() -> int:
    """Runs the trials, prints the table and writes the JSON; 1 when something was lost."""
    unknown = sorted(set(TRIALS_FLAG.value) - set(TRIALS))
    if unknown:
        raise InputError(f"--trials={','.join(unknown)}: expected some of {', '.join(TRIALS)}.")
    if not sys.platform.startswith("linux"):
        raise InputError("This needs Linux, whose prlimit takes the room on a disk away.")
    starts = {**TRIALS, "kills": 1 + KILLS.value, "workers": 4 + 2 * WORKER_KILLS.value}
    total = 1 + sum(starts[name] for name in TRIALS_FLAG.value)
    results: dict[str, Result] = {}
    with (
        tempfile.TemporaryDirectory(prefix="cvrl_pressure_") as directory,
        Progress("pressure", total, "start") as progress,
    ):
        campaign = Campaign(
            directory, STEPS.value, KILLS.value, WORKER_KILLS.value, SEED.value, progress.update
        )
        for name in ["reference", *(name for name in TRIALS if name in TRIALS_FLAG.value)]:
            results[name] = getattr(campaign, name)()
            for phrase in results[name].lost:
                progress.note(f"{name}: {phrase}")
    _tell(results)
    return int(any(result.lost for result in results.values()))


def _tell(results: dict[str, Result]) -> None:
    rows = [
        [result.done, str(result.times), f"{len(result.lost)} things" if result.lost else "nothing"]
        for result in results.values()
    ]
    print("\n" + text.table([["what was done", "times", "lost"], *rows]) + "\n")
    for name, result in results.items():
        for figure, value in result.figures.items():
            print(f"{name}: {figure} = {_text(value)}")
    if OUTPUT.value:
        settings = {holder.name: holder.value for holder in GROUPS["Trouble"]}
        found = {name: dataclasses.asdict(result) for name, result in results.items()}
        report.write_json(OUTPUT.value, "pressure", settings, found)
        print(f"written to {OUTPUT.value}")


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items())
    if isinstance(value, list):
        return "; ".join(map(_text, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def run() -> None:
    """The command line."""
    application.run(main, GROUPS, __doc__)


if __name__ == "__main__":
    run()
