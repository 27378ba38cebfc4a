import pytest

from cvrl_tf.data.groups import groups_of
from cvrl_tf.errors import InputError

IDS = ["Diving/v_Diving_g03_c01", "Swing/v_Swing_g03_c07", "Swing/v_Swing_g11_c01"]


def test_groups_are_what_the_parentheses_match():
    assert groups_of(IDS, r"_g(\d+)_") == ["03", "03", "11"]
    assert groups_of(IDS, r"^(\w+)/.*_g(\d+)") == ["Diving\n03", "Swing\n03", "Swing\n11"]
    assert groups_of(["a", "b"], r"(a)|b") == ["a", ""]


@pytest.mark.parametrize(
    "pattern, expected",
    [
        ("_g(", r"group_pattern=_g\( is not a regular expression \(missing \), .*'_g\(\\d\+\)_'"),
        (r"_g\d+_", r"has no group in parentheses: expected one that matches"),
        (
            r"Swing_g(\d+)",
            r"does not match 1 of 3 ids, the first is 'Diving/v_Diving_g03_c01': expected .*"
            r" such as 'Swing_g\(\\d\+\)\|\(v_Diving_g03_c01\)'.$",
        ),
    ],
)
def test_a_pattern_that_finds_no_groups_is_refused(pattern, expected):
    with pytest.raises(InputError, match=expected):
        groups_of(IDS, pattern)
