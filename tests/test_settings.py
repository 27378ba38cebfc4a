import dataclasses

import pytest

from cvrl_tf.settings import Setting, about, setting


@dataclasses.dataclass(frozen=True)
class Blur:
    radius: float = setting(1.0, "Radius in pixels.", lower=0, upper=10)
    kind: str = setting("box", "Kind of kernel.", choices=["box", "gauss"])
    name: str = "blur"


@dataclasses.dataclass(frozen=True)
class WideBlur(Blur):
    radius: float = 5.0
    kind: str = setting("gauss", "Another kernel.")


def test_a_setting_is_a_field_that_knows_its_help():
    assert Blur() == Blur(1.0, "box")
    assert about(Blur, "radius") == Setting("Radius in pixels.", 0, 10)
    assert about(Blur, "kind").choices == ("box", "gauss")


def test_help_is_inherited_with_another_default():
    assert WideBlur().radius == 5.0
    assert about(WideBlur, "radius") is about(Blur, "radius")
    assert about(WideBlur, "kind") == Setting("Another kernel.")


@pytest.mark.parametrize("name", ["name", "nothing"])
def test_other_fields_are_no_settings(name):
    with pytest.raises(KeyError, match=f"WideBlur.{name} is no setting"):
        about(WideBlur, name)
