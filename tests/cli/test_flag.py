import dataclasses

import pytest
from absl import flags as absl_flags

from cvrl_tf.cli.flag import Flag, Values, flags_of
from cvrl_tf.settings import setting, switch


@dataclasses.dataclass(frozen=True)
class Recipe:
    name: str = setting(help="Name of the cake.")
    minutes: float = setting(5.0, "Minutes in the oven.", lower=0, upper=90)
    eggs: int = setting(2, "Number of eggs.", lower=1)
    flour: str = setting("rye", "Kind of flour.", choices=("rye", "wheat"))
    vegan: bool = setting(False, "Without eggs.")
    sugar: float | None = setting(None, "Grams of sugar.", lower=0)
    rise: str = switch("no", "Time to rise.", choices=("no", "hour", "day"), on="day", off="no")
    notes: str = "none"


@dataclasses.dataclass(frozen=True)
class Biscuit(Recipe):
    minutes: float = 9.0


NAMES = ("minutes", "eggs", "flour", "vegan", "sugar")


def _parse(*arguments, cls=None, defaults=None):
    values = Values(flags_of(cls or Recipe, *NAMES, "name"), defaults or {})
    values(["command", *arguments])
    return values


def test_flags_have_what_the_field_has():
    minutes, flour, sugar, name = flags_of(Biscuit, "minutes", "flour", "sugar", "name")
    assert minutes == Flag("minutes", 9.0, "Minutes in the oven.", float, 0, 90)
    assert flour == Flag("flour", "rye", "Kind of flour.", str, choices=("rye", "wheat"))
    assert (sugar.value_type, sugar.default, name.default) == (float, None, None)
    assert [flag.usage() for flag in flags_of(Recipe, "eggs", "flour", "vegan", "sugar")] == [
        "--eggs=INTEGER",
        "--flour=rye|wheat",
        "--[no]vegan",
        "--sugar=NUMBER",
    ]
    with pytest.raises(KeyError, match="Recipe.notes is no setting"):
        flags_of(Recipe, "notes")


def test_a_dataclass_is_made_of_the_values():
    values = _parse("--eggs=3", "--flour=wheat", "--vegan", "--sugar=1e2", "--name=Cake")
    assert values.make(Recipe) == Recipe("Cake", 5.0, 3, "wheat", True, 100.0)
    assert values.make(Recipe, notes="good", eggs=4).notes == "good"
    assert values.given("eggs") and not values.given("minutes")


def test_defaults_of_a_command_are_not_given_by_the_user():
    values = _parse(defaults={"eggs": 7, "minutes": None})
    assert (values.eggs, values.minutes, values.given("eggs")) == (7, None, False)


def test_values_have_nothing_to_do_with_the_global_flags():
    one, two = _parse("--eggs=3"), _parse()
    assert (one.eggs, two.eggs) == (3, 2)
    assert "eggs" not in absl_flags.FLAGS


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("--rise=hour", "hour"),
        ("--rise", "day"),
        ("--norise", "no"),
        ("--rise=true", "day"),
        ("--rise=false", "no"),
    ],
)
def test_a_choice_that_was_on_or_off_before(argument, value):
    """Flagfiles of earlier versions hold --remat or --noremat."""
    values = Values(flags_of(Recipe, "rise", "eggs"), {})
    values(["command", argument, "--eggs=1"])
    assert values.rise == value
    assert sorted(values.flagfile().splitlines()) == ["--eggs=1", f"--rise={value}"]
    again = Values(flags_of(Recipe, "rise"), {})
    again(["command", f"--rise={value}"])
    assert again.make(Recipe, name="x").rise == value
    assert flags_of(Recipe, "rise")[0].usage() == "--rise=no|hour|day"
    with pytest.raises(absl_flags.IllegalFlagValueError, match="value should be one of"):
        again(["command", "--rise=week"])


@pytest.mark.parametrize("number", ["nan", "-nan", "inf", "-inf", "1e999", "x", ""])
def test_only_finite_numbers_are_numbers(number):
    for flag in ("minutes", "sugar", "eggs"):
        with pytest.raises(absl_flags.IllegalFlagValueError, match=f"flag --{flag}={number}: exp"):
            _parse(f"--{flag}={number}")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--minutes=90.5", "--minutes=90.5: expected a number from 0 to 90$"),
        ("--sugar=-1", "--sugar=-1: expected a number of at least 0$"),
        ("--eggs=0", "--eggs=0: expected an integer from 1 to 2147483647$"),
        ("--eggs=3000000000", "--eggs=3000000000: expected an integer from 1 to 2147483647$"),
        ("--eggs=2.5", "--eggs=2.5: expected an integer from 1"),
    ],
)
def test_numbers_outside_of_the_bounds_are_named_with_the_bounds(argument, message):
    with pytest.raises(absl_flags.IllegalFlagValueError, match=message):
        _parse(argument)


def test_numbers_to_choose_from():
    crops = Flag("crops", 1, "Crops.", choices=(1, 3))
    values = Values([crops], {})
    values(["command", "--crops=3"])
    assert (values.crops, values.flagfile(), crops.usage()) == (3, "--crops=3\n", "--crops=1|3")
    with pytest.raises(absl_flags.IllegalFlagValueError, match="--crops=2: expected 1 or 3"):
        values(["command", "--crops=2"])


def test_pairs_of_numbers():
    values = Values([Flag("area", (0.3, 1.0), "Area.", lower=0, upper=1)], {})
    values(["command", "--area=0.25, 1"])
    assert (values.area, values.flagfile()) == ((0.25, 1.0), "--area=0.25,1.0\n")
    assert Flag("area", (0.3, 1.0), "Area.").usage() == "--area=NUMBER,NUMBER"
    with pytest.raises(absl_flags.IllegalFlagValueError, match="--area=1,2: expected a number fr"):
        values(["command", "--area=1,2"])
    with pytest.raises(absl_flags.IllegalFlagValueError, match="--area=1: expected two numbers"):
        values(["command", "--area=1"])


def test_lists_and_free_numbers():
    values = Values([Flag("steps", [], "Steps."), Flag("x", 0.5, "Number.")], {})
    values(["command", "--steps=3,5", "--x=-2"])
    assert (values.steps, values.x) == (["3", "5"], -2.0)
    with pytest.raises(absl_flags.IllegalFlagValueError, match="expected a number, not nan or inf"):
        values(["command", "--x=inf"])
