"""The order in which videos are read: an endless stream of positions, and how records follow it.

Position p of the stream is the video of place p % N in epoch p // N. The stream is a function of
the seed alone: reading can start at any position, and each of several workers reads every count-th
position, whatever their number.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from cvrl_tf import environment
from cvrl_tf.data.index import RecordIndex
from cvrl_tf.data.sampling import Purpose, fold
from cvrl_tf.data.service import Arrivals, DataService

Sample = dict[str, tf.Tensor]
PARALLEL_CALLS = environment.granted_cpus()


@dataclasses.dataclass(frozen=True)
class Share:
    """The part of a stream that one worker reads: every count-th position, from `first` on.

    Attributes:
      index: of the worker, in [0, count - 1]; it reads positions p with p % count == index.
      count: number of workers.
      first: no position before it is read.
    """

    index: int = 0
    count: int = 1
    first: int = 0

    def next(self, position: int | tf.Tensor) -> int | tf.Tensor:
        """The first of this worker's positions that is not before `position`."""
        return position + (self.index - position) % self.count


WHOLE = Share()


def steady_options(waiting_calls: int = 0) -> tf.data.Options:
    """Options of a dataset whose parallelism is `PARALLEL_CALLS`, not found by trial.

    Args:
      waiting_calls: the number of calls that wait for something else than a CPU; each gets a thread
        beside those of the CPUs.

    TensorFlow's autotuning runs in a thread that sleeps up to a minute, and the end of a dataset
    waits for it: a stopped run would not end before.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    if waiting_calls:
        options.threading.private_threadpool_size = PARALLEL_CALLS + waiting_calls
    return options


def run_seed(seed: int) -> tf.Tensor:
    """The seed, (2,) int32, from which all seeds of a run are folded."""
    return tf.constant([seed, 0], tf.int32)


# How the permutation of an epoch is made: `Order.version`.
ARRAY_ORDER, INDEX_ORDER = 1, 2
# Of the cipher that permutes the numbers. TensorFlow's `index_shuffle` has 4, with which the same
# videos meet in batches of successive epochs up to 5.7 times as often as by chance (366,016 videos,
# 64 a batch); with 8 and more they meet as often as by chance.
_ROUNDS = 16


@dataclasses.dataclass(frozen=True)
class Order:
    """The order in which the videos of a run are read: a permutation of them for each epoch.

    Attributes:
      seed: of the run.
      version: `INDEX_ORDER` computes the video of each place alone; `ARRAY_ORDER`, of runs that
        earlier versions began, shuffles an array of all of them in each epoch.
    """

    seed: int
    version: int = INDEX_ORDER

    def epoch_seed(self, epoch: int | tf.Tensor) -> tf.Tensor:
        """The seed, (2,) int32, of all random draws of an epoch."""
        return fold(run_seed(self.seed), epoch)

    def of_epoch(self, epoch: int | tf.Tensor, num_videos: int) -> Callable[[tf.Tensor], tf.Tensor]:
        """The permutation of an epoch.

        Args:
          epoch: scalar integer, from 0.
          num_videos: N.

        Returns:
          A function, also in a tf.data graph, from places in the epoch, int64 in [0, N - 1] of any
          shape, to the numbers of their videos, the same shape and type.
        """
        seed = fold(self.epoch_seed(epoch), Purpose.SHUFFLE)
        if self.version == ARRAY_ORDER:
            numbers = tf.range(num_videos, dtype=tf.int64)
            permutation = tf.random.experimental.stateless_shuffle(numbers, seed)
            return lambda places: tf.gather(permutation, places)
        return lambda places: tf.raw_ops.RandomIndexShuffle(
            index=places,
            seed=tf.pad(seed, [[1, 0]]),  # three numbers
            max_index=tf.constant(num_videos - 1, tf.int64),
            rounds=_ROUNDS,
        )

    def video_at(self, position: int, num_videos: int) -> int:
        """The number of the video at a position of the stream."""
        epoch, place = divmod(position, num_videos)
        return int(self.of_epoch(epoch, num_videos)(tf.constant(place, tf.int64)))


def read_stream(
    index: RecordIndex,
    order: Order,
    sample: Callable[[tf.Tensor, tf.Tensor], Sample],
    finish: Callable[[Sample], Any],
    share: Share = WHOLE,
    service: DataService | None = None,
) -> tf.data.Dataset:
    """Reads the records of a stream, epoch after epoch, without those that cannot be used.

    A record that is damaged, or at which `sample` or `finish` fails, is skipped: its position is
    missing in the result. An epoch without any usable record is an error, since it would not end.

    Args:
      index: the records.
      order: of the run.
      sample: in a tf.data graph, from a record, scalar string, and the seed (2,) int32 of the run
        and the epoch, to what is kept of it.
      finish: from that to an element.
      share: what this worker reads.
      service: what computes the elements; None for this process. They are the same.

    Returns:
      Endless dataset of pairs: element; position, scalar int64.
    """
    num_videos = len(index)

    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        epoch_seed, numbers = order.epoch_seed(epoch), order.of_epoch(epoch, num_videos)
        first, end = epoch * num_videos, (epoch + 1) * num_videos
        begin = share.next(tf.maximum(first, share.first))
        elements = tf.data.Dataset.range(begin, end, share.count).map(
            lambda position: (position, numbers(position - first), epoch_seed)
        )
        # After the videos of an epoch comes a marker, not a video: its `position` holds the number
        # of videos of a whole epoch, 0 for a partial one, which `_check_epoch` needs.
        expected = tf.where(first >= share.first, elements.cardinality(), tf.constant(0, tf.int64))
        tick = tf.data.Dataset.from_tensors((expected, tf.constant(-1, tf.int64), epoch_seed))
        return elements.concatenate(tick)

    readable = _readable_record(index, sample, finish)

    def read(record: tf.Tensor, epoch_seed: tf.Tensor) -> Sample:
        serialized = tf.cond(record < 0, lambda: readable, lambda: index.read(record))
        return sample(serialized, epoch_seed)

    def at(position: tf.Tensor) -> tuple[Any, tf.Tensor]:
        epoch, place = position // num_videos, position % num_videos
        record = index.read_by_tensorflow(order.of_epoch(epoch, num_videos)(place))
        return finish(sample(record, order.epoch_seed(epoch))), position

    places = tf.data.Dataset.counter(share.first // num_videos).flat_map(one_epoch)
    if service:
        arrivals = service.ordered(at, share.next(share.first), share.count)
        elements = _with_arrivals(places, arrivals, lambda *place: finish(read(*place)))
    else:
        elements = places.map(
            lambda position, record, epoch_seed: (read(record, epoch_seed), position, record < 0),
            num_parallel_calls=index.parallel_reads,
        ).map(
            lambda kept, position, tick: (finish(kept), position, tick),
            num_parallel_calls=PARALLEL_CALLS,
        )
    return (
        elements
        # Skips records that cannot be read, parsed or decoded; `Gaps` finds their positions.
        .ignore_errors()
        .scan(tf.constant(0), _check_epoch)
        .filter(lambda element, position, tick: tf.logical_not(tick))
        .map(lambda element, position, tick: (element, position))
        .with_options(steady_options(index.parallel_reads if index.remote else 0))
    )


def _check_epoch(
    count: tf.Tensor, value: tuple[Any, tf.Tensor, tf.Tensor]
) -> tuple[tf.Tensor, tuple[Any, tf.Tensor, tf.Tensor]]:
    """Counts the elements of an epoch; at its marker, none of a whole epoch is an error."""
    _, position, tick = value
    nothing = tick & (position > 0) & (count == 0)
    check = tf.debugging.Assert(~nothing, ["No record of a whole epoch could be read."])
    with tf.control_dependencies([check]):
        return tf.where(tick, 0, count + 1), value


def _with_arrivals(
    places: tf.data.Dataset,
    arrivals: Arrivals,
    compute: Callable[[tf.Tensor, tf.Tensor], Any],
) -> tf.data.Dataset:
    """The elements that arrive from a service, and of the other places those computed here.

    Args:
      places: of position, record and seed of the epoch; the record is -1 for no video.
      arrivals: the elements of the service.
      compute: from record and seed to the element.

    Returns:
      Dataset of triples: element; position; whether there is no video.
    """

    def take(position: tf.Tensor, record: tf.Tensor, epoch_seed: tf.Tensor) -> tuple[Any, ...]:
        wanted = tf.where(record < 0, tf.constant(-1, tf.int64), position)
        return *arrivals.take(wanted), position, record, epoch_seed

    def complete(
        found: tf.Tensor,
        values: tuple[tf.Tensor, ...],
        position: tf.Tensor,
        record: tf.Tensor,
        epoch_seed: tf.Tensor,
    ) -> tuple[Any, tf.Tensor, tf.Tensor]:
        element = tf.cond(
            found, lambda: arrivals.packed(values), lambda: compute(record, epoch_seed)
        )
        return element, position, record < 0

    return places.map(take).map(complete, num_parallel_calls=PARALLEL_CALLS)


def _readable_record(
    index: RecordIndex,
    sample: Callable[[tf.Tensor, tf.Tensor], Sample],
    finish: Callable[[Sample], Any],
) -> tf.Tensor:
    """The first record that can be used; it stands in for the marker, which has no record."""
    for number in range(len(index)):
        try:
            serialized = index.read(tf.constant(number))
            finish(sample(serialized, run_seed(0)))
            return serialized
        except tf.errors.OpError as error:
            last_error = error
    raise last_error


class Gaps:
    """Finds the positions of a worker's share of the stream that are missing in its batches."""

    def __init__(self, share: Share = WHOLE):
        self._share = share
        self._next = share.next(share.first)

    @property
    def next_position(self) -> int:
        """The first position of the worker that no batch has reached."""
        return self._next

    def missing(self, positions: np.ndarray) -> list[int]:
        """The positions that are missing before or between those of a batch.

        Args:
          positions: (n,) int64, of the next batch, ascending.
        """
        end = int(positions[-1]) + self._share.count
        expected = np.arange(self._next, end, self._share.count)
        self._next = end
        return np.setdiff1d(expected, positions).tolist()
