"""The views of a video that an evaluation takes: evenly spaced clips, uniform crops."""

import dataclasses
from collections.abc import Mapping

import tensorflow as tf

from cvrl_tf.data import clips, sampling
from cvrl_tf.data.clips import ClipSpec


@dataclasses.dataclass(frozen=True)
class EvaluationViews:
    """Which views of each video an evaluation takes.

    Attributes:
      clip: frames, stride and size of each view.
      num_clips: evenly spaced clips of a video.
      num_crops: crops of each clip, 1 (centre) or 3 (along the longer side).
    """

    clip: ClipSpec
    num_clips: int
    num_crops: int = 1

    def __len__(self) -> int:
        return self.num_clips * self.num_crops

    def __str__(self) -> str:
        clip = self.clip
        return (
            f"{self.num_clips} clip{'s' * (self.num_clips > 1)} x {self.num_crops}"
            f" crop{'s' * (self.num_crops > 1)}, {clip.frames} frames at stride {clip.stride},"
            f" {clip.size}x{clip.size} pixels"
        )

    def frame_numbers(self, num_frames: int) -> set[int]:
        """The frames that the views take of a video with `num_frames` frames; none of an empty one.

        As `sampling.even_starts` and `clip_indices`, without TensorFlow: a process that only
        decodes must not start the GPU.
        """
        clip = self.clip
        last = max(num_frames - clip.frames * clip.stride, 0)
        if self.num_clips == 1:
            starts = [last // 2]
        else:
            starts = [index * last // (self.num_clips - 1) for index in range(self.num_clips)]
        return {
            (start + place * clip.stride) % num_frames
            for start in starts
            for place in range(clip.frames)
            if num_frames
        }

    def as_json(self) -> dict[str, int]:
        """The value of `views` in `results.json`."""
        return {"clips": self.num_clips, "crops": self.num_crops, **dataclasses.asdict(self.clip)}

    @classmethod
    def from_json(cls, values: Mapping[str, int]) -> "EvaluationViews":
        """The inverse of `as_json`.

        Raises:
          KeyError, TypeError: the value is another.
        """
        clip = {name: value for name, value in values.items() if name not in ("clips", "crops")}
        return cls(ClipSpec(**clip), values["clips"], values["crops"])


def crop_offsets(
    height: tf.Tensor, width: tf.Tensor, size: int, num_crops: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Where square crops lie that are spread over the longer side, centred on the shorter one.

    Args:
      height: scalar int32, pixels of the frame.
      width: scalar int32, pixels of the frame.
      size: pixels of a crop.
      num_crops: 1 (centre) or 3 (start, centre and end of the longer side).

    Returns:
      Top and left, (num_crops,) int32 each.
    """
    top, left = (height - size) // 2, (width - size) // 2
    if num_crops == 1:
        return top[tf.newaxis], left[tf.newaxis]
    if num_crops != 3:
        raise ValueError(f"Found num_crops={num_crops}, expected 1 or 3.")
    tall = height > width
    tops = tf.where(tall, tf.stack([0, top, height - size]), tf.repeat(top, 3))
    lefts = tf.where(tall, tf.repeat(left, 3), tf.stack([0, left, width - size]))
    return tops, lefts


def resize_short_side(frames: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes frames (L, H, W, 3) uint8 so that the shorter side has `size` pixels.

    The longer side is rounded down, values too: (L, size, width, 3) or (L, height, size, 3) uint8.
    """
    _, height, width, _ = tf.unstack(tf.shape(frames))
    short_side = tf.minimum(height, width)
    return clips.resize(frames, height * size // short_side, width * size // short_side)


def center_clips(frames: tf.Tensor, size: int) -> tf.Tensor:
    """Clips as `sample_views` makes them of one clip and one crop, from decoded frames.

    Args:
      frames: (N, T, H, W, 3) uint8 RGB, the frames of each clip.
      size: pixels, height and width of a clip.

    Returns:
      (N, T, size, size, 3) float32 in [0, 1].
    """
    num_clips, num_frames, height, width, _ = tf.unstack(tf.shape(frames))
    folded = tf.reshape(frames, [num_clips * num_frames, height, width, 3])
    resized = resize_short_side(folded, size)
    _, height, width, _ = tf.unstack(tf.shape(resized))
    (top,), (left,) = (tf.unstack(x) for x in crop_offsets(height, width, size, num_crops=1))
    pixels = tf.cast(resized[:, top : top + size, left : left + size], tf.float32) / 255.0
    return tf.reshape(pixels, [num_clips, num_frames, size, size, 3])


def sample_views(frames: tf.Tensor, views: EvaluationViews) -> tf.Tensor:
    """Evenly spaced clips of a video, each in uniform crops.

    The shorter side is resized to the clip's size first. Each frame is decoded once.

    Args:
      frames: (L,) string, JPEGs of one size; those that no view takes may be empty.
      views: the views to take.

    Returns:
      (V, T, size, size, 3) float32 in [0, 1], with V = num_clips * num_crops: all crops of the
      first clip, then those of the second, and so on.

    Source: paper section 4.2; the released code.
    """
    return tf.cast(sample_view_pixels(frames, views), tf.float32) / 255.0


def sample_view_pixels(frames: tf.Tensor, views: EvaluationViews) -> tf.Tensor:
    """`sample_views` as uint8: 30 views of 32 x 256 x 256 take 189 MB, a quarter."""
    clip, num_clips, num_crops = views.clip, views.num_clips, views.num_crops
    num_frames = tf.shape(frames)[0]
    starts = sampling.even_starts(num_frames, num_clips, clip.frames, clip.stride)
    indices = tf.stack(
        [
            sampling.clip_indices(starts[index], num_frames, clip.frames, clip.stride)
            for index in range(num_clips)
        ]
    )
    used, positions = tf.unique(tf.reshape(indices, [-1]))  # clips overlap
    height, width, _ = tf.unstack(tf.io.extract_jpeg_shape(frames[used[0]]))
    whole = tf.stack([0, 0, height, width])
    pixels = clips.decode_and_crop(tf.gather(frames, used), whole)
    pixels = resize_short_side(pixels, clip.size)
    _, height, width, _ = tf.unstack(tf.shape(pixels))
    tops, lefts = crop_offsets(height, width, clip.size, num_crops)
    positions = tf.reshape(positions, [num_clips, clip.frames])
    crops = [
        tf.gather(
            pixels[
                :, tops[index] : tops[index] + clip.size, lefts[index] : lefts[index] + clip.size
            ],
            positions,
        )
        for index in range(num_crops)
    ]
    shape = [clip.frames, clip.size, clip.size, 3]
    return tf.ensure_shape(tf.reshape(tf.stack(crops, axis=1), [-1, *shape]), [len(views), *shape])
