"""Augmentations that tests draw from."""

import dataclasses

from cvrl_tf.data.augment import PRESETS, Augmentation

RELEASED = PRESETS["released"]


def _always(default: float | tuple[float, float]) -> float | tuple[float, float]:
    return (1.0, 1.0) if isinstance(default, tuple) else 1.0


# Each operation happens to every clip, also an operation that no preset has.
EVERYTHING = Augmentation(
    **{
        field.name: _always(field.default)
        for field in dataclasses.fields(Augmentation)
        if field.name.endswith("_probability")
    }
)
