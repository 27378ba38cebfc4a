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

from cvrl_tf import text
from cvrl_tf.cli.application import Command
from cvrl_tf.cli.flag import Flag, Values
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
FLAGS = {
    "Faults": (
        Flag("trials", list(TRIALS), f"Trials to run: {', '.join(TRIALS)}."),
        Flag("kills", 20, "Number of kills of the run of one process.", lower=1),
        Flag("worker_kills", 3, "Number of kills of one of two workers.", lower=1),
        Flag(
            "steps",
            120,
            "Steps of each run: several per kill, or the run ends before its last kill; an epoch at"
            " least, so that every damaged record is met.",
            lower=75,
        ),
        Flag("seed", 0, "Seed of the random moments and of the damage.", lower=0),
    ),
    "Output": (Flag("output", "", "File for all figures, as JSON."),),
}


def main(flags: Values) -> int:
    """Runs the trials, prints the table and writes the JSON; 1 when something was lost."""
    unknown = sorted(set(flags.trials) - set(TRIALS))
    if unknown:
        raise InputError(f"--trials={','.join(unknown)}: expected some of {', '.join(TRIALS)}.")
    if not sys.platform.startswith("linux"):
        raise InputError("This needs Linux, whose prlimit takes the room on a disk away.")
    starts = {**TRIALS, "kills": 1 + flags.kills, "workers": 4 + 2 * flags.worker_kills}
    total = 1 + sum(starts[name] for name in flags.trials)
    results: dict[str, Result] = {}
    with (
        tempfile.TemporaryDirectory(prefix="cvrl_pressure_") as directory,
        Progress("pressure", total, "start") as progress,
    ):
        campaign = Campaign(
            directory, flags.steps, flags.kills, flags.worker_kills, flags.seed, progress.update
        )
        for name in ["reference", *(name for name in TRIALS if name in flags.trials)]:
            results[name] = getattr(campaign, name)()
            for phrase in results[name].lost:
                progress.note(f"{name}: {phrase}")
    _print(flags, results)
    return int(any(result.lost for result in results.values()))


def _print(flags: Values, results: dict[str, Result]) -> None:
    rows = [
        [result.done, str(result.times), f"{len(result.lost)} things" if result.lost else "nothing"]
        for result in results.values()
    ]
    print("\n" + text.table([["what was done", "times", "lost"], *rows]) + "\n")
    for name, result in results.items():
        for figure, value in result.figures.items():
            print(f"{name}: {figure} = {_text(value)}")
    if flags.output:
        settings = {flag.name: flags[flag.name].value for flag in FLAGS["Faults"]}
        found = {name: dataclasses.asdict(result) for name, result in results.items()}
        report.write_json(flags.output, "pressure", settings, found)
        print(f"written to {flags.output}")


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items())
    if isinstance(value, list):
        return "; ".join(map(_text, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


COMMAND = Command(main, __doc__, FLAGS)


if __name__ == "__main__":
    COMMAND.run()
