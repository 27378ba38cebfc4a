"""Temporally consistent spatial augmentation: one draw for a clip, applied alike to each frame.

An `Augmentation` holds all ranges and probabilities. `crop_window` and `random_flip` decide where a
clip's pixels come from; `draw` and `apply` change their colours. A clip whose frames have draws of
their own is treated as clips of one frame each. `apply` computes closed forms on separate channels,
compiled by XLA; docs/performance.md compares their cost with that of the operations of `tf.image`.

Source: paper section 3.3, algorithm 2, with the values and the asymmetry between the two views of
the authors' released code.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

import tensorflow as tf

from cvrl_tf import settings
from cvrl_tf.data.sampling import Purpose, fold
from cvrl_tf.settings import setting

MIN_OBJECT_COVERED = 0.1  # fraction of the frame in every random crop
# Use the smallest of these radii whose discarded tail weighs at most BLUR_TOLERANCE.
BLUR_RADII = (2, 4, 8)  # the program for 6 takes longer than that for 8
BLUR_TOLERANCE = 1e-6
LUMA = (0.2989, 0.5870, 0.1140)  # of red, green and blue, as in tf.image
HALF_TURN = 0.5  # of the hue; a larger range holds the same colours

Pair = tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Geometry:
    """Where the pixels of a clip come from: a window of its frames, and a flip.

    The defaults are those of the released code.

    Raises:
      InputError: a value outside its bounds, or a range whose first number is the larger one.
    """

    random_crop: bool = setting(
        True,
        "Crop a random window. --norandom_crop crops the largest square in the centre and ignores"
        " --crop_area and --crop_aspect.",
    )
    crop_area: Pair = setting(
        (0.3, 1.0),
        "Smallest and largest area of a random crop, as fractions of the area of the frame.",
        lower=0.01,
        upper=1,
        increasing=True,
    )
    crop_aspect: Pair = setting(
        (0.5, 2.0),
        "Smallest and largest aspect ratio of a random crop, width / height.",
        lower=0.01,
        upper=100,
        increasing=True,
    )
    flip_probability: float = setting(
        0.5,
        "Probability that a clip is flipped from left to right. Set 0 where left and right matter,"
        " as in gestures, sign language and traffic.",
        lower=0,
        upper=1,
    )

    def __post_init__(self) -> None:
        settings.check(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`, after JSON has made lists of tuples.

        Raises:
          TypeError: a name that this version does not know.
        """
        kept: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**kept)


RELEASED_GEOMETRY = Geometry()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation(Geometry):
    """How the views of a video are augmented; the defaults are those of the released code.

    The first number of a pair for the views is that of the first view, the second that of all
    others.

    Source: paper section 3.3; the strengths and the asymmetry of the views of the released code.
    """

    jitter_probability: float = setting(0.8, "Probability of the colour jitter.", lower=0, upper=1)
    brightness: float = setting(
        0.8,
        "Strength of the jitter of brightness: values are multiplied by a factor in [1 - strength,"
        " 1 + strength], at least 0.",
        lower=0,
    )
    contrast: float = setting(
        0.8,
        "Strength of the jitter of contrast: the distance to the mean colour of the clip is"
        " multiplied by a factor in the same range.",
        lower=0,
    )
    saturation: float = setting(
        0.8,
        "Strength of the jitter of saturation, which is multiplied by a factor in the same range.",
        lower=0,
    )
    hue: float = setting(
        0.2,
        "Strength of the jitter of hue: the largest change, in turns.",
        lower=0,
        upper=HALF_TURN,
    )
    color_strength: float = setting(
        1.0,
        "Multiplies the four strengths of the colour jitter; that of the hue stays at most half a"
        " turn.",
        lower=0,
    )
    grayscale_probability: float = setting(
        0.2, "Probability that a clip is converted to grey.", lower=0, upper=1
    )
    blur_probability: Pair = setting(
        (1.0, 0.1),
        "Probability of the Gaussian blur, of the first view and of the others.",
        lower=0,
        upper=1,
    )
    blur_sigma: Pair = setting(
        (0.1, 2.0),
        "Smallest and largest standard deviation of the Gaussian blur in pixels.",
        lower=0.01,
        increasing=True,
    )
    solarize_probability: Pair = setting(
        (0.0, 0.2),
        "Probability that values of 0.5 and more are inverted, of the first view and of the"
        " others.",
        lower=0,
        upper=1,
    )
    consistent: bool = setting(
        True,
        "Draw crop, flip and colours once for each clip. --noconsistent draws them for each frame.",
    )

    @property
    def jitter_ranges(self) -> tuple[Pair, Pair, Pair, Pair]:
        """Of the factors of brightness, contrast and saturation, and of the change of hue."""
        strengths = (self.brightness, self.contrast, self.saturation)
        scaled = [strength * self.color_strength for strength in strengths]
        first, second, third = ((max(0.0, 1.0 - x), 1.0 + x) for x in scaled)
        hue = min(self.hue * self.color_strength, HALF_TURN)
        return first, second, third, (-hue, hue)


PRESETS: Mapping[str, Augmentation] = {
    "released": Augmentation(),
    # The paper's algorithm 2 has neither blur nor solarisation.
    "paper": Augmentation(blur_probability=(0.0, 0.0), solarize_probability=(0.0, 0.0)),
    "none": Augmentation(
        random_crop=False,
        flip_probability=0.0,
        jitter_probability=0.0,
        grayscale_probability=0.0,
        blur_probability=(0.0, 0.0),
        solarize_probability=(0.0, 0.0),
    ),
    "inconsistent": Augmentation(consistent=False),
    "strong": Augmentation(crop_area=(0.2, 0.766)),
}


class Parameters(NamedTuple):
    """What `apply` does to a clip, drawn by `draw`. All are tensors.

    Parameters of each frame of a clip have the frames as a leading axis.

    Attributes:
      jitter: scalar bool, whether the colour jitter happens.
      factors: (4,) float32: brightness, a factor of all values; contrast, a factor of the distance
        to each channel's mean over the clip; saturation, a factor; hue, added in turns.
      order: (4,) int32, a permutation: the order of the indices of `factors`.
      grayscale: scalar bool.
      sigma: scalar float32, of the Gaussian blur in pixels; 0 for none.
      solarize: scalar bool, whether values of 0.5 and more are inverted.
    """

    jitter: tf.Tensor
    factors: tf.Tensor
    order: tf.Tensor
    grayscale: tf.Tensor
    sigma: tf.Tensor
    solarize: tf.Tensor


PARAMETERS = Parameters(  # of one clip
    jitter=tf.TensorSpec([], tf.bool),
    factors=tf.TensorSpec([4], tf.float32),
    order=tf.TensorSpec([4], tf.int32),
    grayscale=tf.TensorSpec([], tf.bool),
    sigma=tf.TensorSpec([], tf.float32),
    solarize=tf.TensorSpec([], tf.bool),
)


def crop_window(
    geometry: Geometry, height: tf.Tensor, width: tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    """The window of a clip: of a random resized crop, or the largest square in the centre.

    Args:
      geometry: how the window is drawn.
      height: scalar int32, pixels of the frame.
      width: scalar int32, pixels of the frame.
      seed: (2,) int32, of this clip in this epoch.

    Returns:
      (4,) int32: top, left, height and width of the window in pixels, inside the frame. In a frame
      so long that no window fits the ranges, the whole frame.
    """
    if not geometry.random_crop:
        side = tf.minimum(height, width)
        return tf.stack([(height - side) // 2, (width - side) // 2, side, side])
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.stack([height, width, 3]),
        bounding_boxes=tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seed=fold(seed, Purpose.CROP),
        min_object_covered=min(MIN_OBJECT_COVERED, geometry.crop_area[0]),
        aspect_ratio_range=geometry.crop_aspect,
        area_range=geometry.crop_area,
        max_attempts=100,
        use_image_if_no_bounding_boxes=True,
    )
    return tf.concat([begin[:2], size[:2]], axis=0)


def _uniform(seed: tf.Tensor, bounds: Pair = (0.0, 1.0)) -> tf.Tensor:
    return tf.random.stateless_uniform([], seed, *bounds)


def random_flip(geometry: Geometry, seed: tf.Tensor) -> tf.Tensor:
    """Draws whether a clip is flipped from left to right, a scalar bool; `seed` is (2,) int32."""
    return _uniform(fold(seed, Purpose.FLIP, 0)) < geometry.flip_probability


@tf.function(jit_compile=True)
def flip(clip: tf.Tensor) -> tf.Tensor:
    """Flips a clip, (T, H, W, 3) of static shape, from left to right."""
    return tf.reverse(clip, [2])


def draw(augmentation: Augmentation, view: int, seed: tf.Tensor) -> Parameters:
    """Draws the parameters of one clip.

    Args:
      augmentation: ranges and probabilities.
      view: number of the view that the clip is, from 0.
      seed: (2,) int32, of this clip in this epoch.
    """

    def happens(purpose: Purpose, probability: float) -> tf.Tensor:
        return _uniform(fold(seed, purpose, 0)) < probability

    of_view = min(view, 1)  # the first view is one of its own, all others are alike
    jitter = fold(seed, Purpose.COLOR_JITTER, 1)
    bounds = augmentation.jitter_ranges
    sigma = _uniform(fold(seed, Purpose.BLUR, 1), augmentation.blur_sigma)
    blurred = happens(Purpose.BLUR, augmentation.blur_probability[of_view])
    return Parameters(
        jitter=happens(Purpose.COLOR_JITTER, augmentation.jitter_probability),
        factors=tf.stack([_uniform(fold(jitter, index), bounds[index]) for index in range(4)]),
        order=tf.random.experimental.stateless_shuffle(tf.range(4), fold(jitter, 4)),
        grayscale=happens(Purpose.GRAYSCALE, augmentation.grayscale_probability),
        sigma=tf.where(blurred, sigma, 0.0),
        solarize=happens(Purpose.SOLARIZE, augmentation.solarize_probability[of_view]),
    )


# Below, the channels of a clip are separate, (3, T, H, W) float32 in [0, 1], so that
# a colour is three rows of memory and the compiler can work on many pixels at once.


def _brightness(channels: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    return channels * factor


def _contrast(channels: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    mean = tf.reduce_mean(channels, axis=[1, 2, 3], keepdims=True)
    return (channels - mean) * factor + mean


def _value_and_chroma(channels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The V of HSV, and V * S: the largest channel, and its distance to the smallest."""
    red, green, blue = tf.unstack(channels)
    value = tf.maximum(tf.maximum(red, green), blue)
    return value, value - tf.minimum(tf.minimum(red, green), blue)


def _saturation(channels: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    # Scaling S scales the distance to V; S is at most 1, where the chroma is V.
    value, chroma = _value_and_chroma(channels)
    most = tf.where(chroma > 0.0, value / chroma, factor)
    return value - (value - channels) * tf.minimum(factor, most)


def _hue(channels: tf.Tensor, turns: tf.Tensor) -> tf.Tensor:
    # A channel is piecewise linear in the hue: V where it leads, V - chroma where it lags.
    red, green, blue = tf.unstack(channels)
    value, chroma = _value_and_chroma(channels)
    inverse = tf.where(chroma > 0.0, 1.0 / chroma, 0.0)
    sixths = tf.where(
        value == red,
        (green - blue) * inverse,
        tf.where(value == green, (blue - red) * inverse + 2.0, (red - green) * inverse + 4.0),
    )

    def channel(offset: float) -> tf.Tensor:
        position = sixths + (turns * 6.0 + offset)
        position -= 6.0 * tf.floor(position * (1.0 / 6.0))
        lag = tf.clip_by_value(tf.minimum(position, 4.0 - position), 0.0, 1.0)
        return value - chroma * lag

    return tf.stack([channel(5.0), channel(3.0), channel(1.0)])


def _jitter(channels: tf.Tensor, parameters: Parameters) -> tf.Tensor:
    operations = (_brightness, _contrast, _saturation, _hue)
    for position in range(len(operations)):
        branches = [
            lambda op=operation, factor=parameters.factors[index], x=channels: tf.clip_by_value(
                op(x, factor), 0.0, 1.0
            )
            for index, operation in enumerate(operations)
        ]
        channels = tf.switch_case(parameters.order[position], branches)
    return channels


def _grayscale(channels: tf.Tensor) -> tf.Tensor:
    luma = sum(weight * channels[index] for index, weight in enumerate(LUMA))
    return tf.stack([luma] * 3)


def blur_radius(size: int) -> int:
    """The radius in pixels of the Gaussian kernel for frames of `size` pixels: 11 at 224."""
    return size // 20


def _gaussian_taps(sigma: tf.Tensor, radius: int) -> tf.Tensor:
    offsets = tf.range(-radius, radius + 1, dtype=tf.float32)
    taps = tf.exp(-(offsets**2) / (2.0 * tf.maximum(sigma, 1e-3) ** 2))
    return taps / tf.reduce_sum(taps)


def _convolve(channels: tf.Tensor, taps: tf.Tensor, axis: int) -> tf.Tensor:
    """Convolves along one axis with symmetric taps, within the border: a sum of shifted copies."""
    radius = taps.shape[0] // 2
    size = channels.shape[axis] - 2 * radius

    def shifted(first: int) -> tf.Tensor:
        begin = [first if dimension == axis else 0 for dimension in range(4)]
        return tf.slice(channels, begin, [size if d == axis else -1 for d in range(4)])

    total = taps[radius] * shifted(radius)
    for offset in range(1, radius + 1):
        total += taps[radius + offset] * (shifted(radius - offset) + shifted(radius + offset))
    return total


def _separate(clip: tf.Tensor) -> tf.Tensor:
    """(T, H, W, 3) uint8 to (3, T, H, W) float32 in [0, 1]."""
    return tf.stack([tf.cast(clip[..., index], tf.float32) for index in range(3)]) / 255.0


class _Program:
    """A function of tensors that XLA compiles, or that TensorFlow runs operation by operation."""

    def __init__(self, function: Callable[..., tf.Tensor]):
        functools.update_wrapper(self, function)
        self._forms = {
            compiled: tf.function(function, jit_compile=compiled) for compiled in (True, False)
        }

    def __call__(self, *arguments: Any, compiled: bool) -> tf.Tensor:
        return self._forms[compiled](*arguments)


# Three programs, not one: a choice between branches inside a compiled program copies the clip, and
# fusing the colours into the blur recomputes them for each tap.


@_Program
def _color(clip: tf.Tensor, parameters: Parameters, jitter: bool) -> tf.Tensor:
    """Colour jitter; (T, H, W, 3) uint8 to (3, T, H, W) float32 in [0, 1]."""
    channels = _separate(clip)
    return _jitter(channels, parameters) if jitter else channels


@_Program
def _blur(channels: tf.Tensor, taps: tf.Tensor) -> tf.Tensor:
    """Convolves width and height, with zeros beyond the border."""
    border = [taps.shape[0] // 2] * 2
    padded = tf.pad(channels, [[0, 0], [0, 0], border, border])
    # The width first: the second pass, over what the first one wrote, then works on whole rows.
    return _convolve(_convolve(padded, taps, axis=3), taps, axis=2)


@_Program
def _finish(channels: tf.Tensor, parameters: Parameters) -> tf.Tensor:
    """Grayscale and solarisation; (3, T, H, W) to (T, H, W, 3), both float32 in [0, 1].

    Grayscale comes before the blur; a weighted sum of the channels may as well come after it, where
    it takes no pass of its own.
    """
    channels = tf.where(parameters.grayscale, _grayscale(channels), channels)
    channels = tf.where(parameters.solarize & (channels >= 0.5), 1.0 - channels, channels)
    # In half the time that stacking the channels takes.
    return tf.transpose(tf.clip_by_value(channels, 0.0, 1.0), [1, 2, 3, 0])


@tf.function
def apply(clip: tf.Tensor, parameters: Parameters, compiled: bool = True) -> tf.Tensor:
    """Colour jitter, grayscale, Gaussian blur and solarisation, in this order.

    Args:
      clip: (T, H, W, 3) uint8 of static shape.
      parameters: of the clip; or of each of its frames, with a leading axis of T.
      compiled: whether XLA compiles the operations; otherwise TensorFlow runs the same ones.

    Returns:
      (T, H, W, 3) float32 in [0, 1].
    """
    if parameters.sigma.shape.rank == 0:
        return _apply(clip, parameters, compiled)
    frames = tf.map_fn(
        lambda frame: _apply(frame[0], frame[1], compiled),
        (clip[:, tf.newaxis], parameters),
        fn_output_signature=tf.TensorSpec([1, *clip.shape[1:]], tf.float32),
    )
    return tf.squeeze(frames, axis=1)


def _apply(clip: tf.Tensor, parameters: Parameters, compiled: bool) -> tf.Tensor:
    """`apply` with one set of parameters."""
    channels = tf.cond(
        parameters.jitter,
        lambda: _color(clip, parameters, True, compiled=compiled),
        lambda: _color(clip, parameters, False, compiled=compiled),
    )
    largest = blur_radius(clip.shape[1])
    taps = _gaussian_taps(parameters.sigma, largest)
    # The smallest radius whose discarded tail weighs next to nothing; 0 without blur.
    radii = [0] + [radius for radius in BLUR_RADII if radius < largest] + [largest]
    too_short = [
        2.0 * tf.reduce_sum(taps[largest + radius + 1 :]) > BLUR_TOLERANCE for radius in radii[1:-1]
    ]
    choice = tf.where(
        parameters.sigma > 0.0, 1 + tf.reduce_sum(tf.cast(too_short, tf.int32)), tf.constant(0)
    )
    branches = [lambda: channels] + [
        lambda radius=radius: _blur(
            channels, taps[largest - radius : largest + radius + 1], compiled=compiled
        )
        for radius in radii[1:]
    ]
    return _finish(tf.switch_case(choice, branches), parameters, compiled=compiled)
