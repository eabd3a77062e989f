"""A server that lies: how many clients it needs at its side, and what the threshold and the signatures are for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedlib import InputError, rng
from fedlib.protect import roles
from fedlib.protect.keys import KeyPair, Masks, SeededEntropy
from fedlib.protect.messages import Keys, Masked, Revealed, Signed, UnmaskRequest
from fedlib.protect.quantize import Words
from fedlib.protect.roles import Client, Server, registered
from fedlib.protect.secagg import secure_sum
from fedlib.protect.shamir import combine_all
from fedlib.protect.signatures import LIST, statement
from fedlib.protect.thresholds import check_threshold, default_threshold


def vectors(n: int) -> Words:
    """A vector of three words for each of n clients."""
    return rng.bits(rng.key(0, "vectors"), torch.arange(n * 3)).view(n, 3).numpy().astype(np.uint32)


@dataclass
class Scene:
    """After the round of masks, and with a server that tells each client what it likes."""

    clients: list[Client]
    roster: tuple[Keys, ...]
    masked: dict[int, Masked]
    threshold: int

    def answers(self, stories: Mapping[int, UnmaskRequest], colluding: Collection[int] = ()) -> list[Revealed]:
        """What honest clients reveal, each by its own story. The colluding ones sign every story and reveal all."""
        signed: dict[UnmaskRequest, list[Signed]] = {story: [] for story in stories.values()}
        for number, story in stories.items():
            signed[story].append(self.clients[number].sign(story))
        for story, signatures in signed.items():
            content = statement(self.roster, story)
            signatures += [Signed(u, self.clients[u].signer.sign(LIST, content)) for u in colluding]
        told = [self.clients[number].unmask(signed[story]) for number, story in stories.items()]
        return told + [self.everything(u) for u in colluding]

    def everything(self, u: int) -> Revealed:
        """Both shares of everybody that client u holds."""
        seeds, mask_keys = ({v: pair[i] for v, pair in self.clients[u]._held.items()} for i in (0, 1))
        return Revealed(u, seeds, mask_keys)

    def bare_sum(self, group: Collection[int], answers: list[Revealed], opened: Collection[int]) -> Words:
        """The sum of the group's vectors without their masks; the mask keys of the clients ``opened`` are put together.

        Of every pair of one in the group and one outside, one has been opened.
        """
        publics = {keys.client: keys.masking for keys in self.roster}
        keys = {v: KeyPair(self.combined(v, [(one.client, one.mask_keys) for one in answers])) for v in opened}
        masks = Masks(np.sum([self.masked[u].vector for u in group], axis=0, dtype=np.uint32))
        for u in group:
            masks.subtract(self.combined(u, [(one.client, one.seeds) for one in answers]))
            for v in publics.keys() - set(group):
                seed = keys[u].agree(publics[v], "mask") if u in keys else keys[v].agree(publics[u], "mask")
                (masks.subtract if v > u else masks.add)(seed)
        return masks.total

    def combined(self, owner: int, held: list[tuple[int, dict[int, int]]]) -> bytes:
        """A secret of the owner from all shares of it; InputError where they are too few."""
        shares = sorted((holder + 1, shares[owner]) for holder, shares in held if owner in shares)
        return combine_all([x for x, _ in shares], [[y for _, y in shares]], self.threshold)[0]


def scene(n: int, threshold: int) -> Scene:
    """All of n clients share and send masked vectors."""
    clients = registered(threshold, [SeededEntropy(3, 0, number) for number in range(n)])
    server = Server(threshold)
    roster = server.roster([client.advertise() for client in clients])
    boxes = server.route([one for client in clients for one in client.share(roster)])
    masked = {client.number: client.mask(vectors(n)[client.number], boxes[client.number]) for client in clients}
    return Scene(clients, roster, masked, threshold)


def told_two_stories(n: int, threshold: int, helpers: int) -> Words:
    """The vector of client 0: the first honest clients are told that it came, the next that it did not."""
    stage, honest = scene(n, threshold), range(n - helpers)
    came, gone = UnmaskRequest(tuple(range(n)), ()), UnmaskRequest(tuple(range(1, n)), (0,))
    first = max(threshold - helpers, 1)  # the victim knows that it came
    answers = stage.answers({u: came if u < first else gone for u in honest}, range(n - helpers, n))
    return stage.bare_sum([0], answers, opened=[0])


def told_a_story_each(n: int, threshold: int, size: int) -> Words:
    """The sum over the last ``size`` clients, without a helper: each client is told that some of the first are gone.

    They are those of whom it has been said the least often.
    """
    stage, first, stories = scene(n, threshold), range(n - size), {}
    named = Counter(dict.fromkeys(first, 0))
    for u in range(n):
        gone = sorted(set(first) - {u}, key=lambda v: (named[v], v))[: n - threshold]
        named.update(gone)
        stories[u] = UnmaskRequest(tuple(v for v in range(n) if v not in gone), tuple(sorted(gone)))
    return stage.bare_sum(range(n - size, n), stage.answers(stories), opened=first)


@pytest.fixture
def unsigned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that reveal their shares without a look at the signatures."""
    monkeypatch.setattr(roles, "check_agreement", lambda *_: None)


def test_just_above_half_one_helper_of_five_unmasks_a_victim() -> None:
    """Signatures alone do not stop it: three of five sign either story, the helper both."""
    assert (told_two_stories(5, 3, helpers=1) == vectors(5)[0]).all()


@pytest.mark.usefixtures("unsigned")
def test_above_two_thirds_one_helper_of_five_is_a_share_short() -> None:
    assert (told_two_stories(5, 3, helpers=1) == vectors(5)[0]).all()
    with pytest.raises(InputError, match="2 shares are too few: 4 are needed"):
        told_two_stories(5, default_threshold(5), helpers=1)


def test_above_two_thirds_clients_notice_two_stories() -> None:
    with pytest.raises(InputError, match="client 3 has signed bears 2 of the 4 signatures it must have"):
        told_two_stories(5, default_threshold(5), helpers=1)


@st.composite
def groups(draw: st.DrawFn) -> tuple[int, int]:
    """n clients, and a threshold above half of them and below all."""
    n = draw(st.integers(3, 9))
    return n, draw(st.integers(n // 2 + 1, n - 1))


@pytest.mark.parametrize("looks", [True, False], ids=["signatures", "no signatures"])
def test_two_stories_take_2t_less_n_helpers(looks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the signatures and without, since a client of two stories signs both."""

    @settings(deadline=None, max_examples=25)
    @given(groups())
    def check(group: tuple[int, int]) -> None:
        n, t = group
        assert (told_two_stories(n, t, helpers=2 * t - n) == vectors(n)[0]).all()
        with pytest.raises(InputError, match="signatures it must have" if looks else "shares are too few"):
            told_two_stories(n, t, helpers=2 * t - n - 1)

    if not looks:
        monkeypatch.setattr(roles, "check_agreement", lambda *_: None)
    check()


@pytest.mark.parametrize(("n", "threshold", "size"), [(5, 3, 2), (20, 11, 4), (20, 14, 12)])
def test_without_signatures_a_story_each_gives_away_a_sum_over_fewer_than_the_threshold(
    n: int, threshold: int, size: int, request: pytest.FixtureRequest
) -> None:
    """Nobody helps, no two secrets of one client are told, and still a small group's sum is bare."""
    with pytest.raises(InputError, match=rf"client 0 has signed bears \d+ of the {threshold} signatures"):
        told_a_story_each(n, threshold, size)
    request.getfixturevalue("unsigned")
    assert (told_a_story_each(n, threshold, size) == vectors(n)[n - size :].sum(0, dtype=np.uint32)).all()


def test_signatures_are_good_for_one_list_of_one_sum_and_count_once() -> None:
    """Of a survivor each: not twice from one, not for another list, not from a sum before, not of a stranger."""
    stage, others = scene(5, 4), scene(5, 4)
    story, other = UnmaskRequest((0, 1, 2, 3), (4,)), UnmaskRequest((0, 1, 2, 4), (3,))
    own = [stage.clients[u].sign(story) for u in (0, 1, 2)]
    fourth, gone = stage.clients[3].signer, stage.clients[4].signer
    content = statement(stage.roster, story)
    keys = Client(0, 4, others.clients[0].signer, others.clients[0].register).advertise()
    for wrong in (
        own[2],
        Signed(3, own[2].signature),
        Signed(3, b"short"),
        Signed(3, fourth.sign(LIST, statement(stage.roster, other))),
        Signed(3, fourth.sign(LIST, statement((keys, *stage.roster[1:]), story))),
        Signed(3, fourth.sign("another purpose", content)),
        Signed(4, gone.sign(LIST, content)),
        Signed(9, fourth.sign(LIST, content)),
    ):
        with pytest.raises(InputError, match="client 0 has signed bears 3 of the 4 signatures"):
            stage.clients[0].unmask([*own, wrong])
    assert stage.clients[0].unmask([*own, Signed(3, fourth.sign(LIST, content))]).mask_keys.keys() == {4}


@given(st.integers(2, 1000))
def test_the_default_threshold_is_the_least_above_two_thirds(n: int) -> None:
    """So that 2t - n, what a lying server needs, is above a third."""
    t = default_threshold(n)
    check_threshold(t, n)
    assert 3 * t > 2 * n >= 3 * (t - 1)
    assert 3 * (2 * t - n) > n


def test_the_default_threshold_is_what_a_sum_takes() -> None:
    """14 of 20 may be left, and not 13."""
    words = vectors(20)
    for exact in (False, True):
        assert (secure_sum(words, dropouts={"unmask": range(6)}, exact=exact).total == words.sum(0, dtype="u4")).all()
        with pytest.raises(InputError, match="Only 13 clients are left after round unmask, and 14 are needed"):
            secure_sum(words, dropouts={"unmask": range(7)}, exact=exact)
