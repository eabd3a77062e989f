"""The exceptions a user's mistake raises."""


class InputError(ValueError):
    """An input fedlib cannot use: one sentence that says what is wrong and what is allowed.

    The command line prints that sentence and leaves with exit code 2.
    """


class TooFewClients(InputError):
    """A secure sum that fewer clients have lasted to than its threshold: the round is skipped."""


class DivergedError(InputError):
    """Training has produced scores that are not finite numbers, as too large a learning rate does."""
