"""Draws what runs wrote to metrics.jsonl, one panel for each metric, to compare runs by step.

  python -m cvrl_tf.plot_metrics runs/first --output=metrics.png
  python -m cvrl_tf.plot_metrics runs/first runs/second --output=metrics.png

A run may still be training. Metrics that only one of the runs has are drawn for that run alone.
"""

import io

from cvrl_tf import files
from cvrl_tf.cli.application import Argument, Command
from cvrl_tf.cli.flag import Flag, Values
from cvrl_tf.errors import InputError
from cvrl_tf.training import plots

RUNS = Argument(
    "RUN", "Directories of runs, which hold metrics.jsonl; overlaid in this order.", several=True
)
FLAGS = {"Picture": (Flag("output", "metrics.png", "The PNG file to write."),)}


def main(flags: Values, *directories: str) -> None:
    """Reads, draws, writes."""
    if not flags.output.lower().endswith(".png"):
        raise InputError(f"Found --output={flags.output}, expected the name of a .png file.")
    files.check_writable(flags.output, f"--output={flags.output}")
    files.load_file_systems(flags.output, *directories)
    runs = [(directory, plots.read_run(directory)) for directory in directories]
    content = io.BytesIO()
    figure = plots.draw(runs)
    figure.savefig(content, format="png", dpi=100)
    files.write_atomically(flags.output, content.getvalue())
    for directory, rows in runs:
        print(f"{directory}: {len(rows)} lines to step {rows[-1]['step']}")
    print(f"picture: {flags.output}, {len(figure.axes)} panels")


COMMAND = Command(main, __doc__, FLAGS, RUNS)

if __name__ == "__main__":
    COMMAND.run()
