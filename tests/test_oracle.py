"""The judge is judged: the oracle against numbers and formulas worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from fedlib import rng
from tests.oracle import (
    FedMF,
    FedNCF,
    NeuMF,
    OracleResult,
    PFedRec,
    Upload,
    aggregate,
    batches,
    draw_samples,
    dropout_mask,
    participants,
    run,
    scores,
)

POSITIVES = [[0, 1], [4, 2, 5], [6]]
DEFAULTS: dict[str, Any] = {
    "rounds": 1,
    "epochs": 1,
    "batch": 1000,
    "lr": 0.5,
    "lr_items": 2.0,
    "weight_decay": 0.0,
    "optimizer": "sgd",
    "negatives": 1,
    "clients_per_round": 1.0,
    "aggregate_items": "uniform",
    "aggregate_params": "uniform",
    "seed": 3,
    "dtype": torch.float64,
}


def start(**shapes: Sequence[int]) -> dict[str, Tensor]:
    """Random values under the given names; a double underscore stands for a dot."""
    return {
        name.replace("__", "."): rng.normal(rng.key(0, "test", k), torch.arange(math.prod(shape))).reshape(*shape) / 2
        for k, (name, shape) in enumerate(shapes.items())
    }


def bce(logit: Tensor, label: Tensor) -> Tensor:
    return (torch.nn.functional.softplus(logit) - label * logit).mean()


def test_one_round_of_fedmf_by_hand() -> None:
    """Two users, three items, logits 0 and ±ln 3, so that every probability is 1/4, 1/2 or 3/4."""
    a = math.log(3)
    table = torch.tensor([[a], [0.0], [-a]], dtype=torch.float64)
    result = run(
        partial(FedMF, dim=1),
        [[0, 1], [0, 2]],  # one item is left for each user's two negatives
        3,
        shared={"item": table},
        private={"user": torch.tensor([[1.0], [-1.0]])},
        **DEFAULTS | {"lr": 1.0},
    )
    assert_close(result.private["user"], torch.tensor([[1 + 3 * a / 16], [-1 + a / 8]], dtype=torch.float64))
    moved = torch.tensor([[-1 / 8], [3 / 8], [-3 / 16]], dtype=torch.float64)
    assert_close(result.shared["item"], table + moved)
    first, second = (3 * math.log(4 / 3) + math.log(2)) / 4, (math.log(4) + math.log(4 / 3) + 2 * math.log(2)) / 4
    assert result.losses == pytest.approx([(first + second) / 2])


def fedmf_alone(p: np.ndarray, q: np.ndarray, rounds: int, epochs: int, optimizer: str) -> tuple[np.ndarray, ...]:
    """One user who likes items 0 and 1 of 3 and draws item 2 twice: full-batch steps from the formulas."""
    label, sample = np.array([1, 1, 0, 0]), np.array([0, 1, 2, 2])
    theta, rate = np.vstack([p, q]), np.array([[0.05], [0.2], [0.2], [0.2]])
    for _ in range(rounds):
        m, v = np.zeros_like(theta), np.zeros_like(theta)
        for k in range(1, epochs + 1):
            p, q = theta[:1], theta[1:]
            error = (1 / (1 + np.exp(-(q @ p.T).ravel()[sample])) - label) / 4
            per_item = np.bincount(sample, error, minlength=3)[:, None]
            g = np.vstack([per_item.T @ q, per_item * p]) + 0.1 * theta
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            adam = m / (1 - 0.9**k) / (np.sqrt(v / (1 - 0.999**k)) + 1e-8)
            theta = theta - rate * (adam if optimizer == "adam" else g)
    return theta[:1], theta[1:]


@pytest.mark.parametrize("mode", ["uniform", "size", "row"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_federation_of_one_is_plain_training(optimizer: str, mode: str) -> None:
    """Weight decay and Adam's moments included; the moments start anew each round."""
    values = start(user=(1, 2), item=(3, 2))
    p, q = fedmf_alone(values["user"].numpy(), values["item"].numpy(), 2, 3, optimizer)
    options = DEFAULTS | {"rounds": 2, "epochs": 3, "lr": 0.05, "lr_items": 0.2, "weight_decay": 0.1}
    options |= {"optimizer": optimizer, "aggregate_items": mode}
    shared, private = {"item": values["item"]}, {"user": values["user"]}
    result = run(partial(FedMF, dim=2), [[0, 1]], 3, shared=shared, private=private, **options)
    assert_close(result.private["user"], torch.from_numpy(p))
    assert_close(result.shared["item"], torch.from_numpy(q))


def fedncf_logits(v: Mapping[str, Tensor], user: int, item: Tensor) -> Tensor:
    q = v["item"][item]
    h = torch.cat([v["user"][user].repeat(len(item), 1), q], dim=1)
    for k in range(2):
        h = torch.relu(h @ v[f"mlp.linear{k}.weight"].T + v[f"mlp.linear{k}.bias"])
    return h @ v["mlp.linear2.weight"][0] + v["mlp.linear2.bias"]


def neumf_logits(v: Mapping[str, Tensor], user: int, item: Tensor) -> Tensor:
    h = torch.cat([v["user_mlp"][user].repeat(len(item), 1), v["mlp"][item]], dim=1)
    for k in range(2):
        h = torch.relu(h @ v[f"tower.linear{k}.weight"].T + v[f"tower.linear{k}.bias"])
    both = torch.cat([v["user_gmf"][user] * v["gmf"][item], h], dim=1)
    return both @ v["out.weight"][0] + v["out.bias"]


FEDNCF = start(
    item=(7, 3),
    mlp__linear0__weight=(5, 6),
    mlp__linear0__bias=(5,),
    mlp__linear1__weight=(4, 5),
    mlp__linear1__bias=(4,),
    mlp__linear2__weight=(1, 4),
    mlp__linear2__bias=(1,),
    user=(3, 3),
)
NEUMF = start(
    gmf=(7, 2),
    mlp=(7, 3),
    tower__linear0__weight=(5, 6),
    tower__linear0__bias=(5,),
    tower__linear1__weight=(4, 5),
    tower__linear1__bias=(4,),
    out__weight=(1, 6),
    out__bias=(1,),
    user_gmf=(3, 2),
    user_mlp=(3, 3),
)


MODELS = [
    pytest.param(partial(FedNCF, dim=3, hidden=(5, 4)), FEDNCF, fedncf_logits, id="fedncf"),
    pytest.param(partial(NeuMF, dim=2, dim_mlp=3, hidden=(5, 4)), NEUMF, neumf_logits, id="neumf"),
]


@pytest.mark.parametrize("items", ["uniform", "size", "row"])
@pytest.mark.parametrize("params", ["uniform", "size"])
@pytest.mark.parametrize(("model", "values", "logits"), MODELS)
def test_one_full_batch_step_is_one_centralised_step(
    model: Any, values: dict[str, Tensor], logits: Any, items: str, params: str
) -> None:
    """With one SGD step, averaging models is averaging gradients: each client's by autograd on a plain function."""
    v = {name: value.clone().requires_grad_() for name, value in values.items()}
    samples = [draw_samples(u, POSITIVES[u], POSITIVES[u], 7, 2, 3, 0) for u in range(3)]
    losses = [bce(logits(v, u, s.item), s.label) for u, s in enumerate(samples)]
    gradients = [torch.autograd.grad(loss, list(v.values())) for loss in losses]
    touched = torch.stack([torch.isin(torch.arange(7), s.item) for s in samples]).double()
    assert touched.sum(0).unique().tolist() == [1, 2, 3]  # every kind of row but the untouched
    weights = {"uniform": torch.ones(3, 1).double() / 3, "size": torch.tensor([[2.0], [3.0], [1.0]]).double() / 6}
    weights |= {"row": touched / touched.sum(0)}  # (users, rows)
    shared, private = ({k: x for k, x in values.items() if k.startswith("user") == own} for own in (False, True))
    options = DEFAULTS | {"negatives": 2, "aggregate_items": items, "aggregate_params": params}
    result = run(model, POSITIVES, 7, shared=shared, private=private, **options)
    assert result.losses == pytest.approx([torch.stack(losses).mean().item()])
    for name, each in zip(v, map(torch.stack, zip(*gradients, strict=True)), strict=True):
        if name in private:
            assert_close(result.private[name], values[name] - 0.5 * each.sum(0))
        else:
            rate, mode = (2.0, items) if name in ("item", "gmf", "mlp") else (0.5, params)
            weight = weights[mode].reshape(3, -1, *[1] * (each.dim() - 2))
            assert_close(result.shared[name], values[name] - rate * (weight * each).sum(0))
    for u in range(3):
        assert_close(scores(model, result, u), logits(result.shared | result.private, u, torch.arange(7)))


def pfedrec_run(values: dict[str, Tensor], model: Any, **options: Any) -> OracleResult:
    shared, private = {"item": values["item"]}, {k: v for k, v in values.items() if k != "item"}
    return run(model, POSITIVES, 7, shared=shared, private=private, **DEFAULTS | options)


def test_pfedrec_moves_the_items_with_the_new_score_function() -> None:
    """Closed form: first w and b, then q_i by the errors and the w of the model just updated."""
    values = start(item=(7, 3), score__weight=(3, 1, 3), score__bias=(3, 1))
    result = pfedrec_run(values, partial(PFedRec, dim=3))
    tables, losses = [], []
    for u in range(3):
        sample = draw_samples(u, POSITIVES[u], POSITIVES[u], 7, 1, 3, 0)
        table, w, b = values["item"].clone(), values["score.weight"][u, 0], values["score.bias"][u]
        q = table[sample.item]
        losses.append(bce(q @ w + b, sample.label).item())
        error = (torch.sigmoid(q @ w + b) - sample.label) / len(sample.label)
        w, b = w - 0.5 * error @ q, b - 0.5 * error.sum()
        error = (torch.sigmoid(q @ w + b) - sample.label) / len(sample.label)
        tables.append(table.index_add(0, sample.item, -2.0 * error[:, None] * w))
        assert_close(result.private["score.weight"][u, 0], w)
        assert_close(result.private["score.bias"][u], b)
        assert_close(result.personal_tables[u], tables[u])
        assert_close(scores(partial(PFedRec, dim=3), result, u), tables[u] @ w + b)
    assert_close(result.shared["item"], torch.stack(tables).mean(0))
    assert result.losses == pytest.approx([sum(losses) / 3])  # before the first of the two steps


def test_a_client_keeps_the_table_of_its_last_participation() -> None:
    values = start(item=(7, 3), score__weight=(3, 1, 3), score__bias=(3, 1))
    share = {"clients_per_round": 0.4, "seed": 4}
    one, two = (pfedrec_run(values, partial(PFedRec, dim=3), rounds=rounds, **share) for rounds in (1, 2))
    [first], [second] = (participants(3, 0.4, 4, t) for t in (0, 1))
    never = ({0, 1, 2} - {first, second}).pop()
    assert first != second  # else the seed proves nothing
    assert_close(two.personal_tables[never], values["item"], rtol=0, atol=0)
    assert_close(two.personal_tables[first], one.shared["item"], rtol=0, atol=0)
    assert_close(two.personal_tables[second], two.shared["item"], rtol=0, atol=0)
    assert (one.shared["item"] != two.shared["item"]).any()


def mask_by_hand(site: str, epoch: int, user: int, sample_id: Tensor, p: float, width: int) -> Tensor:
    """Plain integers: a word's four pairs of bytes, the lowest first, against p 2^16."""
    rows = []
    for x in sample_id.tolist():
        row: list[float] = []
        for k in range(math.ceil(width / 4)):
            counter = torch.tensor(x * math.ceil(width / 4) + k)
            word = rng.bits(rng.key(3, f"dropout:{site}", 0, epoch), torch.tensor(user), counter).item()
            fields = np.frombuffer(int(word).to_bytes(8, "little", signed=True), dtype="<u2")
            row += [1 / (1 - p) if v >= p * 65536 else 0.0 for v in fields.tolist()]
        rows.append(row[:width])
    return torch.tensor(rows, dtype=torch.float64)


def test_dropout_keeps_its_share_and_the_scale() -> None:
    mask = dropout_mask(rng.key(3, "dropout:x", 0, 0), 5, torch.arange(4000), 0.25, 10)
    assert set(mask.unique().tolist()) == {0.0, 1 / 0.75}
    assert (mask > 0).double().mean(0).sub(0.75).abs().max() < 5 * math.sqrt(0.75 * 0.25 / 4000)


def test_a_draw_equal_to_the_dropout_threshold_is_kept() -> None:
    stream, sample_id = rng.key(3, "dropout:x", 0, 0), torch.tensor([7])
    word = int(rng.bits(stream, torch.tensor(5), sample_id))
    p = (word & 0xFFFF) / 65536
    assert dropout_mask(stream, 5, sample_id, p, 1).item() == 1 / (1 - p)
    assert dropout_mask(stream, 5, sample_id, p + 1 / 65536, 1).item() == 0


def test_both_steps_of_a_batch_see_the_dropout_mask_of_the_specification() -> None:
    """PFedRec with an MLP: ReLU, then the mask; the loss of the second step is masked alike; scores are not."""
    model = partial(PFedRec, dim=3, hidden=(6, 5), dropout=0.25)
    shapes = {"linear0": (6, 3), "linear1": (5, 6), "linear2": (1, 5)}
    weights = {f"score__{name}__weight": (3, *shape) for name, shape in shapes.items()}
    biases = {f"score__{name}__bias": (3, shape[0]) for name, shape in shapes.items()}
    values = start(item=(7, 3), **weights, **biases)
    result = pfedrec_run(values, model, epochs=2)

    def logits(v: Mapping[str, Tensor], h: Tensor, masks: Sequence[Tensor | float]) -> Tensor:
        for k, mask in enumerate(masks):
            h = torch.relu(h @ v[f"score.linear{k}.weight"].T + v[f"score.linear{k}.bias"]) * mask
        return h @ v["score.linear2.weight"][0] + v["score.linear2.bias"]

    for u in range(3):
        s = draw_samples(u, POSITIVES[u], POSITIVES[u], 7, 1, 3, 0)
        v = {name: (value if name == "item" else value[u]) for name, value in values.items()}
        for epoch in range(2):
            masks = [mask_by_hand(f"score.dropout{k}", epoch, u, s.id, 0.25, width) for k, width in enumerate((6, 5))]
            for names, rate in ([name for name in v if name != "item"], 0.5), (["item"], 2.0):
                v = {name: value.detach().requires_grad_() for name, value in v.items()}
                loss = bce(logits(v, v["item"][s.item], masks), s.label)
                gradient = torch.autograd.grad(loss, [v[name] for name in names])
                v |= {name: v[name] - rate * g for name, g in zip(names, gradient, strict=True)}
        assert_close(result.personal_tables[u], v["item"].detach())
        assert_close(result.private["score.linear0.weight"][u], v["score.linear0.weight"].detach())
        assert_close(scores(model, result, u), logits(v, v["item"], (1.0, 1.0)).detach())


def one_pair(**options: Any) -> Tensor:
    """How far each of 5 item rows moves for one user with positive 0, negative 4 and p = (1, -1)."""
    item = torch.linspace(-1, 1, 10, dtype=torch.float64).reshape(5, 2)
    shared, private = {"item": item}, {"user": torch.tensor([[1.0, -1.0]])}
    options = DEFAULTS | {"optimizer": "adam", "lr": 0.0, "lr_items": 0.01, "exclude": [[0, 1, 2, 3]]} | options
    return (run(partial(FedMF, dim=2), [[0]], 5, shared=shared, private=private, **options).shared["item"] - item).abs()


def test_weight_decay_under_dense_adam_drags_rows_nobody_touched() -> None:
    """Adam divides a gradient by its size, so even 1e-4 of decay moves every row by the whole learning rate."""
    dense = one_pair(dense_table=True, weight_decay=1e-4, epochs=2)
    assert_close(dense[1:4], torch.full((3, 2), 0.02, dtype=torch.float64), rtol=0.01, atol=0)
    rows = one_pair(weight_decay=1e-4, epochs=2)
    assert (rows[1:4] == 0).all()
    assert_close(rows[[0, 4]], dense[[0, 4]])


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_without_weight_decay_the_dense_table_changes_nothing(optimizer: str) -> None:
    """A row that never had a gradient has no momentum either."""
    options = {"optimizer": optimizer, "epochs": 3, "batch": 1}
    assert_close(one_pair(dense_table=True, **options), one_pair(**options))


def test_adam_moves_a_touched_row_in_a_step_without_its_samples() -> None:
    """Two batches of one: the first row coasts on momentum, the second starts at Adam's second step."""
    coasting = 1 + 0.09 / (1 - 0.9**2) / math.sqrt(0.999 * 0.001 / (1 - 0.999**2))
    late = 0.1 / (1 - 0.9**2) / math.sqrt(0.001 / (1 - 0.999**2))
    moved = one_pair(batch=1)[[0, 4]].amax(1).sort().values
    assert_close(moved, torch.tensor([late, coasting], dtype=torch.float64) * 0.01, rtol=1e-5, atol=0)


def test_the_loss_is_the_mean_of_batch_means_and_batches_cover_every_sample() -> None:
    values = start(item=(7, 3), user=(1, 3))
    s = draw_samples(0, [0, 1], [0, 1], 7, 2, 3, 0)
    order = list(batches(s.id, 4, user=0, seed=3, t=0, epoch=0))
    assert [len(chosen) for chosen in order] == [4, 2]
    assert sorted(torch.cat(order).tolist()) == list(range(6))
    stream = rng.key(3, "shuffle", 0, 0)
    halved = [(int(rng.bits(stream, torch.tensor(0), x)) % 2**64) // 2 for x in s.id]  # unsigned, lowest bit dropped
    assert torch.cat(order).tolist() == sorted(range(6), key=halved.__getitem__)
    assert min(halved) < 2**62 < max(halved)  # both signs of the raw draw, which would sort otherwise
    assert not torch.equal(torch.cat(order), torch.cat(list(batches(s.id, 4, user=0, seed=3, t=0, epoch=1))))
    logit = values["item"][s.item] @ values["user"][0]
    options = DEFAULTS | {"lr": 0.0, "lr_items": 0.0, "negatives": 2, "batch": 4}
    shared, private = {"item": values["item"]}, {"user": values["user"]}
    result = run(partial(FedMF, dim=3), [[0, 1]], 7, shared=shared, private=private, **options)
    assert result.losses == pytest.approx([sum(bce(logit[c], s.label[c]).item() for c in order) / 2])


def test_aggregation_by_hand() -> None:
    before = torch.tensor([[10.0], [20.0], [30.0]])
    values = [torch.tensor([[1.0], [2.0], [30.0]]), torch.tensor([[4.0], [20.0], [30.0]])]
    uploads = [Upload({}, torch.tensor([0, 1]), 1), Upload({}, torch.tensor([0]), 3)]
    assert aggregate("uniform", before, values, uploads).flatten().tolist() == [2.5, 11.0, 30.0]
    assert aggregate("size", before, values, uploads).flatten().tolist() == [3.25, 15.5, 30.0]
    assert aggregate("row", before, values, uploads).flatten().tolist() == [2.5, 2.0, 30.0]


@given(st.integers(1, 30), st.floats(0.01, 1.0), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_participants_are_the_smallest_draws(n_users: int, share: float, t: int) -> None:
    chosen = participants(n_users, share, 1, t)
    draws = rng.bits(rng.key(1, "clients", t), torch.arange(n_users))
    assert len(chosen) == max(1, round(share * n_users))
    assert chosen == sorted(set(chosen))
    assert set(draws[chosen].tolist()) == set(draws.sort().values[: len(chosen)].tolist())


def test_negatives_by_hand() -> None:
    """User 4 of 6 items with 1 and 3 positive and 5 excluded as well: the r-th of 0, 2, 4."""
    s = draw_samples(4, [3, 1], [1, 3, 5], 6, 2, seed=9, t=7)
    stream = rng.key(9, "negatives", 7)
    drawn = [int(rng.integers(3, stream, torch.tensor(4), torch.tensor(c))) for c in (6, 7, 2, 3)]
    a, b, c, d = ([0, 2, 4][r] for r in drawn)
    assert s.item.tolist() == [3, a, b, 1, c, d]
    assert s.label.tolist() == [1, 0, 0, 1, 0, 0]
    assert s.id.tolist() == [9, 10, 11, 3, 4, 5]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"positives": [[0], []]}, "every user"),
        ({"aggregate_params": "row"}, "network weights"),
        ({"aggregate_items": "median"}, "aggregation is"),
        ({"shared": {"table": torch.zeros(3, 1)}}, "Missing key"),
        ({"shared": {"item": torch.zeros(1, 1)}}, "size mismatch"),
    ],
)
def test_a_wrong_call_is_refused(change: dict[str, Any], error: str) -> None:
    call = {"positives": [[0], [1]], "n_items": 3, "shared": {"item": torch.zeros(3, 1)}}
    with pytest.raises((ValueError, RuntimeError), match=error):
        run(partial(FedMF, dim=1), private={"user": torch.zeros(2, 1)}, **DEFAULTS | call | change)
