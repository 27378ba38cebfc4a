"""Temporally consistent spatial augmentation: one draw for a clip, applied alike to each frame.

Clips are (T, H, W, 3) float32 in [0, 1]. Source: paper section 3.3, algorithm 2, with the values
and the asymmetry between the two views of the authors' released code.
"""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from cvrl_tf.data.sampling import Purpose, fold

CROP_AREA = (0.3, 1.0)
CROP_ASPECT_RATIO = (0.5, 2.0)
FLIP_PROBABILITY = 0.5
JITTER_PROBABILITY = 0.8
BRIGHTNESS = CONTRAST = SATURATION = (0.2, 1.8)  # factors
HUE = (-0.2, 0.2)  # turns
GRAYSCALE_PROBABILITY = 0.2
BLUR_SIGMA = (0.1, 2.0)  # pixels


@dataclasses.dataclass(frozen=True)
class View:
    """What distinguishes a view: the probabilities of blur and of solarisation."""

    blur_probability: float
    solarize_probability: float


# The two views, as in the released code, and as in the paper's algorithm, which has neither blur
# nor solarisation.
AUGMENTATIONS = {
    "released": (View(1.0, 0.0), View(0.1, 0.2)),
    "paper": (View(0.0, 0.0), View(0.0, 0.0)),
}


def random_crop_window(height: tf.Tensor, width: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws the window of a random resized crop: area 0.3 to 1 of the frame, aspect 0.5 to 2.

    Args:
      height: scalar int32, pixels of the frame.
      width: scalar int32, pixels of the frame.
      seed: (2,) int32.

    Returns:
      (4,) int32: top, left, height and width of the window in pixels, inside the frame.
    """
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.stack([height, width, 3]),
        bounding_boxes=tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seed=seed,
        min_object_covered=0.1,
        aspect_ratio_range=CROP_ASPECT_RATIO,
        area_range=CROP_AREA,
        max_attempts=100,
        use_image_if_no_bounding_boxes=True,
    )
    return tf.concat([begin[:2], size[:2]], axis=0)


def _uniform(seed: tf.Tensor, bounds: tuple[float, float] = (0.0, 1.0)) -> tf.Tensor:
    return tf.random.stateless_uniform([], seed, *bounds)


def _apply_with_probability(
    probability: float,
    operation: Callable[[tf.Tensor], tf.Tensor],
    clip: tf.Tensor,
    seed: tf.Tensor,
) -> tf.Tensor:
    """Applies `operation` to `clip` with `probability`; computes nothing otherwise."""
    if probability == 0.0:
        return clip
    if probability == 1.0:
        return operation(clip)
    return tf.cond(_uniform(seed) < probability, lambda: operation(clip), lambda: clip)


def _on_stacked_frames(
    operation: Callable[[tf.Tensor], tf.Tensor],
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Runs an image operation on all frames of a clip as on one tall image (T * H, W, 3)."""

    def apply(clip: tf.Tensor) -> tf.Tensor:
        shape = tf.shape(clip)
        return tf.reshape(operation(tf.reshape(clip, [-1, shape[2], 3])), shape)

    return apply


def color_jitter(
    clip: tf.Tensor,
    brightness: tf.Tensor,
    contrast: tf.Tensor,
    saturation: tf.Tensor,
    hue: tf.Tensor,
    order: tf.Tensor,
) -> tf.Tensor:
    """Changes the colours of a clip, clipping to [0, 1] after each of the four operations.

    Args:
      clip: (T, H, W, 3) float32 in [0, 1].
      brightness: scalar float32, factor of all values.
      contrast: scalar float32, factor of the distance to each channel's mean over the clip.
      saturation: scalar float32, factor of the saturation.
      hue: scalar float32, added to the hue, in turns.
      order: (4,) int32, a permutation: 0 brightness, 1 contrast, 2 saturation, 3 hue.

    Returns:
      (T, H, W, 3) float32 in [0, 1].
    """
    operations = (
        lambda image: image * brightness,
        lambda image: tf.image.adjust_contrast(image, contrast),
        lambda image: tf.image.adjust_saturation(image, saturation),
        lambda image: tf.image.adjust_hue(image, hue),
    )

    def jitter(image: tf.Tensor) -> tf.Tensor:
        for position in range(len(operations)):
            branches = [lambda op=op, x=image: op(x) for op in operations]
            image = tf.clip_by_value(tf.switch_case(order[position], branches), 0.0, 1.0)
        return image

    return _on_stacked_frames(jitter)(clip)


def random_color_jitter(clip: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """`color_jitter` with factors and order drawn from `seed`; shapes as there."""
    return color_jitter(
        clip,
        brightness=_uniform(fold(seed, 0), BRIGHTNESS),
        contrast=_uniform(fold(seed, 1), CONTRAST),
        saturation=_uniform(fold(seed, 2), SATURATION),
        hue=_uniform(fold(seed, 3), HUE),
        order=tf.random.experimental.stateless_shuffle(tf.range(4), fold(seed, 4)),
    )


def grayscale(clip: tf.Tensor) -> tf.Tensor:
    """The luma of a clip (T, H, W, 3) in all three channels."""
    return tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(clip))


def blur_radius(size: int) -> int:
    """The radius in pixels of the Gaussian kernel for frames of `size` pixels: 11 at 224."""
    return size // 20


def gaussian_blur(clip: tf.Tensor, sigma: tf.Tensor, radius: int) -> tf.Tensor:
    """Blurs each frame with a Gaussian of 2 * radius + 1 taps; zeros beyond the border.

    Args:
      clip: (T, H, W, 3) float32.
      sigma: scalar float32, pixels.
      radius: pixels.

    Returns:
      (T, H, W, 3) float32.
    """
    offsets = tf.range(-radius, radius + 1, dtype=tf.float32)
    taps = tf.exp(-(offsets**2) / (2.0 * sigma**2))
    taps = tf.tile((taps / tf.reduce_sum(taps))[:, None, None, None], [1, 1, 3, 1])
    vertical, horizontal = taps, tf.transpose(taps, [1, 0, 2, 3])
    for kernel in (vertical, horizontal):
        clip = tf.nn.depthwise_conv2d(clip, kernel, strides=[1, 1, 1, 1], padding="SAME")
    return clip


def random_gaussian_blur(clip: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """`gaussian_blur` with sigma drawn from [0.1, 2] pixels and the radius of the frame size."""
    return gaussian_blur(clip, _uniform(seed, BLUR_SIGMA), blur_radius(clip.shape[1]))


def solarize(clip: tf.Tensor) -> tf.Tensor:
    """Inverts the values of a clip in [0, 1] that are 0.5 or more."""
    return tf.where(clip < 0.5, clip, 1.0 - clip)


def augment(clip: tf.Tensor, view: View, seed: tf.Tensor) -> tf.Tensor:
    """All augmentation after crop and resize: flip, colour, grayscale, blur, solarisation.

    Args:
      clip: (T, H, W, 3) float32 in [0, 1], static H.
      view: the probabilities that distinguish the two views.
      seed: (2,) int32, of this clip in this epoch.

    Returns:
      (T, H, W, 3) float32 in [0, 1].
    """
    shape = clip.shape
    steps = (
        (Purpose.FLIP, FLIP_PROBABILITY, lambda clip, seed: tf.reverse(clip, [2])),
        (Purpose.COLOR_JITTER, JITTER_PROBABILITY, random_color_jitter),
        (Purpose.GRAYSCALE, GRAYSCALE_PROBABILITY, lambda clip, seed: grayscale(clip)),
        (Purpose.BLUR, view.blur_probability, random_gaussian_blur),
        (Purpose.SOLARIZE, view.solarize_probability, lambda clip, seed: solarize(clip)),
    )
    for purpose, probability, operation in steps:
        step_seed = fold(seed, purpose)
        clip = _apply_with_probability(
            probability,
            lambda clip, op=operation, s=step_seed: op(clip, fold(s, 1)),
            clip,
            fold(step_seed, 0),
        )
    return tf.ensure_shape(tf.clip_by_value(clip, 0.0, 1.0), shape)
