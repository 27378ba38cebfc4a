"""Exceptions that end a command without being a defect."""

import re


class InputError(ValueError):
    """A flag value, file, record or directory cannot be used, and the user can fix it.

    The message says what was found, what was expected and what to do. Entry points print it as one
    sentence, without a traceback, and exit with status 2.
    """


class Stopped(Exception):
    """A signal ended a run early, after everything that it resumes from was written.

    Entry points print the message and exit with status 75 (EX_TEMPFAIL of sysexits.h: try again).
    """


STOPPED_STATUS = 75


def reason(error: Exception) -> str:
    """The first line of an error's message, without the names of TensorFlow's graph nodes.

    Of an error of the operating system, what it says without the number and the path.
    """
    said = error.strerror if isinstance(error, OSError) else getattr(error, "message", None)
    text = re.sub(r"{{.*?}}", "", str(said or error)).strip()
    return text.splitlines()[0].strip() if text else type(error).__name__
