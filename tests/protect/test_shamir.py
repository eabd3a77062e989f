"""Secrets in shares."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedlib import InputError
from fedlib.protect.keys import SeededEntropy
from fedlib.protect.shamir import PRIME, Share, combine, combine_all, evaluate, lagrange_at_zero, share

SECRET = hashlib.sha256(b"a secret").digest()


def test_the_prime_is_prime() -> None:
    """Miller and Rabin's test with forty bases, and no number between 2^256 and it passes it."""

    def probably_prime(n: int) -> bool:
        odd, twos = n - 1, 0
        while odd % 2 == 0:
            odd, twos = odd // 2, twos + 1
        return all(
            pow(base, odd, n) in (1, n - 1) or any(pow(base, odd << i, n) == n - 1 for i in range(twos))
            for base in range(2, 42)
        )

    assert probably_prime(PRIME)
    assert not any(probably_prime(n) for n in range(2**256, PRIME))


def test_the_textbook_polynomial() -> None:
    """1234 + 166 x + 94 x^2 at 2, 4, 5 gives 1942, 3402, 4414, and these give 1234 back."""
    assert [evaluate([1234, 166, 94], x) for x in (2, 4, 5)] == [1942, 3402, 4414]
    weights = lagrange_at_zero([2, 4, 5])
    assert sum(w * y for w, y in zip(weights, (1942, 3402, 4414), strict=True)) % PRIME == 1234


@pytest.mark.parametrize("secret", [SECRET, bytes(32), b"\xff" * 32])
def test_any_three_of_five_give_the_secret_in_any_order(secret: bytes) -> None:
    shares = share(secret, range(1, 6), 3)
    for size in (3, 4, 5):
        for some in combinations(shares, size):
            assert combine(reversed(some), 3) == secret


@given(st.data())
def test_any_t_of_n(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 20))
    threshold, secret = data.draw(st.integers(1, n)), data.draw(st.binary(min_size=32, max_size=32))
    points = sorted(data.draw(st.sets(st.integers(1, 2**32), min_size=n, max_size=n)))
    shares = share(secret, points, threshold)
    some = data.draw(st.lists(st.sampled_from(shares), min_size=threshold, unique=True))
    assert combine(some, threshold) == secret


def test_fewer_than_t_shares_say_nothing() -> None:
    """Over the field of seven elements all polynomials can be listed.

    Whatever the secret, every pair of values at two points comes up equally often.
    """
    for points in combinations(range(1, 7), 2):
        for secret in range(7):
            seen = Counter(
                tuple(evaluate([secret, *random], x, prime=7) for x in points) for random in product(range(7), repeat=2)
            )
            assert seen == dict.fromkeys(product(range(7), repeat=2), 1)


def test_fewer_than_t_shares_fit_every_secret() -> None:
    """To two of three shares there is a third for any secret one likes."""
    first, second, _ = share(SECRET, [1, 2, 3], 3)
    at_1, at_2, at_3 = lagrange_at_zero([1, 2, 3])
    for other in (bytes(32), b"another secret, as good as right"):
        missing = int.from_bytes(other, "little") - at_1 * first.y - at_2 * second.y
        third = Share(3, missing * pow(at_3, -1, PRIME) % PRIME)
        assert combine([first, second, third], 3) == other


def test_coefficients_are_drawn_anew_and_from_the_whole_field() -> None:
    shares = [share(SECRET, [1, 2], 2, SeededEntropy(0, 0, client)) for client in range(200)]
    slopes = [(two.y - one.y) % PRIME for one, two in shares]
    assert len(set(slopes)) == 200
    assert 0.4 < sum(slope > PRIME // 2 for slope in slopes) / 200 < 0.6
    assert share(SECRET, [1, 2], 2) != share(SECRET, [1, 2], 2)


def test_one_altered_share_is_noticed_where_there_is_one_to_spare() -> None:
    shares = share(SECRET, range(1, 8), 4)
    for altered in range(7):
        wrong = [Share(one.x, (one.y + (one.x == altered + 1)) % PRIME) for one in shares]
        for size in (5, 6, 7):
            for some in combinations(wrong, size):
                if wrong[altered] in some:
                    with pytest.raises(InputError, match="altered"):
                        combine(some, 4)


def test_shares_that_cannot_be_used_are_refused() -> None:
    shares = share(SECRET, range(1, 6), 3)
    with pytest.raises(InputError, match="2 shares are too few: 3 are needed"):
        combine(shares[:2], 3)
    with pytest.raises(InputError, match="0 shares are too few"):
        combine([], 3)
    with pytest.raises(InputError, match="repeated"):
        combine([*shares[:2], shares[1]], 3)
    with pytest.raises(InputError, match="outside the field"):
        combine([*shares[:2], Share(3, PRIME)], 3)
    with pytest.raises(InputError, match="altered"):  # a value at 0 that is no 32 bytes
        combine([Share(1, PRIME - 1), Share(2, PRIME - 1), Share(3, PRIME - 1)], 3)
    with pytest.raises(InputError, match="out of order"):
        combine_all([2, 1], [[0, 0]], 2)


@pytest.mark.parametrize(
    ("secret", "points", "threshold", "says"),
    [
        (SECRET[1:], [1, 2], 2, "32 bytes, not 31"),
        (SECRET, [0, 1], 2, "or 0"),
        (SECRET, [1, 1], 2, "repeated"),
        (SECRET, [1, 2], 3, "from 1 to the 2 shares"),
        (SECRET, [1, 2], 0, "from 1 to the 2 shares"),
    ],
)
def test_what_cannot_be_shared_is_refused(secret: bytes, points: list[int], threshold: int, says: str) -> None:
    with pytest.raises(InputError, match=says):
        share(secret, points, threshold)
