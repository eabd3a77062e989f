"""The one exception a user's mistake raises."""


class InputError(ValueError):
    """An input fedlib cannot use: one sentence that says what is wrong and what is allowed.

    The command line prints that sentence and leaves with exit code 2.
    """
