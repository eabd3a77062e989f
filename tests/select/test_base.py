"""What every selector shares: how many, which of equals, and that the order of a client's list is nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from fedlib import (
    FedMF,
    FedNCF,
    HardestNegativeMargin,
    InputError,
    LocalTraining,
    Place,
    RandomSelection,
    SoftmaxEntropy,
    federate,
    rng,
)
from fedlib.backbones import FCFALS, FedPerGNN
from fedlib.data.interactions import Split
from fedlib.data.log import UserItems
from fedlib.data.partition import at_random
from fedlib.select.base import gumbel, share_of, top
from fedlib.shapes import Work
from tests.small import small_split

LOCAL = LocalTraining(batch=8, lr=0.1)


@example(count=100, percent=15)  # 15.000001 in single precision
@given(count=st.integers(1, 800), percent=st.integers(1, 100))
def test_the_share_is_rounded_up_and_never_nothing(count: int, percent: int) -> None:
    """In whole numbers: the least k with 100 k >= percent count."""
    assert int(share_of(torch.tensor([count]), percent / 100)) == max(1, -(-percent * count // 100))


def test_the_best_are_kept_and_padding_is_never() -> None:
    scores = torch.tensor([[1.0, 3.0, 2.0, 9.0], [-1.0, -5.0, -3.0, -2.0]])
    tie = torch.zeros(2, 4)
    assert top(scores, torch.tensor([3, 4]), 0.5, tie).tolist() == [[1, 2], [0, 3]]
    nothing = torch.full((1, 4), -torch.inf)
    assert top(nothing, torch.tensor([2]), 1.0, torch.tensor([[0.9, 0.2, 0.1, 0.1]])).tolist() == [[1, 0]]


def test_equal_scores_are_told_apart_by_chance() -> None:
    tie = rng.uniform(3, torch.arange(4000)[:, None], torch.arange(4))
    first = top(torch.zeros(4000, 4), torch.full((4000,), 4), 0.25, tie)[:, 0]
    share = torch.bincount(first, minlength=4) / 4000
    assert (share - 0.25).abs().max() < 4 * (0.25 * 0.75 / 4000) ** 0.5


def test_a_draw_without_replacement_is_in_proportion() -> None:
    """Weights 1, 2, 5: the first is drawn with probability 1/8, 2/8, 5/8, and is then gone."""
    draw = rng.uniform(5, torch.arange(20_000)[:, None], torch.arange(3))
    order = gumbel(torch.tensor([1.0, 2.0, 5.0]).log(), draw).argsort(1, descending=True)
    first, second = (torch.bincount(order[:, j], minlength=3) / 20_000 for j in (0, 1))
    error = 4 * 0.5 / 20_000**0.5
    assert (first - torch.tensor([1, 2, 5]) / 8).abs().max() < error
    p = [1 / 8, 2 / 8, 5 / 8]
    expected = [sum(p[i] * p[j] / (1 - p[i]) for i in range(3) if i != j) for j in range(3)]
    assert (second - torch.tensor(expected)).abs().max() < error


def shuffled(split: Split) -> Split:
    """The same split, with every user's training items in another order."""
    train = split.train
    order = rng.uniform(7, torch.arange(len(train.items))) + train.users
    return replace(split, train=UserItems(train.indptr, train.items[order.argsort()]))


class Spy(RandomSelection):
    """Notes what has been kept."""

    def __init__(self, ratio: float) -> None:
        super().__init__(ratio, over="positives")
        self.kept: set[tuple[int, int, int]] = set()

    def client(self, work, message):
        uploads = super().client(work, message)
        for k, client in enumerate(work.clients.tolist()):
            self.kept |= {(work.round, client, item) for item in work.positives[k, : work.count[k]].tolist()}
        return uploads


def test_the_order_of_a_clients_list_is_nothing() -> None:
    one, other = small_split(), shuffled(small_split())
    assert not torch.equal(one.train.items, other.train.items)
    spies, states = [Spy(0.4), Spy(0.4)], []
    for split, spy in zip((one, other), spies, strict=True):
        states.append(federate(split, FedMF(4), select=spy, local=LOCAL, rounds=3, device="cpu").state)
    assert spies[0].kept == spies[1].kept
    for name, value in states[0].tensors().items():
        if not name.startswith("memory"):
            assert torch.equal(states[1].tensors()[name], value), name


def test_negatives_and_weights_are_those_of_the_kept() -> None:
    """Ratio 0.4 of 1 to 10 positives; a weight in the mean is the number of samples used, with 4 negatives each."""

    class Look(Place):
        sizes: dict[int, float] = {}  # noqa: RUF012
        rows: dict[int, int] = {}  # noqa: RUF012

        def client(self, work: Work, message):
            self.sizes |= dict(zip(work.clients.tolist(), work.size.tolist(), strict=True))
            self.rows |= dict(zip(work.clients.tolist(), work.real.sum(1).tolist(), strict=True))
            return {}

    split = small_split()
    federate(
        split,
        FedMF(4),
        select=RandomSelection(0.4, over="positives"),
        protect=Look(),
        local=LOCAL,
        rounds=1,
        device="cpu",
    )
    kept = share_of(split.train.counts, 0.4)
    assert [Look.sizes[u] for u in range(13)] == (5 * kept).tolist()
    assert all(Look.rows[u] <= Look.sizes[u] for u in range(13))


def test_coverage_is_what_has_been_trained_on() -> None:
    spy, split = Spy(0.2), small_split()
    result = federate(split, FedMF(4), select=spy, local=LOCAL, rounds=6, clients_per_round=0.5, device="cpu")
    seen = {(client, item) for _, client, item in spy.kept}
    assert result.history["coverage"].iloc[-1] == pytest.approx(len(seen) / len(split.train.items))
    assert (result.history["coverage"].diff().dropna() >= 0).all()
    pairs = zip(split.train.users.tolist(), split.train.items.tolist(), strict=True)
    assert [pair in seen for pair in pairs] == result.state.memory["select"]["used"].tolist()


def test_everything_kept_is_a_round_without_a_selector() -> None:
    selectors = None, RandomSelection(1.0, over="positives"), RandomSelection(1.0, over="samples")
    runs = [federate(small_split(), FedNCF(4, hidden=(6,), gmf=0), select=select, local=LOCAL, rounds=2, device="cpu",
                     dtype=torch.float64) for select in selectors]  # fmt: skip
    for name, value in runs[0].state.tensors().items():
        for run in runs[1:]:
            torch.testing.assert_close(run.state.tensors()[name], value, rtol=0, atol=1e-12)


def test_over_samples_a_client_trains_on_the_kept_samples_and_on_nothing_else() -> None:
    """Their items are its rows, their number its weight, and labels and draws those of a round without a selector."""
    chosen: dict[int, dict[int, tuple[int, float]]] = {}

    class Look(RandomSelection):
        def client(self, work, message):
            whole = work.received.samples(work.positives, work.count)
            uploads = super().client(work, message)
            for k, client in enumerate(work.clients.tolist()):
                (_, items, label, _), n = vars(whole).values(), int(whole.count[k])
                drawn = dict(zip(whole.number[k, :n].tolist(), zip(items[k].tolist(), label[k].tolist())))  # noqa: B905
                kept = work.samples.of(torch.tensor([k]))
                chosen[client] = {i: drawn[i] for i in kept.number[0, : int(kept.count)].tolist()}
                assert len(chosen[client]) == int(kept.count) == int(share_of(torch.tensor([n]), 0.4))
            return uploads

        def after(self, work, message):
            for k, client in enumerate(work.clients.tolist()):
                assert {*work.ids[k][work.real[k]].tolist()} == {item for item, _ in chosen[client].values()}
                assert int(work.size[k]) == len(chosen[client])
                own = {*small_split().train[client].tolist()}
                assert all((item in own) == (label == 1) for item, label in chosen[client].values())
            return {}

    federate(small_split(), FedMF(4), select=Look(0.4, over="samples"), local=LOCAL, rounds=2, device="cpu", chunk=5)
    assert len(chosen) == 13


def test_a_balance_of_labels_is_kept_as_far_as_it_can_be() -> None:
    """Of 5 n samples two fifths are kept; 3 in 4 of them should be positives, but there are no more than n of these."""
    split, shares = small_split(), {}
    for wanted in (0.1, 0.5, 1.0):
        place = RandomSelection(0.4, over="samples", positive_share=wanted)
        run = federate(split, FedMF(4), select=place, local=LOCAL, rounds=40, device="cpu")
        samples, positives = run.state.memory["select"]["kept"].T
        most = torch.minimum(split.train.counts, share_of(5 * split.train.counts, 0.4)) * 40
        assert (positives <= most).all() and (samples == 40 * share_of(5 * split.train.counts, 0.4)).all()
        shares[wanted] = float(positives.sum() / samples.sum())
    assert shares[0.1] == pytest.approx(0.1, abs=0.02)
    assert shares[0.5] == pytest.approx(float(split.train.counts.sum() / share_of(5 * split.train.counts, 0.4).sum()))
    assert shares[1.0] == shares[0.5]


@pytest.mark.parametrize(("how", "why"), [
    ({"over": "pairs"}, "over must be positives or samples"),
    ({"over": "positives", "positive_share": 0.5}, "positive_share is for"),
    ({"over": "samples", "positive_share": 1.5}, "a share in"),
])  # fmt: skip
def test_a_choice_that_makes_no_sense_is_refused(how: dict, why: str) -> None:
    with pytest.raises(InputError, match=why):
        federate(small_split(), FedMF(4), select=RandomSelection(0.5, **how), rounds=1, device="cpu")


def test_stores_choose_among_positives() -> None:
    split = small_split().with_stores(at_random(13, 2))
    with pytest.raises(InputError, match="a user chooses among positives"):
        federate(split, FedMF(4), select=RandomSelection(0.5, over="samples"), rounds=1, device="cpu")


def test_what_judges_beside_negatives_has_no_rule_for_these() -> None:
    for cls in (SoftmaxEntropy, HardestNegativeMargin):
        with pytest.raises(InputError, match="has no rule for these"):
            federate(small_split(), FedMF(4), select=cls(0.5, over="samples"), rounds=1, device="cpu")


def test_the_graph_of_a_client_has_all_of_its_items() -> None:
    """FedPerGNN's sum over the neighbours is over all that is owned, whatever is trained on."""

    class Look(RandomSelection):
        found = torch.empty(0)

        def client(self, work, message):
            uploads = super().client(work, message)
            model = work.received
            Look.found = model.score_vectors(torch.eye(4))
            p, q = model.state.private["user"][work.clients], model.state.tables["item"]
            total = [q[model.own[u]].mean(0) for u in work.clients.tolist()]
            torch.testing.assert_close(Look.found, (p + torch.stack(total)) / 2)
            return uploads

    federate(
        small_split(),
        FedPerGNN(4, neighbours=None),
        select=Look(0.3, over="positives"),
        local=LOCAL,
        rounds=2,
        device="cpu",
    )
    assert Look.found.shape == (13, 4)


@pytest.mark.parametrize("ratio", [0, -0.1, 1.1, float("nan")])
def test_a_share_that_makes_no_sense_is_refused(ratio: float) -> None:
    with pytest.raises(InputError, match="ratio must be a share"):
        federate(small_split(), FedMF(4), select=RandomSelection(ratio, over="positives"), rounds=1, device="cpu")


def test_a_model_of_all_items_is_refused() -> None:
    with pytest.raises(InputError, match="would count as a dislike"):
        federate(small_split(), FCFALS(4), select=RandomSelection(0.5, over="positives"), rounds=1, device="cpu")
