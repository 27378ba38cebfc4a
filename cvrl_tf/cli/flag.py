"""Flags: declared without side effects, defined with absl when a command runs."""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from absl import flags

from cvrl_tf import settings

LARGEST_INTEGER = 2**31 - 1  # of TensorFlow's int32; no flag needs a larger one
VALUE_NAMES = {
    int: "INTEGER",
    float: "NUMBER",
    str: "TEXT",
    list: "TEXT,TEXT",
    tuple: "NUMBER,NUMBER",
}

T = TypeVar("T")
Value = bool | int | float | str | Sequence[str] | tuple[float, float] | None


@dataclasses.dataclass(frozen=True)
class Flag:
    """A flag of a command.

    Attributes:
      name: without dashes.
      default: the value of a command line without the flag; a list for values with commas, a tuple
        for two numbers.
      help: what it sets, its unit, and when to change it.
      kind: bool, int, float, str, list or tuple; only needed where `default` is None.
      lower: smallest number allowed.
      upper: largest number allowed.
      choices: the values allowed, if not all of the type are.
      switch: the choices that --name and --noname select, where these may be written; flagfiles of
        earlier versions have them.
    """

    name: str
    default: Value
    help: str
    kind: type | None = None
    lower: float | None = None
    upper: float | None = None
    choices: tuple[str | int, ...] = ()
    switch: tuple[str, str] | None = None

    @property
    def value_type(self) -> type:
        """The type of its values: bool, int, float, str, list or tuple."""
        return self.kind or (str if self.default is None else type(self.default))

    def define(self, values: flags.FlagValues, default: Any) -> None:
        """Defines the flag with absl, with a default of its own."""
        if self.value_type is bool:
            values[self.name] = flags.BooleanFlag(self.name, default, self.help)
            return
        if self.switch:
            values[self.name] = _SwitchFlag(
                _SwitchParser(self.choices, self.switch),
                flags.ArgumentSerializer(),
                self.name,
                default,
                self.help,
                boolean=True,
            )
            return
        parser: flags.ArgumentParser
        serializer: flags.ArgumentSerializer = flags.ArgumentSerializer()
        choices: Any = self.choices  # of the parser's type
        if self.value_type in (int, float):
            parser = _NumberParser(self.value_type, self.lower, self.upper, choices)
        elif self.value_type is tuple:
            number = _NumberParser(float, self.lower, self.upper, ())
            parser, serializer = _PairParser(number), flags.CsvListSerializer(",")
        elif self.value_type is list:
            parser, serializer = flags.ListParser(), flags.CsvListSerializer(",")
        elif self.choices:
            parser = flags.EnumParser(choices)
        else:
            parser = flags.ArgumentParser()
        values[self.name] = flags.Flag(parser, serializer, self.name, default, self.help)

    def usage(self) -> str:
        """How it is written: --batch_size=INTEGER, --backbone=r3d_50|r3d_101, --[no]remat."""
        if self.value_type is bool:
            return f"--[no]{self.name}"
        value = "|".join(map(str, self.choices)) or VALUE_NAMES[self.value_type]
        return f"--{self.name}={value}"


def flags_of(cls: type, *names: str) -> tuple[Flag, ...]:
    """Makes flags of settings of a dataclass: name, type, default, help and bounds are theirs.

    Args:
      cls: a dataclass whose fields are `settings.setting`.
      *names: of the fields, in the order of the flags.
    """
    annotations = typing.get_type_hints(cls)
    defaults = {field.name: field.default for field in dataclasses.fields(cls)}
    made = []
    for name in names:
        about = settings.about(cls, name)
        default: Any = None if defaults[name] is dataclasses.MISSING else defaults[name]
        kind = _kind(annotations[name])
        bounds = about.lower, about.upper, about.choices
        made.append(Flag(name, default, about.help, kind, *bounds, about.switch))
    return tuple(made)


def _kind(annotation: Any) -> type:
    """`float` of `float | None`, `tuple` of `tuple[float, float]`."""
    if isinstance(annotation, types.UnionType):
        (annotation,) = (part for part in typing.get_args(annotation) if part is not type(None))
    return typing.get_origin(annotation) or annotation


class Values(flags.FlagValues):
    """The values of the flags of a command, as attributes: `values.batch_size`.

    Independent of absl's global flags, so that any commands can be used in one process.
    """

    def __init__(self, declared: Sequence[Flag], defaults: Mapping[str, Value]):
        super().__init__()
        for flag in declared:
            flag.define(self, defaults.get(flag.name, flag.default))
        unknown = defaults.keys() - {flag.name for flag in declared}
        if unknown:
            raise ValueError(f"defaults of {', '.join(sorted(unknown))}, which are no flags")

    def given(self, name: str) -> bool:
        """Whether the user set this flag, on the command line or in a flagfile."""
        return not self[name].using_default_value

    def make(self, cls: type[T], **others: Any) -> T:
        """A dataclass with the values of the flags that are named as its fields.

        Args:
          cls: the dataclass. Fields that are no flags have their defaults.
          **others: fields that are not, or not only, flags.
        """
        fields: Any = dataclasses.fields(cls)  # type: ignore[arg-type]  # T is any dataclass
        names = {field.name for field in fields} - others.keys()
        return cls(**{name: self[name].value for name in names if name in self}, **others)

    def flagfile(self) -> str:
        """The values of all flags as a flagfile that runs the same again."""
        lines = [self[name].serialize() for name in self._flags()]
        return "\n".join(line for line in lines if line) + "\n"


class _NumberParser(flags.ArgumentParser):
    """Finite numbers within bounds: nan and inf are within none."""

    def __init__(
        self,
        kind: type,
        lower: float | None,
        upper: float | None,
        choices: Sequence[int],
    ):
        if upper is None and kind is int:
            upper = LARGEST_INTEGER
        self._kind, self._lower, self._upper, self._choices = kind, lower, upper, choices

    def parse(self, argument: str | float) -> float:
        """See the base class."""
        try:
            value = self._kind(argument)
            finite = math.isfinite(value)
        except (ValueError, OverflowError):
            finite = False
        if (
            not finite
            or (self._lower is not None and value < self._lower)
            or (self._upper is not None and value > self._upper)
            or (self._choices and value not in self._choices)
        ):
            raise ValueError(f"expected {self._expected()}")
        return value

    def _expected(self) -> str:
        noun = "an integer" if self._kind is int else "a number"
        if self._choices:
            return " or ".join(map(str, self._choices))
        if self._lower is not None and self._upper is not None:
            return f"{noun} from {self._lower} to {self._upper}"
        if self._lower is not None:
            return f"{noun} of at least {self._lower}"
        if self._upper is not None:
            return f"{noun} of at most {self._upper}"
        return f"{noun}, not nan or inf" if self._kind is float else noun


class _SwitchFlag(flags.Flag):
    """A flag with choices that may also be written without a value, as a boolean flag."""

    def _serialize(self, value: Any) -> str:
        return f"--{self.name}={value}"


class _SwitchParser(flags.EnumParser):
    """Choices, two of which true and false select."""

    def __init__(self, choices: Any, switch: tuple[str, str]):
        super().__init__(choices)
        self._switched = dict(zip(("true", "false"), switch, strict=True))

    def parse(self, argument: str) -> str:
        """See the base class."""
        return super().parse(self._switched.get(argument, argument))


class _PairParser(flags.ArgumentParser):
    """Two numbers within the bounds of `number`, with a comma between them."""

    def __init__(self, number: _NumberParser):
        self._number = number

    def parse(self, argument: str | tuple[float, float]) -> tuple[float, ...]:
        """See the base class."""
        parts = argument.split(",") if isinstance(argument, str) else argument
        if len(parts) != 2:
            raise ValueError("expected two numbers with a comma between them, such as 0.2,0.8")
        return tuple(self._number.parse(part) for part in parts)
