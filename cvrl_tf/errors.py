"""What ends a command other than by a defect."""

import re


class InputError(ValueError):
    """A flag value, file, record or directory that cannot be used as it is.

    The message is for the user: what was found, what was expected, what to do. Entry points print
    it as one sentence, without a traceback, and exit with status 2.
    """


class Stopped(Exception):
    """A signal ended a run early, and everything to go on from is written.

    Entry points print the message and exit with status 75 (EX_TEMPFAIL of sysexits.h: try again).
    """


STOPPED_STATUS = 75


def reason(error: Exception) -> str:
    """The first line of an error, for a sentence: TensorFlow's without the names of graph nodes."""
    text = re.sub(r"{{.*?}}", "", str(getattr(error, "message", error))).strip()
    return text.splitlines()[0].strip() if text else type(error).__name__
