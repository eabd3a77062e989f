"""Attacks: exact where theory says so, strong on what is not protected, and no better than a guess on what is."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedlib import FedMF, FedNCF, LocalTraining, Place, RobustAggregation, federate, load, rng
from fedlib.attacks import (
    Eavesdropper,
    attack_table,
    from_counts,
    from_fcf,
    from_head,
    intersect,
    membership,
    ratings_from_two_rounds,
    rows_by_sign,
    success,
    touched_rows,
    vector_from_two_rounds,
)
from fedlib.backbones import FCFALS, FedAvg
from fedlib.data.interactions import Split
from fedlib.data.partition import at_random
from fedlib.data.shop import synthetic
from fedlib.errors import InputError
from fedlib.protect.noise import LocalDP, PlainNoise, UserLevelDP
from fedlib.protect.secure import SecureAggregation
from tests.small import small_split

HOW = {"local": LocalTraining(batch=64, lr=0.5), "rounds": 2, "device": "cpu", "dtype": torch.float64}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return rng.normal(rng.key(seed, "test"), torch.arange(torch.Size(shape).numel())).view(shape)


def step(p: Tensor, q: Tensor, items: list[int], labels: list[float], *, explicit: bool = False, lr: float = 0.3,
         lr_items: float = 2.0) -> tuple[Tensor, Tensor]:  # fmt: skip
    """One full-batch step on a client, by automatic differentiation: its new vector and its table's change."""
    p, q = p.clone().requires_grad_(), q.clone().requires_grad_()
    z, r = q[items] @ p, torch.tensor(labels, dtype=p.dtype)
    loss = (z - r).square().sum() if explicit else torch.nn.functional.binary_cross_entropy_with_logits(z, r)
    loss.backward()
    assert p.grad is not None and q.grad is not None
    return (p - lr * p.grad).detach(), -lr_items * q.grad


# On hand-made cases


def test_rows_that_moved_are_positives_and_negatives_and_stay_the_same_only_if_positive() -> None:
    rounds = torch.zeros(3, 6, 2)
    for t, items in enumerate([[0, 1, 2, 3], [0, 1, 3, 4], [0, 1, 2, 5]]):
        rounds[t, items, t % 2] = -1.0
    assert touched_rows(rounds[0]) == {0, 1, 2, 3}
    assert [intersect(rounds[: t + 1]) for t in range(3)] == [{0, 1, 2, 3}, {0, 1, 3}, {0, 1}]
    assert touched_rows(torch.zeros(4, 2)) == rows_by_sign(torch.zeros(4, 2)) == intersect([]) == set()


@given(st.integers(0, 10**6), st.integers(1, 6), st.sampled_from([-1.0, 1.0]))
def test_the_sides_of_rows_give_the_positives_away(seed: int, count: int, sign: float) -> None:
    """Whatever the client's vector, with two negatives a positive, one of them drawn twice."""
    p, q, items = sign * drawn(5, seed=seed), 0.1 * drawn(20, 5, seed=seed + 1), list(range(3 * count))
    labels = [float(i < count) for i in items]
    _, change = step(p, q, [*items, items[-1]], [*labels, 0.0])
    assert rows_by_sign(change) == rows_by_sign(change, k=count) == set(range(count))


def test_sides_survive_local_steps() -> None:
    p, table = drawn(5), 0.1 * drawn(20, 5, seed=1)
    q = table
    for _ in range(5):
        p, change = step(p, q, list(range(15)), [1.0] * 3 + [0.0] * 12)
        q = q + change
    assert rows_by_sign(q - table) == {0, 1, 2}


def fcf_upload(q: Tensor, chosen: list[int], alpha: float, l2: float) -> Tensor:
    """The client's closed form written with whole matrices, and its gradient for every item."""
    r = torch.zeros(len(q), dtype=q.dtype)
    r[chosen] = 1
    c = 1 + alpha * r
    p = torch.linalg.inv(q.T @ torch.diag(c) @ q + l2 * torch.eye(q.shape[1], dtype=q.dtype)) @ q.T @ (c * r)
    return (c * (r - q @ p))[:, None] * p


def test_one_upload_of_fcf_gives_the_items_away_and_a_sum_their_union() -> None:
    q = drawn(30, 4)
    uploads = [fcf_upload(q, chosen, alpha=4.0, l2=2.0) for chosen in ([1, 5, 17], [5, 20, 21, 29])]
    assert [from_fcf(upload, q, 2.0) for upload in uploads] == [{1, 5, 17}, {5, 20, 21, 29}]
    assert from_fcf(uploads[0], q, 2.0, k=3) == {1, 5, 17}
    assert from_fcf(uploads[0] + uploads[1], q, 2.0) == {1, 5, 17, 20, 21, 29}


@pytest.mark.parametrize("seed", range(4))
def test_two_rounds_give_vector_and_labels_away(seed: int) -> None:
    """The second round has other negatives and, as in a federation, another table."""
    p, q = drawn(4, seed=seed), 0.5 * drawn(20, 4, seed=seed + 50)
    items = [*range(12), 11]  # the last negative is drawn twice
    labels = [1.0] * 3 + [0.0] * 10
    p2, first = step(p, q, items, labels)
    q2 = q + 0.1 * drawn(20, 4, seed=seed + 90)
    _, second = step(p2, q2, [0, 1, 2, *range(10, 20)], labels)
    stolen = ratings_from_two_rounds(first, second, q, lr=0.3, lr_items=2.0)
    torch.testing.assert_close(stolen.vector, p, rtol=0, atol=1e-9)
    torch.testing.assert_close(stolen.ratings[:11], torch.tensor(labels[:11]).double(), rtol=0, atol=1e-9)
    assert stolen.ratings[11] < 0 and stolen.ratings[12:].isnan().all()


@pytest.mark.parametrize("seed", range(4))
def test_two_rounds_give_explicit_ratings_away(seed: int) -> None:
    """Chai et al.'s sum of squared errors, whose weight is 2."""
    p, q, ratings = drawn(4, seed=seed), drawn(10, 4, seed=seed + 50), [5.0, 1.0, 3.0, 4.0, 2.0]
    how = {"explicit": True, "lr": 0.01, "lr_items": 0.02}
    p2, first = step(p, q, [0, 2, 4, 6, 8], ratings, **how)
    _, second = step(p2, q + 0.1, [0, 2, 4, 6, 8], ratings, **how)
    stolen = ratings_from_two_rounds(first, second, q, lr=0.01, lr_items=0.02, weight=2.0)
    torch.testing.assert_close(stolen.vector, p, rtol=0, atol=1e-9)
    torch.testing.assert_close(stolen.ratings[::2], torch.tensor(ratings).double(), rtol=0, atol=1e-8)
    assert stolen.ratings[1::2].isnan().all()


def test_where_two_rounds_do_not_fit_nothing_is_found() -> None:
    still = torch.zeros(6, 3, dtype=torch.float64)
    stolen = ratings_from_two_rounds(still, still, drawn(6, 3), lr=1.0, lr_items=1.0)
    assert not (stolen.ratings > 0.5).any() and vector_from_two_rounds(still, still, drawn(6, 3), 1.0).norm() == 0


def test_counts_exclude_some_items_and_make_others_certain() -> None:
    prototype, popularity = torch.tensor([0, 0, 1, 1, 1, 2, 2]), torch.tensor([9, 1, 4, 4, 4, 3, 1])
    chance = from_counts(torch.tensor([2, 0, 1]), prototype, popularity)
    assert chance.tolist() == [1, 1, 0, 0, 0, 0.75, 0.25]
    capped = from_counts(torch.tensor([2.0]), torch.zeros(3, dtype=torch.int64), torch.tensor([10, 1, 1]))
    assert capped.tolist() == [1, 0.5, 0.5]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 1000)), min_size=4, max_size=30), st.data())
def test_chances_add_up_to_the_counts_and_follow_popularity(items: list[tuple[int, int]], data: st.DataObject) -> None:
    prototype, popularity = (torch.tensor(column) for column in zip(*items, strict=True))
    sizes = torch.bincount(prototype, minlength=4)
    counts = torch.tensor([data.draw(st.integers(0, int(size))) for size in sizes])
    chance = from_counts(counts, prototype, popularity)
    assert ((chance >= 0) & (chance <= 1 + 1e-12)).all()
    for j, count in enumerate(counts.tolist()):
        own = prototype == j
        assert chance[own].sum().item() == pytest.approx(count)
        ordered = chance[own][popularity[own].argsort(descending=True)]
        assert all(more >= less - 1e-12 for more, less in pairwise(ordered.tolist()))


def test_the_change_of_a_head_gives_all_away_where_item_vectors_are_orthogonal() -> None:
    q = torch.linalg.qr(drawn(8, 8)).Q
    w, change = torch.zeros(8, dtype=torch.float64), torch.zeros(8, dtype=torch.float64)
    for item, label in {0: 1, 3: 1, 1: 0, 5: 0, 6: 0}.items():
        change += (label - torch.sigmoid(w @ q[item])) * q[item]
    told = from_head(change, q)
    assert told.gt(1e-9).nonzero()[:, 0].tolist() == [0, 3] and told.lt(-1e-9).nonzero()[:, 0].tolist() == [1, 5, 6]


LOSSES = st.lists(st.integers(0, 5).map(float), min_size=1, max_size=12)


@given(LOSSES, LOSSES)
def test_membership_is_what_counting_gives(inside: list[float], outside: list[float]) -> None:
    pairs = [(a < b) + (a == b) / 2 for a in inside for b in outside]
    rates = [
        sum(a <= t for a in inside) / len(inside) - sum(b <= t for b in outside) / len(outside) for t in range(-1, 6)
    ]
    found = membership(torch.tensor(inside), torch.tensor(outside))
    assert found.auc == pytest.approx(sum(pairs) / len(pairs))
    assert found.advantage == pytest.approx(max(rates)) and 0 <= found.advantage <= 1


@given(st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9), min_size=1))
def test_success_is_a_share(found: set[int], truth: set[int]) -> None:
    got = success(found, truth, torch.arange(10))
    assert all(0 <= value <= 1 for value in got)
    assert got.precision * len(found) == pytest.approx(got.recall * len(truth))
    assert (found == truth) == (got.precision == got.recall == 1)


def test_success_by_hand() -> None:
    popularity = torch.tensor([5, 1, 9, 2])  # a guess of two items is {2, 0}
    assert success({1, 2}, {0, 2, 3}, popularity) == (1 / 2, 1 / 3, 1.0, 3 / 4)


def test_what_makes_no_sense_is_refused() -> None:
    prototype = torch.tensor([0, 0, 1])
    for counts in ([3, 0], [1, -1], [1], [1, 1, 1]):
        with pytest.raises(InputError, match="from 0 to the number of its items"):
            from_counts(torch.tensor(counts), prototype, torch.ones(3))
    with pytest.raises(InputError, match="popularity above 0"):
        from_counts(torch.tensor([1, 1]), prototype, torch.tensor([1, 0, 2]))
    with pytest.raises(InputError, match="nothing to lose"):
        success({1}, set(), torch.ones(3))
    with pytest.raises(InputError, match="at least one pair"):
        membership(torch.ones(3), torch.ones(0))
    split = small_split()
    with pytest.raises(InputError, match="not stores"):
        attack_table(split.with_stores(at_random(13, 2, seed=0)), FedMF(4), {"none": None})


# What each party sees


PROTECTIONS = {
    "none": Place(),
    "local": LocalDP(pseudo_items=5),
    "noise": PlainNoise(),
    "user": UserLevelDP(clip=0.05, noise_multiplier=1.0),
    "robust": RobustAggregation(),
    "secure": SecureAggregation(clip=4.0, bits=24),
}


@pytest.mark.parametrize("name", PROTECTIONS)
def test_listening_changes_nothing_and_the_mean_is_what_the_model_moves_by(name: str) -> None:
    tap = Eavesdropper(PROTECTIONS[name])
    plain, heard = (federate(small_split(), FedNCF(4, hidden=(6,)), protect=protect, **HOW)
                    for protect in (PROTECTIONS[name], tap))  # fmt: skip
    for key, value in plain.state.tensors().items():
        assert torch.equal(heard.state.tensors()[key], value)
    outside = [seen for seen in tap.seen if seen.party == "outside"]
    before, after = outside[1].received, {**heard.state.tables, **heard.state.shared}
    for key, value in {**outside[1].rows, **outside[1].parameters}.items():
        torch.testing.assert_close(before[key] + value, after[key], rtol=0, atol=1e-12)
    assert [seen.round for seen in outside] == [0, 1] and all(len(seen.clients) == 13 for seen in outside)
    single = [seen for seen in tap.seen if seen.party == "server" and len(seen.clients) == 1]
    assert len(single) == (0 if name == "secure" else 2 * 13)
    assert [seen.round for seen in tap.of(3)] == [0, 1]


def test_what_is_noted_of_clients_is_what_the_server_averages() -> None:
    for chunk in (1, 5):
        tap = Eavesdropper()
        run = federate(small_split(), FedMF(4), protect=tap, chunk=chunk, **HOW)
        first = [seen for seen in tap.seen if seen.party == "server" and seen.round == 1]
        mean = torch.stack([seen.change() for seen in first]).mean(0)
        torch.testing.assert_close(first[0].received["item"] + mean, run.state.tables["item"], rtol=0, atol=1e-12)


def test_under_secure_aggregation_the_server_notes_the_sum_of_the_cohort() -> None:
    how = HOW | {"clients_per_round": 5, "rounds": 1}
    taps = [Eavesdropper(), Eavesdropper(SecureAggregation(clip=4.0, bits=28))]
    for tap in taps:
        federate(small_split(), FedMF(4), protect=tap, **how)
    plain, (total,) = ([seen for seen in tap.seen if seen.party == "server"] for tap in taps)
    assert len(plain) == len(total.clients) == 5 and {one.clients[0] for one in plain} == set(total.clients)
    torch.testing.assert_close(total.change(), sum(one.change() for one in plain), rtol=0, atol=1e-6)


def test_under_user_level_dp_the_server_notes_clipped_updates_without_noise() -> None:
    tap, plain = Eavesdropper(UserLevelDP(clip=0.05, noise_multiplier=9.0)), Eavesdropper()
    for one in (tap, plain):
        federate(small_split(), FedMF(4), protect=one, **HOW | {"rounds": 1})
    for user in range(13):
        clipped, whole = (one.of(user)[0].change() for one in (tap, plain))
        assert clipped.norm() <= 0.05 * (1 + 1e-9)
        torch.testing.assert_close(clipped, whole * min(1.0, 0.05 / float(whole.norm())), rtol=0, atol=1e-12)


def test_pseudo_items_lower_the_precision_of_a_list_to_positives_over_real_and_pseudo() -> None:
    split, tap, plain = small_split(), Eavesdropper(LocalDP(pseudo_items=5)), Eavesdropper()
    for one in (tap, plain):
        federate(split, FedMF(4), protect=one, **HOW | {"rounds": 1})
    for user in range(13):
        truth, (real, found) = (
            set(split.train[user].tolist()),
            (touched_rows(x.of(user)[0].change()) for x in (plain, tap)),
        )
        assert real < found
        precision = success(found, truth, torch.ones(40)).precision
        assert precision == len(truth) / min(len(real) + 5, 40)


# On a whole federation


@pytest.fixture(scope="module")
def shop() -> Split:
    return synthetic(n_users=60, n_items=120, interactions=(10, 25)).leave_one_out(seed=0, negatives=20)


@pytest.fixture(scope="module")
def fedmf(shop: Split) -> pd.DataFrame:
    protections = {
        "none": None,
        "secure": SecureAggregation(clip=4.0, exact=True),
        "user": UserLevelDP(clip=1.0, noise_multiplier=1.0),
        "local": LocalDP(pseudo_items=20),
        "noise": PlainNoise(),
    }
    assert shop.data.truth is not None
    prototype = shop.data.truth.item_category
    return attack_table(shop, FedMF(16), protections, victims=30, prototype=prototype, device="cpu")


def rows(table: pd.DataFrame, protection: str, party: str) -> pd.DataFrame:
    """One party's rows, by attack."""
    chosen = (table["protection"] == protection) & (table["party"] == party)
    return table[chosen].set_index("attack")


def test_without_protection_fedmf_gives_every_history_away(fedmf: pd.DataFrame) -> None:
    seen = rows(fedmf, "none", "server")
    for attack in ("sides of rows", "ratings from two rounds"):
        assert seen.loc[attack, ["precision", "recall", "exact"]].tolist() == [1, 1, 1]
    assert seen.loc["touched rows", "recall"] == seen.loc["touched in every round", "recall"] == 1
    assert seen.loc["touched rows", "precision"] < 0.4 and seen.loc["touched in every round", "precision"] > 0.9
    assert seen.loc["counts", "precision"] > 1.3 * seen.loc["counts", "popularity"]


def test_without_protection_fcf_gives_every_history_away(shop: Split) -> None:
    table = attack_table(shop, FCFALS(16, alpha=4.0, l2=10.0), {"none": None, "secure": SecureAggregation(exact=True)},
                         local=LocalTraining(lr=0.3), rounds=3, victims=20, device="cpu")  # fmt: skip
    assert rows(table, "none", "server").loc["FCF's residual", ["precision", "recall"]].tolist() == [1, 1]
    told = rows(table, "secure", "server").loc["FCF's residual, k told"]
    assert told["precision"] < told["popularity"] + 0.1


def test_a_secure_sum_leaves_a_guess(fedmf: pd.DataFrame) -> None:
    """The sum over all 60 clients, where without protection the same attacks find everything."""
    seen = rows(fedmf, "secure", "server")
    assert seen.loc["touched rows", ["found", "precision"]].tolist() == [120, seen.loc["touched rows", "random"]]
    for attack in ("sides over all rounds, k told", "counts"):
        assert seen.loc[attack, "precision"] < seen.loc[attack, "popularity"] + 0.1
    assert (seen["exact"] == 0).all()


def test_user_level_dp_is_no_protection_from_the_server_itself(fedmf: pd.DataFrame) -> None:
    """Clipping scales all rows alike, so their sides stay; those outside see the noisy mean."""
    assert rows(fedmf, "user", "server").loc["sides of rows", "exact"] == 1
    told = rows(fedmf, "user", "outside").loc["sides over all rounds, k told"]
    assert told["precision"] < told["popularity"] + 0.1
    assert "counts" not in rows(fedmf, "user", "server").index


def test_pseudo_items_dilute_one_list_and_rounds_undo_it(fedmf: pd.DataFrame) -> None:
    """One list holds the real rows and 20 others; the others are drawn anew in each round."""
    plain, hidden = (rows(fedmf, name, "server") for name in ("none", "local"))
    assert hidden.loc["touched rows", "found"] == pytest.approx(plain.loc["touched rows", "found"] + 20)
    assert hidden.loc["touched rows", "recall"] == 1
    assert hidden.loc["touched rows", "precision"] < plain.loc["touched rows", "precision"]
    assert hidden.loc["touched in every round", "precision"] > 2 * hidden.loc["touched rows", "precision"]
    told = ["found", "precision", "recall"]  # noise on updates is not on what another place sends
    assert hidden.loc["counts", told].tolist() == plain.loc["counts", told].tolist()


def test_plain_noise_hides_the_rows_but_not_their_sides(fedmf: pd.DataFrame) -> None:
    seen = rows(fedmf, "noise", "server")
    assert seen.loc["touched in every round", ["found", "precision"]].tolist() == [120, seen["random"].iloc[0]]
    told = seen.loc["sides over all rounds, k told"]
    assert told["precision"] > 2 * told["popularity"]


def test_a_head_that_is_sent_is_attacked() -> None:
    class Shared(FedAvg):
        owners: ClassVar = {}

    table = attack_table(load("synthetic").leave_one_out(), Shared(32), {"none": None}, rounds=2, victims=20,
                         device="cpu")  # fmt: skip
    told = rows(table, "none", "server").loc["change of the head, k told"]
    assert told["precision"] > 1.2 * told["popularity"]


def test_the_rows_of_the_table(fedmf: pd.DataFrame) -> None:
    shares = fedmf[["precision", "recall", "exact", "popularity", "random"]].dropna()
    assert ((shares >= 0) & (shares <= 1)).all().all()
    assert not fedmf.duplicated(["protection", "party", "attack"]).any()
    told = fedmf[fedmf["auc"].notna()]
    assert (told["attack"] == "membership").all() and (told["party"] == "model").all() and len(told) == 5
    assert told["auc"].between(0, 1).all() and told["advantage"].between(0, 1).all()
