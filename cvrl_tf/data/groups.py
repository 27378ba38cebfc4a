"""Groups of videos that belong together, such as clips of one recording, by a pattern of ids."""

import re
from collections.abc import Sequence

from cvrl_tf.errors import InputError

EXAMPLE = r"_g(\d+)_"


def groups_of(ids: Sequence[str], pattern: str) -> list[str]:
    """The group of each video.

    Args:
      ids: N ids of videos, such as `Diving/v_Diving_g03_c01`.
      pattern: regular expression with one group in parentheses or more; it is searched in each id.

    Returns:
      N names: what the groups of the pattern match in each id, such as `03`; several are joined by
      line breaks, which ids do not have.

    Raises:
      InputError: not a regular expression, one without a group, or an id that it does not match.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"group_pattern={pattern} is not a regular expression ({error}): expected one such as"
            f" '{EXAMPLE}'."
        ) from None
    if not compiled.groups:
        raise InputError(
            f"group_pattern={pattern} has no group in parentheses: expected one that matches the"
            f" name of a video's group, such as '{EXAMPLE}'."
        )
    matches = [compiled.search(one) for one in ids]
    unmatched = [one for one, match in zip(ids, matches, strict=True) if not match]
    if unmatched:
        other = re.escape(unmatched[0].split("/")[-1])
        raise InputError(
            f"group_pattern={pattern} does not match {len(unmatched)} of {len(ids)} ids, the first"
            f" is '{unmatched[0]}': expected a pattern that finds the group of every video. Others"
            f" are found by an alternative, such as '{pattern}|({other})'."
        )
    return ["\n".join(part or "" for part in match.groups()) for match in matches if match]
