"""The one exception that carries a message meant for the person at the keyboard."""


class UserError(ValueError):
    """Bad input: one line that says what is wrong, where, and what to do about it.

    Command-line entries print it without a traceback and exit with status 2.
    """
