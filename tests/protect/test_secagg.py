"""The secure sum: right, and silent about everything but the sum."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.ciphers import CipherContext
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from fedlib import InputError, rng
from fedlib.errors import TooFewClients
from fedlib.protect import keys
from fedlib.protect.keys import KeyPair, Masks, SeededEntropy
from fedlib.protect.messages import Keys, Masked, Message, Revealed, SealedShares, Signed, UnmaskRequest
from fedlib.protect.packing import pack, unpack
from fedlib.protect.quantize import Quantizer, Words
from fedlib.protect.roles import Client, Server, registered
from fedlib.protect.secagg import MAX_COHORT, Outcome, secure_sum
from fedlib.protect.shamir import Share, combine
from fedlib.protect.signatures import KEYS, LIST, statement

WORDS = (np.uint8, np.uint16, np.uint32, np.uint64)


def some_words(k: int, d: int, dtype: type = np.uint32, seed: int = 0) -> Words:
    """Words from the whole range, so that their sum wraps around."""
    return rng.bits(rng.key(seed, "words"), torch.arange(k * d)).view(k, d).numpy().astype(dtype)


@dataclass
class Stage:
    """The roles after round 2: who shared, who masked, and the list the server tells."""

    clients: list[Client]
    server: Server
    masked: dict[int, Masked]
    request: UnmaskRequest

    def answers(self) -> list[Revealed]:
        """Rounds 3 and 4 with all survivors."""
        left = [self.clients[number] for number in self.request.survivors]
        agreement = self.server.agreement([client.sign(self.request) for client in left])
        return [client.unmask(agreement) for client in left]


def after_masking(
    vectors: Words, threshold: int, not_sharing: Collection[int] = (), not_masking: Collection[int] = ()
) -> Stage:
    """Rounds 0 to 2; all that share make a masked vector, those ``not_masking`` too late for the server."""
    clients = registered(threshold, [SeededEntropy(5, 0, number) for number in range(len(vectors))])
    server = Server(threshold)
    roster = server.roster([client.advertise() for client in clients])
    sharing = [client for client in clients if client.number not in not_sharing]
    boxes = server.route([one for client in sharing for one in client.share(roster)])
    masked = {client.number: client.mask(vectors[client.number], boxes[client.number]) for client in sharing}
    for number, message in masked.items():
        if number not in not_masking:
            server.add(message)
    return Stage(clients, server, masked, server.request())


def is_uniform(vector: Words) -> bool:
    """Chi-square on the highest and the lowest byte of every word, both within what 998 of 1,000 vectors give."""
    for shift in (0, 8 * (vector.itemsize - 1)):
        counts = np.bincount((vector >> shift).astype(np.uint8), minlength=256)
        expected = len(vector) / 256
        if not 0.001 < chi2.sf(((counts - expected) ** 2 / expected).sum(), 255) < 0.999:
            return False
    return True


def under(mask_seeds: list[tuple[int, bytes]], vector: Words) -> Words:
    """The vector with these masks, each with its sign."""
    masks = Masks(vector.copy())
    for sign, seed in mask_seeds:
        (masks.add if sign > 0 else masks.subtract)(seed)
    return masks.total


@st.composite
def rounds(draw: st.DrawFn) -> tuple[int, int, dict[str, list[int]]]:
    """K, a threshold above K/2, and up to 20 % of those left dropping out before each round."""
    k = draw(st.integers(2, 12))
    left, dropouts = list(range(k)), {}
    for step in ("share", "mask", "sign", "unmask"):
        gone = draw(st.lists(st.sampled_from(left), unique=True, max_size=int(0.2 * len(left))))
        dropouts[step], left = gone, [number for number in left if number not in gone]
    return k, draw(st.integers(k // 2 + 1, k)), dropouts


@settings(deadline=None)
@given(rounds(), st.integers(1, 20), st.sampled_from(WORDS))
def test_the_secure_sum_is_the_sum(case: tuple[int, int, dict[str, list[int]]], d: int, dtype: type) -> None:
    """Whoever drops out at whatever step, or else one sentence says that too few are left."""
    k, threshold, dropouts = case
    vectors = some_words(k, d, dtype)
    survivors = [u for u in range(k) if u not in dropouts["share"] + dropouts["mask"]]
    if len(survivors) - len(dropouts["sign"] + dropouts["unmask"]) < threshold:
        for exact in (False, True):
            with pytest.raises(TooFewClients, match=f"and {threshold} are needed"):
                secure_sum(vectors, threshold, dropouts=dropouts, exact=exact)
        return
    outcome = secure_sum(vectors, threshold, dropouts=dropouts)
    plain = [sum(int(vectors[u, i]) for u in survivors) % 256**vectors.itemsize for i in range(d)]
    assert outcome.total.tolist() == plain
    assert outcome.survivors == tuple(survivors)
    fast = secure_sum(vectors, threshold, dropouts=dropouts, exact=True)
    assert fast.total.tolist() == plain and fast.total.dtype == outcome.total.dtype == dtype
    assert fast.survivors == outcome.survivors
    for ours, theirs in ((outcome.up, fast.up), (outcome.down, fast.down)):
        assert {name: sent.tolist() for name, sent in ours.items()} == {n: sent.tolist() for n, sent in theirs.items()}


@pytest.mark.parametrize(("threshold", "needed"), [(None, 21), (16, 16)])
def test_a_larger_cohort_may_shrink_to_the_threshold_and_no_further(threshold: int | None, needed: int) -> None:
    """By default 21 of 30 are needed, the least number above two thirds."""
    vectors, spare = some_words(30, 100), 30 - needed
    dropouts = {"share": range(spare - 5), "mask": range(spare - 5, spare - 2), "sign": [spare - 2]}
    outcome = secure_sum(vectors, threshold, dropouts=dropouts | {"unmask": [spare - 1]})
    assert (outcome.total == vectors[spare - 2 :].sum(0, dtype=np.uint32)).all()
    with pytest.raises(TooFewClients, match=f"and {needed} are needed"):
        secure_sum(vectors, threshold, dropouts=dropouts | {"unmask": [spare - 1, spare]})


@pytest.mark.parametrize("value", [0, 2**32 - 1, 12345])
def test_masked_vectors_are_uniform_whatever_they_hide(value: int) -> None:
    """Before unmasking, and still after the own masks have been taken off, as the server can in the end."""
    vectors = np.full((3, 50_000), value, np.uint32)
    assert not is_uniform(vectors[0])
    outcome = secure_sum(vectors, seed=1, transcript=True)
    seeds = revealed_secrets(outcome, 3)
    for message in outcome.seen:
        if isinstance(message, Masked):
            assert is_uniform(message.vector)
            assert is_uniform(under([(-1, seeds[message.client])], message.vector))


def test_a_late_vector_stays_masked() -> None:
    """Client 3 counts as dropped, its mask key is revealed, and then its vector arrives.

    Its own mask still hides it. With both secrets it would be bare, which is why no client gives both.
    """
    vectors = np.full((4, 50_000), 7, np.uint32)
    stage = after_masking(vectors, 3, not_masking=[3])
    assert stage.request == UnmaskRequest((0, 1, 2), (3,))
    answers = stage.answers()
    pair = KeyPair(combine([Share(answer.client + 1, answer.mask_keys[3]) for answer in answers], 3))
    of_pairs = [(1, pair.agree(stage.clients[v]._masking.public, "mask")) for v in (0, 1, 2)]  # v < 3: was subtracted
    left = under(of_pairs, stage.masked[3].vector)
    assert is_uniform(left)
    assert (under([(-1, stage.clients[3]._seed)], left) == vectors[3]).all()
    assert (stage.server.total(answers) == 21).all()


def test_keys_are_fresh_unless_seeded() -> None:
    def masked(**how: int) -> Words:
        seen = secure_sum(some_words(3, 50), transcript=True, **how).seen  # type: ignore[arg-type]
        return np.stack([message.vector for message in seen if isinstance(message, Masked)])

    assert (masked(seed=4) == masked(seed=4)).all()
    for other in (masked(), masked(seed=5), masked(seed=4, round=1)):
        assert (other != masked(seed=4)).mean() > 0.99
    assert (masked() != masked()).mean() > 0.99


def test_masks_are_the_keystream_of_aes_256() -> None:
    """AES-256 of the zero block under the zero key, as in the test cases of Galois counter mode."""
    masks = Masks(np.zeros(4, "<u4"))
    masks.add(bytes(32))
    assert masks.total.tobytes().hex() == "dc95c078a2408989ad48a21492842087"


class OlderKeystream:
    """Asks for the room that cryptography 42 asks for: as if a block had to be completed."""

    def __init__(self, stream: CipherContext) -> None:
        self.stream = stream

    def update_into(self, data: bytes, room: memoryview) -> int:
        if len(room) < len(data) + 15:
            raise ValueError(f"buffer must be at least {len(data) + 15} bytes for this payload")
        return self.stream.update_into(data, room)


def test_masks_have_the_room_that_older_keystreams_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    new, old = Masks(np.zeros(5, "<u4")), Masks(np.zeros(5, "<u4"))
    new.add(bytes(32))
    newer = keys._keystream
    monkeypatch.setattr(keys, "_keystream", lambda seed: OlderKeystream(newer(seed)))
    old.add(bytes(32))
    np.testing.assert_array_equal(new.total, old.total)


def contents(message: Message) -> Iterator[bytes]:
    """Everything in a message that could carry a secret."""
    if isinstance(message, Keys):
        yield from (message.sealing, message.masking, message.signature)
    elif isinstance(message, SealedShares):
        yield message.box
    elif isinstance(message, Masked):
        yield message.vector.tobytes()
    elif isinstance(message, Signed):
        yield message.signature
    elif isinstance(message, Revealed):
        yield from (y.to_bytes(33, "little") for shares in (message.seeds, message.mask_keys) for y in shares.values())


def drawn(seed: int, number: int) -> list[bytes]:
    """The secrets a client draws: to seal with, for masks with peers, its own mask's seed, and (first) to sign with."""
    entropy = SeededEntropy(seed, 0, number)
    signing, *others = [entropy(32) for _ in range(4)]
    return [*others, signing]


def revealed_secrets(outcome: Outcome, threshold: int) -> dict[int, bytes]:
    """What the shares the server got add up to, a secret a client."""
    shares: dict[int, list[Share]] = {}
    for message in outcome.seen:
        if isinstance(message, Revealed):
            for number, y in (message.seeds | message.mask_keys).items():
                shares.setdefault(number, []).append(Share(message.client + 1, y))
    return {number: combine(of_one, threshold) for number, of_one in sorted(shares.items())}


def test_what_the_server_saw() -> None:
    """No vector, and no secret but in shares: the survivors' seeds, and the mask key of the client that dropped out."""
    vectors, dropouts = some_words(9, 8), {"share": [5], "mask": [1], "sign": [6], "unmask": [2]}
    outcome = secure_sum(vectors, 5, dropouts=dropouts, seed=9, transcript=True)
    everything = b"|".join(content for message in outcome.seen for content in contents(message))
    for number, vector in enumerate(vectors):
        secrets = drawn(9, number)
        assert not any(secret in everything for secret in (vector.tobytes(), *secrets))
        assert KeyPair(secrets[1]).public in everything
    for kind, count in ((Keys, 9), (SealedShares, 8 * 8), (Masked, 7), (Signed, 6), (Revealed, 5)):
        assert sum(isinstance(message, kind) for message in outcome.seen) == count
    for message in outcome.seen:
        if isinstance(message, Revealed):
            assert (set(message.seeds), set(message.mask_keys)) == ({0, 2, 3, 4, 6, 7, 8}, {1})
    expected = {number: drawn(9, number)[1 if number == 1 else 2] for number in range(9) if number != 5}
    assert revealed_secrets(outcome, 5) == expected
    assert sum(message.size for message in outcome.seen) == sum(int(sent.sum()) for sent in outcome.up.values())
    assert all(type(message).__name__ in repr(message) for message in outcome.seen)


@pytest.mark.parametrize(
    ("survivors", "dropped", "says"),
    [
        ((0, 1, 2), (2, 3), "both secrets"),
        ((0, 1), (2, 3), "are left after round mask"),
        ((0, 1, 2), (), "other clients"),
        ((0, 1, 2), (3, 4), "other clients"),
        ((0, 1, 1), (2, 3), "other clients"),
        ((1, 2, 3), (0,), "other clients"),
    ],
)
def test_a_list_that_could_unmask_somebody_is_refused(
    survivors: tuple[int, ...], dropped: tuple[int, ...], says: str
) -> None:
    """Neither signed nor answered, even if all others have signed it."""
    stage = after_masking(some_words(4, 5), 3)
    request = UnmaskRequest(survivors, dropped)
    with pytest.raises(InputError, match=says):
        stage.clients[0].sign(request)
    told = statement(stage.clients[0]._roster, request)
    others = [Signed(number, stage.clients[number].signer.sign(LIST, told)) for number in range(4)]
    with pytest.raises(InputError, match="has refused the list"):
        stage.clients[0].unmask(others)


def test_a_client_signs_one_list_only_and_answers_it_again() -> None:
    stage = after_masking(some_words(4, 5), 3)
    client, agreement = stage.clients[0], [one.sign(UnmaskRequest((0, 1, 2), (3,))) for one in stage.clients[:3]]
    with pytest.raises(InputError, match="round sign out of turn"):
        client.sign(UnmaskRequest((0, 1, 3), (2,)))
    first = client.unmask(agreement)
    assert (first.seeds.keys(), first.mask_keys.keys()) == ({0, 1, 2}, {3})
    assert client.unmask(agreement) == first


def test_every_round_comes_once_and_in_order() -> None:
    client = after_masking(some_words(3, 5), 2).clients[0]
    for again in (client.advertise, lambda: client.share(()), lambda: client.mask(some_words(1, 5)[0], ())):
        with pytest.raises(InputError, match="out of turn"):
            again()
    for early in (lambda: client.unmask(()), lambda: new_clients(2, 2)[0].sign(UnmaskRequest((0, 1), ()))):
        with pytest.raises(InputError, match=r"round (sign|unmask) out of turn"):
            early()


def new_clients(k: int, threshold: int) -> list[Client]:
    """Clients who know each other's signing keys and have said nothing yet."""
    return registered(threshold, [SeededEntropy(6, 0, number) for number in range(k)])


def sealed_for_two() -> tuple[list[Client], list[SealedShares]]:
    """Three clients and all boxes they sealed."""
    clients = new_clients(3, 2)
    roster = Server(2).roster([client.advertise() for client in clients])
    return clients, [one for client in clients for one in client.share(roster)]


@pytest.mark.parametrize("what", ["altered", "sent elsewhere", "sent back", "of a stranger"])
def test_a_box_that_is_not_as_it_was_sealed_is_refused(what: str) -> None:
    clients, sealed = sealed_for_two()
    to_0 = next(one for one in sealed if (one.sender, one.receiver) == (1, 0))
    back = next(one for one in sealed if (one.sender, one.receiver) == (0, 1))
    wrong = {
        "altered": replace(to_0, box=bytes([to_0.box[0] ^ 1]) + to_0.box[1:]),
        "sent elsewhere": replace(to_0, sender=2),
        "sent back": replace(back, sender=1, receiver=0),
        "of a stranger": replace(to_0, sender=7),
    }[what]
    with pytest.raises(InputError, match=f"client 0 received as client {wrong.sender}'s were altered on their way"):
        clients[0].mask(some_words(1, 5)[0], [wrong])


def test_a_list_of_keys_that_was_altered_is_refused() -> None:
    mine, other, third = (client.advertise() for client in new_clients(3, 2))
    for roster in (
        [other, third],
        [replace(mine, masking=bytes(32)), other, third],
        [mine, other, replace(third, client=1)],
        [mine, other, replace(third, masking=other.masking)],
    ):
        client = new_clients(3, 2)[0]
        client.advertise()
        with pytest.raises(InputError, match="key repeated in the list, or its own altered"):
            client.share(roster)


def test_a_key_that_is_no_point_is_refused_even_if_it_is_signed() -> None:
    clients = new_clients(3, 2)
    mine, other, third = (client.advertise() for client in clients)
    useless = replace(other, sealing=bytes(32))
    signed = replace(useless, signature=clients[1].signer.sign(KEYS, useless.content))
    with pytest.raises(InputError, match="no point to agree on"):
        clients[0].share([mine, signed, third])


def test_a_client_that_the_server_made_up_is_refused() -> None:
    """One that nobody has registered, and keys of the server's own in the place of a registered client's."""
    stranger, swapped = new_clients(4, 2)[3].advertise(), new_clients(3, 2)[2].advertise()
    forged = replace(swapped, sealing=KeyPair(bytes(31) + b"1").public)
    for wrong, number in ((stranger, 3), (forged, 2), (replace(stranger, client=2), 2)):
        client, other = new_clients(3, 2)[:2]
        roster = [client.advertise(), other.advertise(), wrong]
        with pytest.raises(InputError, match=f"as client {number}'s, which are not signed by a registered client"):
            client.share(roster)


@pytest.mark.parametrize(("threshold", "says"), [(1, "threshold must be from 2"), (2, "not above half of 4 clients")])
def test_a_client_refuses_a_threshold_of_one_or_of_half(threshold: int, says: str) -> None:
    clients = new_clients(4, threshold)
    roster = [client.advertise() for client in clients]
    with pytest.raises(InputError, match=says):
        clients[0].share(roster)


def test_a_client_masks_unsigned_words_only() -> None:
    clients, _ = sealed_for_two()
    with pytest.raises(InputError, match="not 1 dimensions of float64"):
        clients[0].mask(np.zeros(3), ())  # type: ignore[arg-type]


def test_a_client_does_not_mask_among_too_few() -> None:
    clients, _ = sealed_for_two()
    with pytest.raises(TooFewClients, match="Only 1 clients are left after round share"):
        clients[0].mask(some_words(1, 5)[0], ())


def test_the_server_notices_what_does_not_fit() -> None:
    clients, sealed = sealed_for_two()
    server = Server(2)
    with pytest.raises(InputError, match="under one number"):
        server.roster([clients[0]._keys, clients[0]._keys])
    server.roster([client._keys for client in clients])
    for boxes in (sealed[1:], [*sealed, sealed[0]], [*sealed, replace(sealed[0], sender=9)]):
        with pytest.raises(InputError, match="exactly one box"):
            server.route(boxes)
    server.route(sealed)
    server.add(Masked(0, some_words(1, 5)[0]))
    for message, says in (
        (Masked(0, some_words(1, 5)[0]), "second vector"),
        (Masked(9, some_words(1, 5)[0]), "without having shared"),
        (Masked(1, some_words(1, 6)[0]), "another length"),
        (Masked(1, some_words(1, 5, np.uint64)[0]), "another length or word"),
    ):
        with pytest.raises(InputError, match=says):
            server.add(message)


def test_the_server_notices_wrong_answers() -> None:
    """A mask key is checked against the advertised one, even where there is no share to spare."""
    stage = after_masking(some_words(4, 5), 3, not_masking=[3])
    first, *others = stage.answers()
    with pytest.raises(InputError, match="other secrets than it was asked for"):
        stage.server.total([replace(first, mask_keys={}), *others])
    with pytest.raises(InputError, match="key of client 3 is not the one it advertised"):
        stage.server.total([replace(first, mask_keys={3: first.mask_keys[3] ^ 2**99}), *others])
    assert (stage.server.total([first, *others]) == some_words(4, 5)[:3].sum(0, dtype=np.uint32)).all()


@pytest.mark.parametrize(("step", "left"), [("share", 2), ("mask", 2), ("sign", 2), ("unmask", 2)])
def test_below_the_threshold_the_round_fails(step: str, left: int) -> None:
    with pytest.raises(TooFewClients, match=f"Only {left} clients are left after round {step}, and 3 are needed"):
        secure_sum(some_words(5, 4), 3, dropouts={step: range(left, 5)})


def test_sharing_among_too_few_is_no_unmasking() -> None:
    """Roles alone: two of four clients mask, three were needed, and the server never gets to ask."""
    with pytest.raises(TooFewClients, match="Only 2 clients are left after round mask"):
        after_masking(some_words(4, 5), 3, not_masking=[0, 1])


@pytest.mark.parametrize(
    ("k", "threshold", "how", "says"),
    [
        (1, None, {}, "a sum over one client is its vector"),
        (1, None, {"exact": True}, "a sum over one client is its vector"),
        (3, 1, {}, "must be from 2 to the number of clients"),
        (3, 4, {}, "must be from 2 to the number of clients"),
        (30, 15, {}, "15 is not above half of 30 clients"),
        (30, 15, {"exact": True}, "15 is not above half of 30 clients"),
        (MAX_COHORT + 1, None, {}, "exact=True"),
        (3, 2, {"dropouts": {"advertise": [0]}}, 'not before "advertise"'),
        (3, 2, {"dropouts": {"mask": [3]}}, "only 0 to 2"),
        (3, 2, {"exact": True, "transcript": True}, "no transcript"),
    ],
)
def test_what_makes_no_sense_is_refused(k: int, threshold: int | None, how: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        secure_sum(some_words(k, 1), threshold, **how)


@pytest.mark.parametrize("vectors", [np.zeros((3, 2)), np.zeros((3, 2), np.int64), np.zeros(3, np.uint8)])
def test_only_vectors_of_unsigned_words_are_summed(vectors: np.ndarray) -> None:
    with pytest.raises(InputError, match="unsigned words"):
        secure_sum(vectors)


def test_a_large_cohort_is_summed_when_asked_for_by_name() -> None:
    vectors = some_words(MAX_COHORT + 1, 3)
    assert (secure_sum(vectors, exact=True).total == vectors.sum(0, dtype=np.uint32)).all()


def test_a_weighted_mean_of_updates_in_secret() -> None:
    """From floating-point updates to their weighted mean over the survivors, within a step of the grid."""
    index = torch.arange(7)[:, None]
    updates = {"table": rng.normal(1, index, torch.arange(20)).view(7, 5, 4), "bias": rng.normal(2, index)[:, 0]}
    weight, grid = torch.tensor([4, 1, 9, 2, 2, 30, 5]), Quantizer(5.0, 16)
    encoded = {name: grid.encode(value, rng.key(3, name), torch.arange(7), weight) for name, value in updates.items()}
    codes = {name: one.codes for name, one in encoded.items()} | {"weight": weight}
    outcome: Outcome = secure_sum(pack(codes, n_max=7, largest=30 * grid.largest), dropouts={"share": [1], "mask": [5]})
    total = unpack(outcome.total, {"table": (5, 4), "bias": (), "weight": ()})
    left = list(outcome.survivors)
    assert (left, int(total["weight"])) == ([0, 2, 3, 4, 6], 22)
    assert sum(one.clipped for one in encoded.values()) == 0
    for name, value in updates.items():
        expected = torch.tensordot(weight[left].double(), value[left], dims=1) / 22
        assert (grid.decode(total[name], 22) / 22 - expected).abs().max() < grid.step
