"""The order in which videos are read: an endless stream of positions, and how records follow it.

Position p of the stream is record `epoch_order(...)[p % N]` of epoch p // N. So the stream is a
function of the seed alone: it goes on at any position without what came before, and every worker
of several takes each count-th position, whatever their number.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from cvrl_tf import environment
from cvrl_tf.data.index import RecordIndex
from cvrl_tf.data.sampling import Purpose, fold

Sample = dict[str, tf.Tensor]
PARALLEL_CALLS = environment.granted_cpus()


@dataclasses.dataclass(frozen=True)
class Share:
    """The part of a stream that one worker reads: positions p with p % count == index."""

    index: int = 0
    count: int = 1


WHOLE = Share()


def steady_options() -> tf.data.Options:
    """Options of a dataset whose parallelism is `PARALLEL_CALLS`, not found by trial.

    TensorFlow's search for it runs in a thread that sleeps, in the end a minute at a time, and that
    the end of a dataset waits for: a run that is stopped would not leave before.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


def run_seed(seed: int) -> tf.Tensor:
    """The seed, (2,) int32, from which all seeds of a run are folded."""
    return tf.constant([seed, 0], tf.int32)


def epoch_order(num_videos: int, epoch_seed: tf.Tensor) -> tf.Tensor:
    """The records of an epoch in the order in which they are read.

    Args:
      num_videos: N.
      epoch_seed: (2,) int32, of the run and the epoch.

    Returns:
      (N,) int64, a permutation of the numbers of records.
    """
    return tf.random.experimental.stateless_shuffle(
        tf.range(num_videos, dtype=tf.int64), fold(epoch_seed, Purpose.SHUFFLE)
    )


def record_at(position: int, num_videos: int, seed: int) -> int:
    """The number of the record at a position of the stream."""
    epoch, place = divmod(position, num_videos)
    return int(epoch_order(num_videos, fold(run_seed(seed), epoch))[place])


def read_stream(
    index: RecordIndex,
    seed: int,
    sample: Callable[[tf.Tensor, tf.Tensor], Sample],
    finish: Callable[[Sample], Any],
    first_position: int = 0,
    share: Share = WHOLE,
) -> tf.data.Dataset:
    """Reads the records of a stream, epoch after epoch, without those that cannot be used.

    A record that is damaged, or at which `sample` or `finish` fails, is left out: its position is
    missing in what comes. An epoch of nothing else is an error, for it would not end.

    Args:
      index: the records.
      seed: of the run.
      sample: in a tf.data graph, from a record, scalar string, and the seed (2,) int32 of the run
        and the epoch, to what is kept of it.
      finish: from that to an element.
      first_position: where the stream starts.
      share: what this worker reads.

    Returns:
      Endless dataset of pairs: element; position, scalar int64.
    """
    num_videos = len(index)

    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        epoch_seed = fold(run_seed(seed), epoch)
        positions = epoch * num_videos + tf.range(num_videos, dtype=tf.int64)
        mine = (positions % share.count == share.index) & (positions >= first_position)
        positions = tf.boolean_mask(positions, mine)
        records = tf.boolean_mask(epoch_order(num_videos, epoch_seed), mine)
        # A tick ends the epoch, a record that needs no file: see `check_epoch`. Its position is the
        # number of videos of a whole epoch.
        whole = epoch * num_videos >= first_position
        expected = tf.where(whole, tf.size(positions, tf.int64), 0)
        positions = tf.concat([positions, expected[tf.newaxis]], axis=0)
        records = tf.concat([records, [-1]], axis=0)
        seeds = tf.repeat(epoch_seed[tf.newaxis], tf.size(records), axis=0)
        return tf.data.Dataset.from_tensor_slices((positions, records, seeds))

    readable = _readable_record(index, sample, finish)

    def read(
        position: tf.Tensor, record: tf.Tensor, epoch_seed: tf.Tensor
    ) -> tuple[Sample, tf.Tensor, tf.Tensor]:
        serialized = tf.cond(record < 0, lambda: readable, lambda: index.read(record))
        return sample(serialized, epoch_seed), position, record < 0

    def check_epoch(
        count: tf.Tensor, value: tuple[Any, tf.Tensor, tf.Tensor]
    ) -> tuple[tf.Tensor, tuple[Any, tf.Tensor, tf.Tensor]]:
        _, position, tick = value
        nothing = tick & (position > 0) & (count == 0)
        check = tf.debugging.Assert(~nothing, ["No record of a whole epoch could be read."])
        with tf.control_dependencies([check]):
            return tf.where(tick, 0, count + 1), value

    return (
        tf.data.Dataset.counter(first_position // num_videos)
        .flat_map(one_epoch)
        .map(read, num_parallel_calls=PARALLEL_CALLS)
        .map(
            lambda kept, position, tick: (finish(kept), position, tick),
            num_parallel_calls=PARALLEL_CALLS,
        )
        .ignore_errors()
        .scan(tf.constant(0), check_epoch)
        .filter(lambda element, position, tick: tf.logical_not(tick))
        .map(lambda element, position, tick: (element, position))
        .with_options(steady_options())
    )


def _readable_record(
    index: RecordIndex,
    sample: Callable[[tf.Tensor, tf.Tensor], Sample],
    finish: Callable[[Sample], Any],
) -> tf.Tensor:
    """The first record that can be used."""
    for number in range(len(index)):
        try:
            serialized = index.read(tf.constant(number))
            finish(sample(serialized, run_seed(0)))
            return serialized
        except tf.errors.OpError as error:
            last_error = error
    raise last_error


class Gaps:
    """Tells which positions of a worker's stream are missing in the batches that came.

    Args:
      first_position: of the stream.
      share: of the worker.
    """

    def __init__(self, first_position: int, share: Share = WHOLE):
        self._share = share
        self._next = first_position + (share.index - first_position) % share.count

    @property
    def next_position(self) -> int:
        """The first position of the worker that has not come."""
        return self._next

    def missing(self, positions: np.ndarray) -> list[int]:
        """The positions that were left out before or between those of a batch.

        Args:
          positions: (n,) int64, of the next batch, ascending.
        """
        end = int(positions[-1]) + self._share.count
        expected = np.arange(self._next, end, self._share.count)
        self._next = end
        return np.setdiff1d(expected, positions).tolist()
