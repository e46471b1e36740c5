"""The exception for mistakes of the user's, whose message is all that the user sees."""


class UserError(ValueError):
    """Bad input: one line that says what is wrong, where, and what to do about it.

    Command-line entries print it without a traceback and exit with status 2.
    """
