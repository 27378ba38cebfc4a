"""Settings: fields of frozen dataclasses that carry their own help text and bounds.

A setting is documented once, beside its default. The command line makes a flag of it
(`cli.flag.flags_of`); programs that use the package read it in the source, or with `about`.

    @dataclasses.dataclass(frozen=True)
    class Blur:
        radius: float = setting(1.0, "Radius of the Gaussian in pixels.", lower=0)

A class that derives from this one and only changes the default writes `radius: float = 2.0`; help
text and bounds are those of the class that it derives from.
"""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

from cvrl_tf.errors import InputError

KEY = "setting"  # of the metadata of a field


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is known of a setting beside its name, type and default.

    Attributes:
      help: what it sets, its unit, and when to change it.
      lower: smallest value allowed; None for no bound.
      upper: largest value allowed; None for no bound.
      choices: the values allowed; empty for all.
      increasing: whether the second of two numbers must not be smaller than the first.
      switch: the choices that on and off select, of a setting that was on or off before it had
        choices; None for other settings.
    """

    help: str
    lower: float | None = None
    upper: float | None = None
    choices: tuple[str | int, ...] = ()
    increasing: bool = False
    switch: tuple[str, str] | None = None


def setting(
    default: Any = dataclasses.MISSING,
    help: str = "",
    *,
    lower: float | None = None,
    upper: float | None = None,
    choices: Iterable[str | int] = (),
    increasing: bool = False,
) -> Any:
    """A field of a dataclass that is a setting; see `Setting`. Required without a `default`."""
    about = Setting(help, lower, upper, tuple(choices), increasing)
    return dataclasses.field(default=default, metadata={KEY: about})


def switch(default: str, help: str, *, choices: Iterable[str], on: str, off: str) -> Any:
    """A setting with choices that was on or off before it had them; see `Setting`."""
    about = Setting(help, choices=tuple(choices), switch=(on, off))
    return dataclasses.field(default=default, metadata={KEY: about})


def about(cls: type, name: str) -> Setting:
    """What is known of the setting `name` of a dataclass, or of a class that it derives from.

    Raises:
      KeyError: it is no setting.
    """
    for base in cls.__mro__:
        field = vars(base).get("__dataclass_fields__", {}).get(name)
        if field is not None and KEY in field.metadata:
            return field.metadata[KEY]
    raise KeyError(f"{cls.__name__}.{name} is no setting")


def check(values: Any) -> None:
    """Checks the numbers of a dataclass whose fields are settings.

    Raises:
      InputError: a number outside its bounds, or two in the wrong order.
    """
    for field in dataclasses.fields(values):
        of_field, value = about(type(values), field.name), getattr(values, field.name)
        numbers = value if isinstance(value, tuple) else (value,)
        written = f"{field.name}={','.join(map(str, numbers))}"
        lower = -math.inf if of_field.lower is None else of_field.lower
        upper = math.inf if of_field.upper is None else of_field.upper
        if not all(lower <= number <= upper and math.isfinite(number) for number in numbers):
            bounds = (
                f"of at least {lower}" if of_field.upper is None else f"from {lower} to {upper}"
            )
            raise InputError(f"{written}: expected numbers {bounds}.")
        if of_field.increasing and numbers[0] > numbers[1]:
            raise InputError(
                f"{written}: expected a range, the smaller number first; swap the two."
            )
