"""The mean of figures over several results.json: over the splits of a data set, or over seeds."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cvrl_tf import files, text
from cvrl_tf.errors import InputError


def find(patterns: Sequence[str]) -> list[str]:
    """The sorted files that glob patterns match, or that exist under these names.

    Raises:
      InputError: fewer than two do.
    """
    files.load_file_systems(*patterns)
    names = [name for pattern in patterns for name in files.split_names(pattern)]
    paths = sorted({path for name in names for path in files.matching(name)})
    if len(paths) < 2:
        raise InputError(
            f"{', '.join(patterns)} matches {len(paths)} file{'s' * (len(paths) != 1)}, expected"
            " two or more results.json to take the mean of."
        )
    return paths


def read(paths: Sequence[str]) -> list[dict[str, Any]]:
    """The results in these files.

    Raises:
      InputError: a file cannot be read or holds something else, or they are not of one kind.
    """
    results = []
    for path in paths:
        try:
            with files.reading(path):
                results.append(files.read_json(path))
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{path} is no JSON ({error}): expected the results.json of an evaluation."
            ) from None
    _check(paths, results)
    return results


def _check(paths: Sequence[str], results: Sequence[dict[str, Any]]) -> None:
    """Raises InputError if results differ in protocol, views or figures, or are no results."""
    for path, result in zip(paths, results, strict=True):
        keys = {"protocol", "views", "figures", "train", "test"}
        if not isinstance(result, dict) or not keys <= result.keys():
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
