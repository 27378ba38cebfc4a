"""Flags of the augmentation: a preset, and single values that replace those of the preset."""

import dataclasses

from cvrl_tf.cli.flag import Flag, Values, flags_of
from cvrl_tf.data.augment import PRESETS, Augmentation

_NAMES = tuple(field.name for field in dataclasses.fields(Augmentation))

FLAGS = (
    Flag(
        "augmentation",
        "released",
        "Preset for the flags below; a flag that is given replaces the value of the preset."
        " released: as in the authors' code, the first view is always blurred, the others are"
        " rarely blurred and sometimes solarised. paper: without blur and solarisation. none: the"
        " centre crop, without augmentation except in time. inconsistent: as released, with"
        " separate draws for each frame. strong: as released, with crops of 0.2 to 0.766 of the"
        " frame.",
        choices=tuple(PRESETS),
    ),
    # Their defaults are those of the preset.
    *(dataclasses.replace(flag, default=None) for flag in flags_of(Augmentation, *_NAMES)),
)


def chosen(flags: Values) -> Augmentation:
    """The augmentation that the flags describe.

    Raises:
      InputError: a range whose first number is the larger one.
    """
    values = {name: flags[name].value for name in _NAMES}
    given = {name: value for name, value in values.items() if value is not None}
    return dataclasses.replace(PRESETS[flags.augmentation], **given)
