"""The mean of metrics over several results.json: over the splits of a data set, or over seeds.

  python -m cvrl_tf.mean_results 'runs/k600_ucf101_split*/results.json'

All must be of one protocol with the same views. The spread is the standard deviation of the single
values (n - 1), not that of the mean. For splits the field reports the mean.
"""

from cvrl_tf.cli.application import Argument, Command
from cvrl_tf.cli.flag import Values
from cvrl_tf.evaluation import mean

RESULTS = Argument("RESULTS", "The results.json files, or glob patterns of them.", several=True)


def main(flags: Values, *patterns: str) -> None:
    """Prints the means of the results that the patterns match."""
    paths = mean.find(patterns)
    print(mean.table(paths, mean.read(paths)))


COMMAND = Command(main, __doc__, {}, RESULTS)

if __name__ == "__main__":
    COMMAND.run()
