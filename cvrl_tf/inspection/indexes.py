"""Compares the index files of shards with what an inspection found in these, and writes them."""

import os
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf

from cvrl_tf.data import index_file
from cvrl_tf.data.index_file import ShardTable
from cvrl_tf.errors import InputError, reason
from cvrl_tf.inspection.shards import Problem

Tables = Mapping[str, ShardTable | None]


def check(tables: Tables) -> list[Problem]:
    """What is wrong with the index files beside shards; nothing where there are none.

    Args:
      tables: what was found in each shard, by path; None where not all of it could be reached.
    """
    problems = []
    for path, found in _by_index(tables):
        if not tf.io.gfile.exists(path):
            continue
        try:
            listed = index_file.read(path)
        except (ValueError, OSError, tf.errors.OpError) as error:
            texts = [f"the index cannot be used ({reason(error)})"]
        else:
            texts = list(_differences(found, listed))
        advice = "readers find the records without it; --write_index makes it again"
        problems += [Problem(path, None, None, f"{text}; {advice}") for text in texts]
    return problems


def write(tables: Tables) -> list[str]:
    """Writes the index files of shards and returns their paths.

    What an index lists of other shards stays. A shard that is not whole is not listed.

    Args:
      tables: as of `check`.

    Raises:
      InputError: an index cannot be written.
    """
    paths = []
    for path, found in _by_index(tables):
        kept = {name: table for name, table in found.items() if table is not None}
        try:
            others = index_file.read(path) if tf.io.gfile.exists(path) else {}
        except (ValueError, OSError, tf.errors.OpError):
            others = {}
        merged = {name: table for name, table in others.items() if name not in found} | kept
        if not merged:
            continue
        try:
            index_file.write(path, merged)
        except (OSError, tf.errors.OpError) as error:
            raise InputError(
                f"--write_index: {path} cannot be written"
                f" ({reason(error).rpartition('; ')[2]}): give yourself permission, or copy the"
                " shards to a place where you have it."
            ) from None
        paths.append(path)
    return paths


def _by_index(tables: Tables) -> Iterator[tuple[str, dict[str, ShardTable | None]]]:
    """The path of each index, and the tables of its shards by their names."""
    groups: dict[str, dict[str, ShardTable | None]] = {}
    for path, table in tables.items():
        directory, name = os.path.split(path)
        index_path = index_file.path_of(directory, index_file.split_of(name))
        groups.setdefault(index_path, {})[name] = table
    yield from sorted(groups.items())


def _differences(
    found: Mapping[str, ShardTable | None], listed: Mapping[str, ShardTable]
) -> Iterator[str]:
    """How an index differs from the shards that were inspected, in words."""
    absent = sorted(name for name, table in found.items() if table and name not in listed)
    if absent:
        yield f"{len(absent)} of {len(found)} shards are not listed (first: {absent[0]})"
    others = {
        name: _difference(found[name], listed[name]) for name in sorted(found) if name in listed
    }
    others = {name: text for name, text in others.items() if text}
    if others:
        first = "".join(next(iter(others.items())))
        yield f"{len(others)} of {len(found)} shards are not as listed (first: {first})"


def _difference(found: ShardTable | None, listed: ShardTable) -> str:
    """Where a shard differs from what is listed of it; empty where it does not."""
    if found is None:
        return ", which is not whole"
    if found.size != listed.size:
        return f", {found.size} bytes, listed {listed.size}"
    if len(found.rows) != len(listed.rows):
        return f", {len(found.rows)} records, listed {len(listed.rows)}"
    if (rows := np.flatnonzero(found.rows != listed.rows)).size:
        return f", record {rows[0]}"
    return "" if found.text == listed.text else ", the ids"
