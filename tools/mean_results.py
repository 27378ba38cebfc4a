"""The mean of figures over several results.json: over the splits of a data set, or over seeds.

  python -m tools.mean_results 'runs/k600_ucf101_split*/results.json'

All must be of one protocol with the same views. The spread is the standard deviation of the single
values (n - 1), not that of the mean. For splits the field reports the mean.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cvrl_tf import files, text
from cvrl_tf.cli.application import Argument, Command
from cvrl_tf.cli.flag import Values
from cvrl_tf.errors import InputError

RESULTS = Argument("RESULTS", "The results.json files, or glob patterns of them.", several=True)


def find(pattern: str) -> list[str]:
    """The sorted files that match glob pattern(s).

    Raises:
      InputError: fewer than two do.
    """
    files.load_file_systems(pattern)
    paths = sorted({path for part in files.split_names(pattern) for path in files.matching(part)})
    if len(paths) < 2:
        raise InputError(
            f"{pattern} matches {len(paths)} file{'s' * (len(paths) != 1)}, expected two or more"
            " results.json to take the mean of."
        )
    return paths


def check(paths: Sequence[str], results: Sequence[dict[str, Any]]) -> None:
    """Checks that results are of one kind.

    Raises:
      InputError: they differ in protocol, views or figures, or are no results.
    """
    for path, result in zip(paths, results, strict=True):
        if not {"protocol", "views", "figures", "train", "test"} <= result.keys():
            raise InputError(f"{path} is no result of an evaluation: expected a results.json.")
        for name in ("protocol", "views"):
            if result[name] != results[0][name]:
                raise InputError(
                    f"{path} has {name}={result[name]}, {paths[0]} has {results[0][name]}: a mean"
                    " is of results of one kind."
                )
        if result["figures"].keys() != results[0]["figures"].keys():
            raise InputError(
                f"{path} has the figures {', '.join(result['figures'])}, {paths[0]} has"
                f" {', '.join(results[0]['figures'])}: a mean is of results of one kind."
            )


def summarize(results: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """For each figure the `mean` and the `deviation`, n - 1, of two or more results."""
    values = {
        name: [result["figures"][name]["value"] for result in results]
        for name in results[0]["figures"]
    }
    return {
        name: {"mean": float(np.mean(x)), "deviation": float(np.std(x, ddof=1))}
        for name, x in values.items()
    }


def table(paths: Sequence[str], results: Sequence[dict[str, Any]]) -> str:
    """The single values and their means: a row for each figure."""
    header = ["figure", *(f"({number})" for number in range(1, len(paths) + 1)), "mean", "spread"]
    rows = [header]
    for name, figures in summarize(results).items():
        single = [f"{result['figures'][name]['value']:.4f}" for result in results]
        rows.append([name, *single, f"{figures['mean']:.4f}", f"{figures['deviation']:.4f}"])
    lines = [
        f"({number}) {path}: {result['test']['videos']} test videos"
        for number, (path, result) in enumerate(zip(paths, results, strict=True), 1)
    ]
    return "\n".join([*lines, "", text.table(rows)])


def main(flags: Values, *patterns: str) -> None:
    """Prints the means of the results that the patterns match."""
    paths = find(",".join(patterns))
    try:
        results = [files.read_json(path) for path in paths]
    except ValueError as error:
        raise InputError(f"One of {', '.join(paths)} is not JSON: {error}.") from None
    check(paths, results)
    print(table(paths, results))


COMMAND = Command(main, __doc__, {}, RESULTS)


if __name__ == "__main__":
    COMMAND.run()
