"""FedPerGNN: scores by hand, its gradients against a plain module, and a target that is never its own evidence."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fedlib import LocalTraining, federate, rng
from fedlib.backbones.fedpergnn import FedPerGNN
from fedlib.data.log import UserItems
from fedlib.data.negatives import NegativeSampler
from fedlib.engine.cohort import LocalRows, draw_samples, lay_out
from fedlib.engine.reading import score
from fedlib.engine.training import shuffled, train
from fedlib.errors import InputError
from tests.small import small_split

MODES = ("history", "item", None)
each_mode = pytest.mark.parametrize("mode", MODES)
LOCAL = LocalTraining(batch=8, lr=0.1, lr_items=0.5)


def vectors(purpose: str, *shape: int) -> Tensor:
    index = torch.arange(torch.Size(shape).numel())
    return rng.normal(rng.key(0, purpose), index).view(shape)


class Plain(nn.Module):
    """One client, one item at a time. ``n`` maps an own item to the mean vector of its other owners, if any.

    Own items that are ``still`` keep the vectors they came with.
    """

    def __init__(
        self, p: Tensor, q: Tensor, own: list[int], still: list[int], n: dict[int, Tensor], mode: str | None
    ) -> None:
        super().__init__()
        self.p, self.q = nn.Parameter(p.clone()), nn.Parameter(q.clone())
        self.received, self.own, self.still, self.n, self.mode = q, own, still, n, mode

    def item(self, i: int) -> Tensor:
        return self.received[i] if i in self.still else self.q[i]

    def expanded(self, i: int) -> Tensor:
        return (self.item(i) + self.n[i]) / 2 if i in self.n else self.item(i)

    def forward(self, items: list[int]) -> Tensor:
        return torch.stack([self.one(i) for i in items])

    def one(self, i: int) -> Tensor:
        heard = [self.expanded(j) if self.mode == "history" else self.item(j) for j in self.own if j != i]
        user = (self.p + torch.stack(heard).mean(0)) / 2 if heard else self.p
        return user @ (self.expanded(i) if self.mode == "item" else self.item(i))


def test_two_users_and_three_items_by_hand() -> None:
    """u0 has items 0 and 1, u1 has 1 and 2, so of each only item 1 has another owner."""
    q = torch.tensor([[1.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
    p = torch.tensor([[2.0, 0.0], [0.0, 4.0]])
    positives, count = torch.tensor([[0, 1], [1, 2]]), torch.tensor([2, 2])
    held = {"neighbours": torch.zeros(2, 2, 2), "holders": torch.tensor([[0, 1], [1, 0]])}
    held["neighbours"][0, 1], held["neighbours"][1, 0] = p[1], p[0]
    everything = torch.arange(3).expand(2, -1)

    def scores(mode: str | None) -> list[list[float]]:
        model = FedPerGNN(2, neighbours=mode)
        params = model.prepare({"user": p} | (held if mode else {}), {"item": q}, positives, count, everything)
        return model.logits(params, {"item": q[everything]}).tolist()

    # u0 scores item 2: (p + mean(q0, q1)) / 2 = (1.25, .5). For item 0 it hears item 1 alone: (1, 1); for 1: (1.5, 0).
    # u1 scores item 0: (p + mean(q1, q2)) / 2 = (.5, 3).    For item 1 it hears item 2 alone: (1, 3); for 2: (0, 3).
    assert scores(None) == [[1.0, 0.0, 3.5], [0.5, 6.0, 6.0]]
    # u0 hears of item 1 (q1 + p1) / 2 = (0, 3); u1 hears of it (q1 + p0) / 2 = (1, 1).
    # u0: item 0 with (1, 1.5), item 1 with (1.5, 0), item 2 with (1.25, .75).
    # u1: item 0 with (.75, 2.75), item 1 with (1, 3), item 2 with (.5, 2.5).
    assert scores("history") == [[1.0, 0.0, 4.0], [0.75, 6.0, 6.0]]
    # Item 1 is scored as (0, 3) by u0 and as (1, 1) by u1, the rest as under None.
    assert scores("item") == [[1.0, 0.0, 3.5], [0.5, 4.0, 6.0]]


@each_mode
def test_local_training_is_gradient_descent_on_a_plain_module(mode: str | None) -> None:
    """Three clients of 1, 4 and 7 items, of which the last of two was not selected, up to two batches of 20 samples.

    A step changes the history that the next one hears; padding, and own items that are not trained, must not disturb.
    """
    n, d, own, used = 20, 4, [[3], [5, 2, 9, 11], [0, 1, 4, 8, 13, 17, 19]], [1, 3, 6]
    users = torch.repeat_interleave(torch.arange(3), torch.tensor([1, 4, 7]))
    log = UserItems.from_pairs(users, torch.tensor([i for items in own for i in items]), 3)
    model, local = FedPerGNN(d, neighbours=mode), LocalTraining(batch=20, lr=0.3, lr_items=0.7)
    p, q, neighbours = vectors("p", 3, d), vectors("q", n, d), vectors("n", len(users), d)
    holders = torch.arange(len(users)) % 3  # every third own item has no other owner
    positives, count = log.padded(torch.arange(3))
    samples = draw_samples(torch.arange(3), positives, torch.tensor(used), NegativeSampler(log, n), 4, stream=5)
    chunk = lay_out(torch.arange(3), samples, LocalRows(n, torch.device("cpu")))
    place, _ = UserItems(log.indptr, torch.arange(len(users))).padded(torch.arange(3))
    held = {"neighbours": neighbours[place], "holders": holders[place]} if mode else {}
    params = model.prepare({"user": p.clone()} | held, {"item": q}, positives, count, chunk.ids)
    descend = partial(train, model, chunk=chunk, local=local, seed=0, round=0)
    trained = model.train_clients(params, {"item": q[chunk.ids]}, chunk, descend)

    order = shuffled(chunk, rng.key(0, "shuffle", 0, 0))
    for u in range(3):
        edges = [e for e in range(len(users)) if users[e] == u and holders[e] > 0 and mode]
        expansion = {int(log.items[e]): neighbours[e] for e in edges}
        plain, losses = Plain(p[u], q, own[u], own[u][used[u] :], expansion, mode), []
        sgd = torch.optim.SGD([{"params": [plain.p], "lr": 0.3}, {"params": [plain.q], "lr": 0.7}])
        for batch in order[u, : chunk.count[u]].split(20):
            z = plain(chunk.ids[u, chunk.local[u, batch]].tolist())
            loss = nn.functional.binary_cross_entropy_with_logits(z, chunk.label[u, batch].double())
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            losses.append(loss.item())
        torch.testing.assert_close(trained.params["user"][u], plain.p.detach())
        real = chunk.ids[u, : chunk.n_rows[u]]
        torch.testing.assert_close(trained.rows["item"][u, : len(real)], plain.q.detach()[real])
        assert trained.loss[u].item() == pytest.approx(sum(losses) / len(losses))


@each_mode
def test_a_positive_is_scored_without_itself(mode: str | None) -> None:
    """A training item scores, where its user has it, what a client would see that never had it."""
    q, p = vectors("q", 9, 4), vectors("p", 1, 4)
    model = FedPerGNN(4, neighbours=mode)

    def scored(positives: list[int], item: int) -> Tensor:
        held = {"neighbours": q[positives][None] + 1, "holders": torch.ones(1, len(positives), dtype=torch.int32)}
        params = model.prepare(
            {"user": p} | (held if mode == "history" else {}), {"item": q}, torch.tensor([positives]),
            torch.tensor([len(positives)]), torch.tensor([[item]]),
        )  # fmt: skip
        return model.logits(params, {"item": q[torch.tensor([[item]])]})[0, 0]

    for item in (2, 5, 7):
        torch.testing.assert_close(scored([2, 5, 7], item), scored([i for i in (2, 5, 7) if i != item], item))
    torch.testing.assert_close(scored([2], 2), p[0] @ q[2])  # no history is left: the user vector alone


def test_a_user_without_training_items_has_its_vector_alone() -> None:
    q, p = vectors("q", 9, 4), vectors("p", 1, 4)
    nobody = torch.zeros(1, 0, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), torch.tensor([[0, 3]])
    model = FedPerGNN(4)
    held = {"neighbours": torch.zeros(1, 0, 4), "holders": torch.zeros(1, 0)}
    params = model.prepare({"user": p} | held, {"item": q}, *nobody)
    torch.testing.assert_close(model.logits(params, {"item": q[nobody[2]]})[0], q[[0, 3]] @ p[0])


def test_by_item_only_positives_have_neighbours() -> None:
    """Why "item" is not the default: no candidate of the ranking, and no negative, is scored with neighbours."""
    split, model = small_split(), FedPerGNN(8, neighbours="item")
    result = federate(split, model, local=LOCAL, rounds=1, device="cpu")
    everyone = torch.arange(split.data.n_users)
    matched = result.state.held["holders"] > 0
    assert matched.any()
    for u in everyone.tolist():
        here = slice(int(split.train.indptr[u]), int(split.train.indptr[u + 1]))
        with_neighbours = set(split.train.items[here][matched[here]].tolist())
        candidates = {int(split.test[u]), int(split.valid[u]), *split.test_negatives[u].tolist()}
        assert not with_neighbours & candidates


@each_mode
@pytest.mark.parametrize("share", [1.0, 0.4])
def test_chunks_agree_and_a_run_resumes_bit_for_bit(mode: str | None, share: float, tmp_path: Path) -> None:
    split = small_split()
    how = {"local": LOCAL, "clients_per_round": share, "device": "cpu"}

    def model() -> FedPerGNN:
        return FedPerGNN(4, neighbours=mode, refresh=2)

    whole = federate(split, model(), rounds=5, chunk=5, **how)
    loop = federate(split, model(), rounds=5, chunk=1, **how)
    federate(split, model(), rounds=3, chunk=5, checkpoint=tmp_path, **how)
    resumed = federate(split, model(), rounds=5, chunk=5, checkpoint=tmp_path, resume=True, **how)
    assert bool(whole.state.held) == bool(mode)
    for name, value in whole.state.tensors().items():
        torch.testing.assert_close(loop.state.tensors()[name], value, rtol=0, atol=1e-5)
        assert torch.equal(resumed.state.tensors()[name], value), name


def test_scores_of_a_run_are_those_of_the_plain_module() -> None:
    """Through the loop's own neighbours and the evaluation's path."""
    split = small_split()
    result = federate(split, FedPerGNN(4), local=LOCAL, rounds=3, device="cpu", dtype=torch.float64)
    state, everything = result.state, torch.arange(40).expand(13, -1)
    scores = score(state, result.backbone, torch.arange(13), everything, split.train)
    for u in range(13):
        here = range(int(split.train.indptr[u]), int(split.train.indptr[u + 1]))
        n_u = {int(split.train.items[e]): state.held["neighbours"][e] for e in here if state.held["holders"][e] > 0}
        plain = Plain(state.private["user"][u], state.tables["item"], split.train[u].tolist(), [], n_u, "history")
        torch.testing.assert_close(scores[u], plain(list(range(40))).detach())


def test_alone_it_asks_nobody() -> None:
    result = federate(small_split(), FedPerGNN(4).alone(), local=LOCAL, rounds=2, device="cpu")
    assert result.ledger.empty and not result.state.held and not result.state.third_party
    own = result.state.own_tables["item"]
    assert not torch.equal(own[0], own[1])


@pytest.mark.parametrize("wrong", [{"neighbours": "both"}, {"refresh": 0}])
def test_arguments_that_make_no_sense_are_refused(wrong: dict) -> None:
    with pytest.raises(InputError):
        FedPerGNN(4, **wrong)
