"""Reproduces a table or figure of the paper: all its runs, with means, intervals and a picture.

  python -m cvrl_tf.reproduce successors --data=ucf10 --dry_run
  python -m cvrl_tf.reproduce successors --data=ucf10 --html=successors.html
  python -m cvrl_tf.reproduce linear --scale=paper --dry_run --videos_per_second=900

Run it in a clone of the repository. The tables are sampling, augmentation, linear, transfer,
more_data, semi and successors. Their rows are in cvrl_tf/reproduction/tables.toml. Runs are
executed one at a time. What is done is not run again, and the same command resumes after a stop or
a kill. Tables with the same --output_dir share pre-trainings and evaluations. A run that fails does
not stop the others; the exit status is then 1.

OUTPUT_DIR/TABLE has results.json, table.md and picture.png after each evaluation. The differences
from the reference row have 95 % intervals over test videos and seeds.
"""

import os
from collections.abc import Mapping, Sequence

from cvrl_tf import files
from cvrl_tf.cli.application import Argument, Command
from cvrl_tf.cli.flag import Flag, Values
from cvrl_tf.data.lookup import find_source
from cvrl_tf.errors import InputError
from cvrl_tf.reproduction import execution, outcome, page, picture, plan, summary, tables
from cvrl_tf.reproduction.execution import State
from cvrl_tf.reproduction.outcome import Outcome
from cvrl_tf.reproduction.plan import Plan, Settings
from cvrl_tf.reproduction.tables import Table

DATA = ("data", "k400", "k600", "ucf101", "hmdb51")
TABLE = Argument("TABLE", f"The table to reproduce: {', '.join(tables.names())}.")
FLAGS = {
    "Runs": (
        Flag(
            "scale",
            "desk",
            "paper: the published recipes of flags/. desk: a small network on small data, for a"
            " CPU; it shows whether an effect is there at this size.",
            choices=tables.SCALES,
        ),
        Flag("rows", [], "Names of the rows to run, with commas between them. By default all."),
        Flag("seeds", ["0", "1", "2"], "Seeds of the runs, with commas between them."),
        Flag(
            "pretrain_flags",
            "",
            "Flags that every pre-training gets after those of its row, with spaces between them."
            " --flip_probability=0 is for data where left and right matter. --steps=20"
            " --warmup_epochs=0 is for a trial.",
        ),
    ),
    "Data (directories of records)": (
        Flag("data", "", "Desk scale: records with the splits train and test."),
        Flag("k400", "", "Paper scale: Kinetics-400, with the splits train and val."),
        Flag("k600", "", "Paper scale: Kinetics-600, with the splits train and val."),
        Flag("ucf101", "", "Paper scale: UCF-101, with split1, split2 and split3."),
        Flag("hmdb51", "", "Paper scale: HMDB-51, with split1, split2 and split3."),
    ),
    "Plan": (
        Flag(
            "dry_run",
            False,
            "Print the commands of each row, its steps and, with a speed, its hours. Nothing is"
            " run, and no data are needed.",
        ),
        Flag(
            "videos_per_second",
            None,
            "Speed of pre-training with CVRL at this scale on your machine, for the hours.",
            kind=float,
            lower=0.001,
        ),
        Flag(
            "speed",
            "",
            "The same from a file that python -m tools.benchmark train --json=FILE wrote, with the"
            " backbone, frames, crop and batch size of the scale.",
        ),
        Flag(
            "shell",
            "",
            "Write the commands to this file and run nothing. Each line is a pre-training and its"
            " evaluations, and needs no other line. Afterwards the same command without --shell"
            " writes the table.",
        ),
    ),
    "Output": (
        Flag(
            "output_dir",
            "reproduction",
            "Local directory for all runs and tables of one data set, scale and version.",
        ),
        Flag("html", "", "File for a page with table, picture, curves and clip pairs."),
    ),
}


def main(flags: Values, name: str) -> int:
    """Plans, or runs and summarises, as the flags say."""
    table = tables.load(name, flags.scale).select(flags.rows)
    settings = Settings(
        flags.output_dir.rstrip("/"),
        {name: getattr(flags, name).rstrip("/") for name in DATA if getattr(flags, name)},
        _seeds(flags.seeds),
        tuple(flags.pretrain_flags.split()),
    )
    for flag, path in (("shell", flags.shell), ("html", flags.html)):
        if path:
            files.check_writable(path, f"--{flag}={path}")
    planned = plan.make(table, settings, _counted(table, settings))
    if flags.shell:
        files.write_atomically(flags.shell, plan.script(planned))
        print(f"{len(planned.groups())} lines: {flags.shell}")
    if flags.dry_run:
        print(plan.describe(planned, _speed(flags)))
    if flags.shell or flags.dry_run:
        return 0
    planned.check_data()
    states = execution.execute(planned, lambda states: _write(planned, states, flags.html))
    found = _write(planned, states, flags.html)
    print(f"\n{summary.as_text(found)}\n\nwritten: {_directory(planned)}")
    return int(any(state.state == execution.FAILED for state in states.values()))


def _seeds(values: Sequence[str]) -> tuple[int, ...]:
    if not values or not all(value.strip().isdecimal() for value in values):
        raise InputError(
            f"--seeds={','.join(values)}: expected numbers of at least 0 with commas between them,"
            " such as 0,1,2."
        )
    return tuple(dict.fromkeys(map(int, values)))


def _counted(table: Table, settings: Settings) -> dict[str, int]:
    """The numbers of videos of the data that were given, by pattern."""
    numbers = {}
    for data in table.data:
        if data.flag in settings.data:
            for split in range(1, data.splits + 1) or [0]:
                for pattern in settings.shards(data, split):
                    numbers[pattern] = len(find_source(pattern, data.flag).indexed())
    return numbers


def _speed(flags: Values) -> float | None:
    """Videos per second of pre-training, if they were given."""
    if not flags.speed:
        return flags.videos_per_second
    try:
        with files.reading(flags.speed):
            return float(files.read_json(flags.speed)["results"]["videos_per_second"])
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"--speed={flags.speed} has no results.videos_per_second: expected a file of python -m"
            " tools.benchmark train --json=FILE."
        ) from None


def _directory(planned: Plan) -> str:
    return os.path.join(planned.settings.directory, planned.table.name)


def _write(planned: Plan, states: Mapping[str, State], html: str) -> Outcome:
    """Writes what is done of a table, and returns it."""
    found, directory = outcome.read(planned, states), _directory(planned)
    os.makedirs(directory, exist_ok=True)
    files.write_json(os.path.join(directory, "results.json"), summary.as_json(found))
    files.write_atomically(os.path.join(directory, "table.md"), summary.as_markdown(found))
    content = picture.draw(found)
    files.write_atomically(os.path.join(directory, "picture.png"), content)
    if html:
        files.write_atomically(html, page.render(found, content, html))
    return found


COMMAND = Command(main, __doc__, FLAGS, TABLE)

if __name__ == "__main__":
    COMMAND.run()
