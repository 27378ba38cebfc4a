"""The network of the paper's table 1 from a checkpoint of the authors' layout, in plain operations.

Written from the paper and the keys alone, without layers of the package. The package's
network is compared with it. `write_checkpoint` makes such checkpoints of random weights.
"""

import numpy as np
import tensorflow as tf
from tensorflow.python.trackable.autotrackable import AutoTrackable

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
EPSILON = 1e-5


def random_weights(shapes, seed=0):
    """A value for each weight of {key: shape}; variances positive, activations of order one."""
    rng = np.random.default_rng(seed)
    weights = {}
    for key, shape in shapes.items():
        name = key.removesuffix(VALUE).rsplit("/", 1)[-1]
        if name == "kernel":
            value = rng.normal(0, np.prod(shape[:-1]) ** -0.5, shape)
        elif name in ("gamma", "moving_variance"):
            value = rng.uniform(0.5, 1.5, shape)
        elif name in ("beta", "moving_mean", "bias"):
            value = rng.normal(0, 0.2, shape)
        else:
            continue
        weights[key] = value.astype("float32")
    return weights


def write_checkpoint(prefix, weights, **bookkeeping):
    """Writes {key: value} as an object-based checkpoint with exactly these keys."""
    root = AutoTrackable()
    for key, value in weights.items():
        *parents, name = key.removesuffix(VALUE).split("/")
        owner = root
        for parent in parents:
            if not hasattr(owner, parent):
                setattr(owner, parent, AutoTrackable())
            owner = getattr(owner, parent)
        setattr(owner, name, tf.Variable(value))
    for name, value in bookkeeping.items():
        setattr(root, name, tf.Variable(value))
    return tf.train.Checkpoint(root).write(str(prefix))


def stage_outputs(weights, clips, training=False, moments=None):
    """The output of each of res2 to res5.

    Args:
      weights: {key: value} of a backbone checkpoint.
      clips: (N, T, H, W, 3) float32 in [0, 1].
      training: whether activations are normalised with their own statistics, as in training.
      moments: gets the float64 mean and variance of the activations before each normalisation, each
        with the number of these, by the key of the moving statistic that it moves.
    """
    moments = {} if moments is None else moments

    def get(name):
        return weights[f"backbone/layer_with_weights-{name}{VALUE}"]

    def convolve(x, name, strides):
        return tf.nn.conv3d(x, get(f"{name}/kernel"), [1, *strides, 1], "SAME")

    def normalize(x, name):
        rows = np.asarray(x, np.float64).reshape(-1, x.shape[-1])
        key = f"backbone/layer_with_weights-{name}"
        moments[f"{key}/moving_mean{VALUE}"] = rows.mean(0), len(rows)
        moments[f"{key}/moving_variance{VALUE}"] = rows.var(0), len(rows)
        mean, variance = get(f"{name}/moving_mean"), get(f"{name}/moving_variance")
        if training:
            mean, variance = (x.astype("float32") for x in (rows.mean(0), rows.var(0)))
        scale = get(f"{name}/gamma") / np.sqrt(variance + EPSILON)
        return (x - mean) * scale + get(f"{name}/beta")

    x = tf.nn.relu(normalize(convolve(clips, "0", (2, 2, 2)), "1"))
    x = tf.nn.max_pool3d(x, [1, 1, 3, 3, 1], [1, 1, 2, 2, 1], "SAME")
    outputs, index, previous_filters = [], 2, None
    while f"backbone/layer_with_weights-{index}/_expand_conv/kernel{VALUE}" in weights:
        filters = get(f"{index}/_temporal_conv/kernel").shape[-1]
        stride = 2 if previous_filters is not None and filters != previous_filters else 1
        shortcut = x
        if f"backbone/layer_with_weights-{index}/_shortcut_conv/kernel{VALUE}" in weights:
            shortcut = normalize(
                convolve(x, f"{index}/_shortcut_conv", (1, stride, stride)), f"{index}/_norm0"
            )
        y = tf.nn.relu(
            normalize(convolve(x, f"{index}/_temporal_conv", (1, 1, 1)), f"{index}/_norm1")
        )
        y = convolve(y, f"{index}/_spatial_conv", (1, stride, stride))
        y = tf.nn.relu(normalize(y, f"{index}/_norm2"))
        y = normalize(convolve(y, f"{index}/_expand_conv", (1, 1, 1)), f"{index}/_norm3")
        x = tf.nn.relu(y + shortcut)
        if filters == previous_filters:
            outputs[-1] = x
        else:
            outputs.append(x)
        index, previous_filters = index + 1, filters
    return outputs


def before_the_pass(weights, clips):
    """Weights as they were before a pass in training mode had moved their statistics.

    The authors' reference checkpoint was written after such a pass, and the values in inference
    mode that belong to it are from before. The moving statistics started as multiples of 1/16
    (means) and 1/4 (variances); their momentum is 0.9, and variances are unbiased, as those of
    their kernel are on one replica.

    Args:
      weights: {key: value} of the checkpoint.
      clips: of the pass, see `stage_outputs`.
    """
    moments = {}
    stage_outputs(weights, clips, training=True, moments=moments)
    before = dict(weights)
    for key, (batch, count) in moments.items():
        grid = 16
        if key.endswith(f"moving_variance{VALUE}"):
            grid, batch = 4, batch * count / (count - 1)
        start = (weights[key] - 0.1 * batch) / 0.9 * grid
        np.testing.assert_allclose(start, np.round(start), rtol=0, atol=0.05)
        before[key] = (np.round(start) / grid).astype("float32")
    return before


def head_output(weights, features):
    """The projection head's output in inference mode, from {key: value} of `model/`."""
    x = features
    for index in range(1, 8):
        name = f"model/layer_with_weights-{index}"
        if f"{name}/kernel{VALUE}" in weights:
            x = x @ weights[f"{name}/kernel{VALUE}"] + weights[f"{name}/bias{VALUE}"]
        else:
            gamma, beta, mean, variance = (
                weights[f"{name}/{attribute}{VALUE}"]
                for attribute in ("gamma", "beta", "moving_mean", "moving_variance")
            )
            x = np.maximum((x - mean) / np.sqrt(variance + EPSILON) * gamma + beta, 0)
    return x
