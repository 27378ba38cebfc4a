"""Injects faults into training and conversion on a CPU, and reports every loss and difference.

  python -m tools.pressure --kills=20 --output=pressure.json
  python -m tools.pressure --trials=files

It runs python -m cvrl_tf.train on small rendered records in a temporary directory. Runs are killed
at random times, as one process and as one of two workers; read damaged records; find no space for a
checkpoint; meet a second process in their directory; are stopped by SIGTERM. Each is restarted and
compared with an uninterrupted run: final weights and optimizer state bit for bit, every line of
metrics except times, and the files. The trial `files` converts odd video files, reads odd names and
lists, and compares each with the expected result. The whole campaign takes minutes, mostly to start
processes. It needs Linux, and 3 GB of memory for the two workers. The exit status is 1 if anything
was lost or differs.
"""

import dataclasses
import sys
import tempfile

from cvrl_tf import files, text
from cvrl_tf.cli.application import Command
from cvrl_tf.cli.flag import Flag, Values
from cvrl_tf.errors import InputError
from cvrl_tf.progress import Progress
from tools.benchmark import report
from tools.pressure import odd_files
from tools.pressure.trials import Campaign, Result

TRIALS = {  # with the number of processes that each starts, for 0 kills
    "kills": 1,
    "workers": 4,
    "bad_records": 1,
    "full_disk": 2,
    "two_processes": 2,
    "sigterm": 2,
    "files": 1,
}
FLAGS = {
    "Faults": (
        Flag("trials", list(TRIALS), f"Which trials: {', '.join(TRIALS)}."),
        Flag("kills", 20, "Number of kills of the run of one process.", lower=1),
        Flag("worker_kills", 3, "Number of kills of one of two workers.", lower=1),
        Flag(
            "steps",
            120,
            "Steps of each run. Several steps are needed for each kill, and at least an epoch to"
            " read every damaged record.",
            lower=75,
        ),
        Flag("seed", 0, "Seed of the random times and of the damage.", lower=0),
    ),
    "Output": (Flag("output", None, "File for all figures, as JSON."),),
}


def main(flags: Values) -> int:
    """Runs the trials, prints the tables and writes the JSON; 1 when something was lost."""
    unknown = sorted(set(flags.trials) - set(TRIALS))
    if unknown:
        raise InputError(f"--trials={','.join(unknown)}: expected some of {', '.join(TRIALS)}.")
    if not sys.platform.startswith("linux"):
        raise InputError("This needs Linux: the trial full_disk limits file sizes by prlimit.")
    if flags.output:
        files.check_writable(flags.output, f"--output={flags.output}")
    results = _run(flags)
    _print(results)
    if flags.output:
        settings = {flag.name: flags[flag.name].value for flag in FLAGS["Faults"]}
        found = {name: dataclasses.asdict(result) for name, result in results.items()}
        report.write_json(flags.output, "pressure", settings, found)
        print(f"written to {flags.output}")
    return int(any(result.lost for result in results.values()))


def _run(flags: Values) -> dict[str, Result]:
    starts = {**TRIALS, "kills": 1 + flags.kills, "workers": 4 + 2 * flags.worker_kills}
    names = [name for name in TRIALS if name in flags.trials]
    if names != ["files"]:
        names, starts["reference"] = ["reference", *names], 1
    results: dict[str, Result] = {}
    with (
        tempfile.TemporaryDirectory(prefix="cvrl_pressure_") as directory,
        Progress("pressure", sum(starts[name] for name in names), "start") as progress,
    ):
        campaign = Campaign(
            directory, flags.steps, flags.kills, flags.worker_kills, flags.seed, progress.update
        )
        for name in names:
            results[name] = getattr(campaign, name)()
            for phrase in results[name].lost:
                progress.note(f"{name}: {phrase}")
    return results


def _print(results: dict[str, Result]) -> None:
    rows = [
        [result.done, str(result.times), f"{len(result.lost)} things" if result.lost else "nothing"]
        for result in results.values()
    ]
    print("\n" + text.table([["what was done", "times", "lost"], *rows]) + "\n")
    for name, result in results.items():
        if name == "files":
            print(text.table(odd_files.table(result.figures["outcomes"])))
            continue
        for figure, value in result.figures.items():
            print(f"{name}: {figure} = {_text(value)}")


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items())
    if isinstance(value, list):
        return "; ".join(map(_text, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


COMMAND = Command(main, __doc__, FLAGS)

if __name__ == "__main__":
    COMMAND.run()
