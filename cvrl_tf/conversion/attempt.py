"""Decodes one video file; any error that the file causes becomes a listed failure."""

from collections.abc import Callable
from typing import TypeVar

from cvrl_tf.conversion.catalogs import Entry
from cvrl_tf.conversion.frames import VideoError
from cvrl_tf.conversion.state import Failure, Incident
from cvrl_tf.errors import InputError

Value = TypeVar("Value")


def attempt(
    entry: Entry, incident: Incident | None, decode: Callable[[], tuple[Value, int, str]]
) -> tuple[Value | None, Failure | None]:
    """Decodes a video.

    Args:
      entry: the file and its id.
      incident: what an earlier process met at it, if anything.
      decode: returns what is made of the video, its number of frames, and in words what of the
        file was damaged, empty for a sound file.

    Returns:
      What is made of the video, None if it cannot be used; and what is wrong with it, None if
      nothing is.

    Raises:
      InputError: something that the video needs is missing; the file is not at fault.
    """

    def failure(reason: str, detail: str = "", count: int = 0, kept: bool = False) -> Failure:
        return Failure(entry.video_id, entry.path, reason, detail, count, kept)

    if incident is not None and incident.final:
        return None, failure(incident.reason)
    if len(entry.video_id.splitlines()) > 1:  # lists of ids have one on a line
        return None, failure("a line break in its name")
    try:
        value, count, damage = decode()
    except VideoError as error:
        return None, failure(error.reason, error.detail, error.frames)
    except InputError:
        raise
    except Exception as error:
        return None, failure("unexpected error", f"{type(error).__name__}: {error}")
    return value, failure("damaged", damage, count, kept=True) if damage else None
