"""Views made in the plain way, with operations of tf.image, for comparison with `pipeline`.

Like the released code, it decodes whole frames and then crops them, changes colours by operations
of tf.image, some of which convert to HSV and back, and blurs with all taps.
"""

import tensorflow as tf

from cvrl_tf.data import augment
from cvrl_tf.data.augment import Parameters
from cvrl_tf.data.pipeline import ViewsSpec
from cvrl_tf.data.sampling import fold


def apply(clip: tf.Tensor, parameters: Parameters) -> tf.Tensor:
    """`augment.apply` written with tf.image: the same arguments and results."""
    shape, size = tf.shape(clip), clip.shape[1]
    image = tf.reshape(tf.cast(clip, tf.float32) / 255.0, [-1, clip.shape[2], 3])
    operations = (
        lambda x, factor: x * factor,
        tf.image.adjust_contrast,
        tf.image.adjust_saturation,
        tf.image.adjust_hue,
    )

    def jitter() -> tf.Tensor:
        result = image
        for position in range(4):
            branches = [
                lambda op=op, factor=parameters.factors[index], x=result: op(x, factor)
                for index, op in enumerate(operations)
            ]
            result = tf.switch_case(parameters.order[position], branches)
            result = tf.clip_by_value(result, 0.0, 1.0)
        return result

    image = tf.cond(parameters.jitter, jitter, lambda: image)
    image = tf.cond(
        parameters.grayscale,
        lambda: tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(image)),
        lambda: image,
    )
    result = tf.reshape(image, shape)
    result = tf.cond(
        parameters.sigma > 0.0, lambda: _blur(result, parameters.sigma, size), lambda: result
    )
    result = tf.cond(
        parameters.solarize, lambda: tf.where(result < 0.5, result, 1.0 - result), lambda: result
    )
    return tf.ensure_shape(tf.clip_by_value(result, 0.0, 1.0), clip.shape)


def _blur(clip: tf.Tensor, sigma: tf.Tensor, size: int) -> tf.Tensor:
    radius = augment.blur_radius(size)
    offsets = tf.range(-radius, radius + 1, dtype=tf.float32)
    taps = tf.exp(-(offsets**2) / (2.0 * sigma**2))
    taps = tf.tile((taps / tf.reduce_sum(taps))[:, None, None, None], [1, 1, 3, 1])
    for kernel in (taps, tf.transpose(taps, [1, 0, 2, 3])):
        clip = tf.nn.depthwise_conv2d(clip, kernel, strides=[1, 1, 1, 1], padding="SAME")
    return clip


def make_views(sample: dict[str, tf.Tensor], spec: ViewsSpec) -> tuple[tf.Tensor, ...]:
    """The augmented views of a sample, with the same draws as `pipeline.crop_views`.

    Of a consistent augmentation only.
    """
    views = []
    for index in range(spec.number):
        frames, seed = sample["frames"][index], fold(sample["seed"], index)
        pixels = tf.map_fn(
            lambda frame: tf.io.decode_jpeg(frame, channels=3),
            frames,
            fn_output_signature=tf.TensorSpec([None, None, 3], tf.uint8),
        )
        height, width = tf.shape(pixels)[1], tf.shape(pixels)[2]
        window = augment.crop_window(spec.augmentation, height, width, seed)
        top, left, tall, wide = tf.unstack(window)
        pixels = pixels[:, top : top + tall, left : left + wide]
        pixels = tf.cast(tf.image.resize(pixels, [spec.clip.size] * 2), tf.uint8)
        flipped = augment.random_flip(spec.augmentation, seed)
        pixels = tf.cond(flipped, lambda x=pixels: tf.reverse(x, [2]), lambda x=pixels: x)
        pixels = tf.ensure_shape(pixels, [spec.clip.frames, spec.clip.size, spec.clip.size, 3])
        views.append(apply(pixels, augment.draw(spec.augmentation, index, seed)))
    return tuple(views)
