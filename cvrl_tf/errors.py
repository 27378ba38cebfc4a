"""The error that a user can mend."""


class InputError(ValueError):
    """A flag value, file, record or directory that cannot be used as it is.

    The message is for the user: what was found, what was expected, what to do. Entry points print
    it as one sentence, without a traceback, and exit with status 2.
    """
