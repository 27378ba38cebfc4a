"""Which frames a clip takes: stateless seeds and the interval sampler (paper section 3.2)."""

import dataclasses
import enum

import tensorflow as tf


class Purpose(enum.IntEnum):
    """What a random number is drawn for.

    Values must not change, nor be given to another purpose, because runs would change. 0 belonged
    to a purpose of an earlier version.
    """

    SHUFFLE = 1
    INTERVAL = 2
    FIRST_START = 3  # of the earlier clip; of both in a video shorter than a clip
    VIEW_ORDER = 4
    CROP = 5
    FLIP = 6
    COLOR_JITTER = 7
    GRAYSCALE = 8
    BLUR = 9
    SOLARIZE = 10
    DROPOUT = 11
    SUBSET = 12
    FRAME = 13
    OTHER_STARTS = 14


def fold(seed: tf.Tensor, *values: int | tf.Tensor) -> tf.Tensor:
    """Derives a seed: `fold(seed, epoch, record, view, purpose)` and so on, one value at a time.

    Args:
      seed: (2,) int32.
      *values: integer scalars.

    Returns:
      (2,) int32, unrelated to the seed of any other sequence of values.
    """
    for value in values:
        seed = tf.random.experimental.stateless_fold_in(seed, tf.cast(value, tf.int32))
    return seed


def num_starts(num_frames: tf.Tensor, clip_frames: int, stride: int) -> tf.Tensor:
    """The number of starts at which a whole clip fits: L - (clip_frames - 1) * stride.

    Args:
      num_frames: scalar int32, L, frames of the video.
      clip_frames: frames of a clip.
      stride: distance in video frames between consecutive frames of a clip.

    Returns:
      Scalar int32; zero or negative when the video is shorter than a clip.
    """
    return num_frames - (clip_frames - 1) * stride


INTERVALS = ("decreasing", "uniform", "increasing", "zero")


@dataclasses.dataclass(frozen=True)
class IntervalDistribution:
    """The interval in time between the starts of the two clips of a video with M starts.

    With x = t / M in [0, 1], the density is proportional to 1 - x^power (`decreasing`), 1
    (`uniform`), or x^power (`increasing`); with `zero` both clips are the same frames. The paper's
    figure 3 has decreasing with powers 1 (a, its choice), 0.5 (b) and 2 (c), uniform (d), and
    increasing with powers 1 (e) and 2 (f, by its label; the curve drawn there is the mirror image
    of (b)).

    Attributes:
      kind: one of `INTERVALS`.
      power: above 0; without meaning for `uniform` and `zero`.
    """

    kind: str = "decreasing"
    power: float = 1.0

    def draw(self, limit: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Draws an interval, rounded down as in the released code.

        Args:
          limit: scalar int32, M >= 1, the number of starts.
          seed: (2,) int32.

        Returns:
          Scalar int32 in [0, M - 1].

        Source: paper section 3.2.
        """
        first, second = tf.unstack(tf.random.stateless_uniform([2], seed))
        # For `decreasing`, y = second^(1 / (power + 1)) has density (power + 1) y^power, and
        # x = first * y, uniform on [0, y], then has (power + 1) / power * (1 - x^power). No
        # inverse is needed, which most powers do not have.
        x = {
            "decreasing": lambda: first * second ** (1.0 / (self.power + 1.0)),
            "uniform": lambda: first,
            "increasing": lambda: first ** (1.0 / (self.power + 1.0)),
            "zero": lambda: tf.zeros([]),
        }[self.kind]()
        interval = tf.cast(tf.cast(limit, tf.float32) * x, tf.int32)
        return tf.minimum(interval, limit - 1)  # where the product is rounded up to M

    def probabilities(self, intervals: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
        """The probabilities with which `draw` gives intervals.

        Args:
          intervals: (n,) int32 in [0, M - 1].
          limit: scalar int32, M.

        Returns:
          (n,) float64.
        """
        bounds = tf.stack([intervals, intervals + 1])
        x = tf.cast(bounds, tf.float64) / tf.cast(limit, tf.float64)
        cumulative = {
            "decreasing": lambda: ((self.power + 1.0) * x - x ** (self.power + 1.0)) / self.power,
            "uniform": lambda: x,
            "increasing": lambda: x ** (self.power + 1.0),
            "zero": lambda: tf.cast(x > 0.0, tf.float64),
        }[self.kind]()
        return cumulative[1] - cumulative[0]


def draw_start_pair(
    num_frames: tf.Tensor,
    clip_frames: int,
    stride: int,
    seed: tf.Tensor,
    distribution: IntervalDistribution = IntervalDistribution(),
) -> tf.Tensor:
    """Draws the first frames of the two clips of a video.

    The interval t comes from `distribution`, the earlier start is uniform on [0, M - t - 1], and
    either view is the earlier one with probability 1/2. In a video shorter than a clip the two
    starts are uniform over its frames (`clip_indices` then goes round), and independent unless
    the interval is zero.

    Args:
      num_frames: scalar int32, L >= 1, frames of the video.
      clip_frames: frames of a clip.
      stride: distance in video frames between consecutive frames of a clip.
      seed: (2,) int32, of this video in this epoch.
      distribution: of the interval between the starts.

    Returns:
      (2,) int32, the start of each view, in frames.

    Source: paper section 3.2, algorithm 1.
    """
    limit = num_starts(num_frames, clip_frames, stride)

    def long_video() -> tf.Tensor:
        interval = distribution.draw(limit, fold(seed, Purpose.INTERVAL))
        earlier = tf.random.stateless_uniform(
            [], fold(seed, Purpose.FIRST_START), maxval=limit - interval, dtype=tf.int32
        )
        return tf.stack([earlier, earlier + interval])

    def short_video() -> tf.Tensor:
        starts = tf.random.stateless_uniform(
            [2], fold(seed, Purpose.FIRST_START), maxval=num_frames, dtype=tf.int32
        )
        return tf.repeat(starts[:1], 2) if distribution.kind == "zero" else starts

    starts = tf.cond(limit > 0, long_video, short_video)
    swap = tf.random.stateless_uniform([], fold(seed, Purpose.VIEW_ORDER)) < 0.5
    return tf.where(swap, tf.reverse(starts, [0]), starts)


def draw_starts(
    num_frames: tf.Tensor,
    clip_frames: int,
    stride: int,
    seed: tf.Tensor,
    distribution: IntervalDistribution = IntervalDistribution(),
    num_clips: int = 2,
) -> tf.Tensor:
    """Draws the first frames of K clips of a video: a pair, and K - 2 more.

    The first two starts are those of `draw_start_pair`. Each other start is drawn, independently of
    the rest, from the distribution that the pair's second start has given its first: s with the
    interval t = |s - first| has a probability proportional to P(t) / (M - t), twice that for t = 0,
    where P is that of `distribution` and M the number of starts. So the first and any other clip
    are distributed as a pair is: their intervals follow `distribution` exactly, and all clips fit.
    In a video shorter than a clip all starts are as in `draw_start_pair`: independent and uniform
    over its frames, or equal if the interval is zero.

    Args:
      num_frames: scalar int32, L >= 1, frames of the video.
      clip_frames: frames of a clip.
      stride: distance in video frames between consecutive frames of a clip.
      seed: (2,) int32, of this video in this epoch.
      distribution: of the interval between the first start and each other.
      num_clips: K >= 2.

    Returns:
      (K,) int32, the start of each view, in frames.
    """
    pair = draw_start_pair(num_frames, clip_frames, stride, seed, distribution)
    if num_clips == 2:
        return pair
    limit = num_starts(num_frames, clip_frames, stride)
    draws = tf.random.stateless_uniform(
        [num_clips - 2], fold(seed, Purpose.OTHER_STARTS), dtype=tf.float64
    )

    def long_video() -> tf.Tensor:
        intervals = tf.abs(tf.range(limit) - pair[0])
        weights = distribution.probabilities(intervals, limit)
        weights /= tf.cast(limit - intervals, tf.float64)
        weights *= tf.where(intervals == 0, tf.constant(2.0, tf.float64), 1.0)
        cumulative = tf.cumsum(weights)
        found = tf.searchsorted(cumulative, draws * cumulative[-1], side="right")
        return tf.minimum(found, limit - 1)

    def short_video() -> tf.Tensor:
        if distribution.kind == "zero":
            return tf.repeat(pair[:1], num_clips - 2)
        return tf.cast(draws * tf.cast(num_frames, tf.float64), tf.int32)

    return tf.concat([pair, tf.cond(limit > 0, long_video, short_video)], axis=0)


def draw_start(num_frames: tf.Tensor, clip_frames: int, stride: int, seed: tf.Tensor) -> tf.Tensor:
    """Draws the first frame of a single clip, uniform over all that a whole clip fits at.

    In a video shorter than a clip it is uniform over its frames (`clip_indices` then goes round).

    Args:
      num_frames: scalar int32, L >= 1, frames of the video.
      clip_frames: frames of the clip.
      stride: distance in video frames between consecutive frames of the clip.
      seed: (2,) int32, of this video in this epoch.

    Returns:
      Scalar int32.
    """
    limit = num_starts(num_frames, clip_frames, stride)
    limit = tf.where(limit > 0, limit, num_frames)
    return tf.random.stateless_uniform(
        [], fold(seed, Purpose.FIRST_START), maxval=limit, dtype=tf.int32
    )


def clip_indices(
    start: tf.Tensor, num_frames: tf.Tensor, clip_frames: int, stride: int
) -> tf.Tensor:
    """The frames of a clip: start, start + stride, ..., going round at the end of the video.

    Args:
      start: scalar int32.
      num_frames: scalar int32, frames of the video.
      clip_frames: frames of a clip.
      stride: distance in video frames between consecutive frames of a clip.

    Returns:
      (clip_frames,) int32 in [0, num_frames - 1].
    """
    return (start + tf.range(clip_frames) * stride) % num_frames


def even_starts(num_frames: tf.Tensor, num_clips: int, clip_frames: int, stride: int) -> tf.Tensor:
    """Evenly spaced starts of the clips that an evaluation takes from a video.

    One clip lies in the middle; several reach from the first frame to L - clip_frames * stride,
    as in the released code.

    Args:
      num_frames: scalar int32, frames of the video.
      num_clips: clips to take.
      clip_frames: frames of a clip.
      stride: distance in video frames between consecutive frames of a clip.

    Returns:
      (num_clips,) int32, all 0 in a video shorter than a clip.
    """
    last = tf.maximum(num_frames - clip_frames * stride, 0)
    if num_clips == 1:
        return last[tf.newaxis] // 2
    return tf.range(num_clips) * last // (num_clips - 1)


def spaced(total: int, count: int) -> list[int]:
    """`count` indices below `total`, evenly spaced from the first to the last; all of them
    if `count` is 0."""
    if count <= 0 or count >= total:
        return list(range(total))
    return [round(index * (total - 1) / max(count - 1, 1)) for index in range(count)]
