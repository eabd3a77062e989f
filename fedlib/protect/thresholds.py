r"""How many clients a secure sum must keep: the threshold t of its n clients.

A large t loses sums: fewer than t clients at the end, and there is none. A small t helps a server that *lies*. It tells
some clients that a victim is among the survivors and the others that it dropped out, and each story needs t shares. A
client at the server's side gives both of its shares, an honest one answers a single list, and so c at its side with

.. math:: 2 (t - c) \le n - c \quad\Longleftrightarrow\quad c \ge 2t - n

are enough to unmask somebody, and fewer are not. With t just above n/2 that is a single client where n is odd and two
where it is even; with t > 2n/3, the default, it is more than a third of the clients.

Source: Bonawitz et al., *Practical Secure Aggregation for Privacy-Preserving Machine Learning*, CCS 2017.
"""

from __future__ import annotations

from collections.abc import Sized

from fedlib.errors import InputError, TooFewClients


def default_threshold(k: int) -> int:
    """The least whole number above two thirds of k clients: no third of them can help a lying server to unmask another.

    >>> [default_threshold(k) for k in (2, 3, 5, 20, 21)]
    [2, 3, 4, 14, 15]
    """
    return 2 * k // 3 + 1


def check_threshold(threshold: int, k: int) -> None:
    """Raise InputError unless a secret shared among k clients takes more than one of them, and more than half."""
    if not 2 <= threshold <= k:
        raise InputError(
            f"{k} clients with a threshold of {threshold} cannot sum in secret: a sum over one client is its vector, "
            "so the threshold must be from 2 to the number of clients."
        )
    check_majority(threshold, k)


def check_majority(threshold: int, k: float) -> None:
    """Raise InputError unless the threshold is above half of k clients."""
    if 2 * threshold <= k:
        raise InputError(
            f"A threshold of {threshold} is not above half of {k:g} clients: a server that tells each half another "
            "story could unmask a client without any helper. Raise it, or leave it out for two thirds."
        )


def enough(clients: Sized, threshold: int, step: str) -> None:
    """Raise :class:`~fedlib.errors.TooFewClients` unless the clients are at least ``threshold``."""
    if len(clients) < threshold:
        raise TooFewClients(
            f"Only {len(clients)} clients are left after round {step}, and {threshold} are needed: "
            "lower the threshold or ask more clients."
        )
