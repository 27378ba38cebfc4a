"""Measures the speed of this machine, and what limits it.

  python -m tools.benchmark convert   videos to TFRecords, compared with the ffmpeg command line
  python -m tools.benchmark input     the input pipeline, phase by phase
  python -m tools.benchmark service   the input through a tf.data service, and its cost
  python -m tools.benchmark step      a training step
  python -m tools.benchmark memory    the memory of a step, and which batches fit which cards
  python -m tools.benchmark host      the memory of the host that batches take
  python -m tools.benchmark storage   the start of a run and its reading, from a disk and a bucket
  python -m tools.benchmark train     the real training loop: whether input or step limits it
  python -m tools.benchmark growth    how cost grows with the number of records

Each prints a table, writes it as JSON with --json=FILE, and explains its flags with --help.
"""

import importlib
import sys

from cvrl_tf.cli import application, output

NAMES = ("convert", "input", "service", "step", "memory", "host", "storage", "train", "growth")


def main() -> None:
    """Runs the benchmark that the first argument names."""
    output.protect()
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in application.HELP:
        print(__doc__.strip())
        sys.exit(0)
    if name == application.VERSION:
        application.print_versions()
        sys.exit(0)
    if name not in NAMES:
        print(
            f"error: Found {name!r} instead of a benchmark: expected {' or '.join(NAMES)} as the"
            " first argument; --help explains them.",
            file=sys.stderr,
        )
        sys.exit(2)
    del sys.argv[1]
    importlib.import_module(f"tools.benchmark.{name}").COMMAND.run()


if __name__ == "__main__":
    main()
