"""A small fusion under every backbone: its gradients, the oracle, checkpoints, protections, selectors, stores."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedlib import (
    FALE,
    FCFALS,
    FedAvg,
    FedMF,
    FedPerGNN,
    FedSelect,
    InputError,
    LocalDP,
    LocalTraining,
    PlainNoise,
    PrototypeSelection,
    RandomSelection,
    Result,
    RobustAggregation,
    SecureAggregation,
    UserLevelDP,
    federate,
    load_result,
    rng,
)
from fedlib.data.partition import at_random
from fedlib.engine.composed import Composed, model_of
from fedlib.engine.reading import Encoded, score_all
from fedlib.shapes import Batch
from tests import oracle
from tests.items.fusion import BACKBONES, COLOUR, FREE, WORDS, EncodedFusion, Fusion, fusion
from tests.select.fakes import Fake
from tests.small import BACKBONES as PLAIN
from tests.small import oracle_name, small_split

LOCAL = LocalTraining(epochs=2, batch=8, lr=0.05, lr_items=0.3, weight_decay=0.001)
HOW = {"local": LOCAL, "rounds": 3, "device": "cpu", "dtype": torch.float64, "clients_per_round": 0.6}


def run(kind: str, kind_of_fusion: type[Fusion] = Fusion, **how: object) -> Result:
    return federate(small_split(), BACKBONES[kind], items=fusion(kind=kind_of_fusion), **HOW | how)


def same(one: Result, other: Result, atol: float) -> None:
    for name, value in one.state.tensors().items():
        torch.testing.assert_close(other.state.tensors()[name], value, rtol=0, atol=atol)


@pytest.mark.parametrize("kind", BACKBONES)
def test_its_gradients_are_those_of_automatic_differentiation_of_the_whole(kind: str) -> None:
    model, k, r, b = model_of(BACKBONES[kind], fusion()), 3, 6, 9

    def draw(name: str, *shape: int) -> Tensor:
        return rng.normal(rng.key(1, name), torch.arange(torch.Size(shape).numel())).reshape(shape) / 2

    params = {name: draw(name, k, *p.shape) for name, p in model.named_parameters()}
    stored = {name: draw("table " + name, k, r, table.dim) for name, table in model.tables.items()}
    fixed = {"colour": draw("c", k, r, COLOUR), "words": draw("w", k, r, WORDS)}
    own = torch.tensor([[0.5, 0.5, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0.25, 0.25, 0.25, 0, 0.25, 0]]).double()
    local = rng.integers(torch.tensor(r), rng.key(2, "local"), torch.arange(k * b)).view(k, b)
    batch = Batch(local, (local % 2).double(), torch.full((k, b), 1 / b, dtype=torch.float64), {}, 7, own, fixed)
    loss, learnt, items = model.gradients(params, stored, batch, ("network", "items", "fusion"))
    loss, items = model.penalised(loss, items, stored, batch)

    leaves = {name: value.clone().requires_grad_() for name, value in (params | stored).items()}
    rows = {name: leaves[name] for name in stored}
    read = model.read({name: leaves[name] for name in params}, {**fixed, **rows}, own)
    gathered = {name: q.gather(1, local[:, :, None].expand(-1, -1, q.shape[2])) for name, q in read.items()}
    z = model.logits({name: leaves[name] for name in params}, gathered)
    expected = F.binary_cross_entropy_with_logits(z, batch.labels, reduction="none").mean(1)
    if kind == "fedrap":
        d, c = (q.gather(1, local[:, :, None].expand(-1, -1, FREE)) for q in (rows["personal"], rows["common"]))
        lam, mu = BACKBONES[kind].penalties(7)
        expected = expected + mu * c.abs().mean((1, 2)) - lam * (d - c).square().mean((1, 2))
    found = torch.autograd.grad(expected.sum(), [*leaves.values()])
    torch.testing.assert_close(loss, expected.detach(), rtol=0, atol=1e-12)
    for name, gradient in zip(leaves, found, strict=True):
        ours = {**learnt, **items}[name]
        torch.testing.assert_close(ours, gradient, rtol=0, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}")


class Fused(oracle.Client):
    """One of the oracle's clients on the fused vectors. What nobody trains is a table whose rows are detached; which
    items are the client's own is one that stays with it."""

    fused = ("map", "gate")

    def __init__(self, n_items: int, kind: str, inner: partial) -> None:
        super().__init__()
        self.inner = inner(n_items)
        del self.inner._modules["tables"]
        self.dual, self.kind = self.inner.dual, kind
        self.own_tables = ("own", "personal") if kind == "fedrap" else ("own",)
        widths = {name: table.dim for name, table in Composed(BACKBONES[kind], fusion()).tables.items()}
        widths |= {"colour": COLOUR, "words": WORDS, "own": 1}
        self.tables = nn.ModuleDict({name: nn.Embedding(n_items, width) for name, width in widths.items()})
        self.map, self.gate = nn.Linear(FREE + COLOUR, 8), nn.Parameter(torch.zeros(WORDS))

    def named_modules(self, *args, **how):
        """Dropout's draws are named by the site, which has no prefix in the package."""
        for name, module in super().named_modules(*args, **how):
            yield name.removeprefix("inner."), module

    def free(self) -> Tensor:
        if self.kind == "fedrap":
            return self.tables["common"].weight + self.tables["personal"].weight
        return self.tables["id" if self.kind in ("fedncf", "neumf") else "item"].weight

    def forward(self, item: Tensor) -> Tensor:
        colour, words, own = (self.tables[name].weight.detach() for name in ("colour", "words", "own"))
        v = self.map(torch.cat([self.free(), colour], 1))
        g = torch.sigmoid((own * words).sum(0) / own.sum() @ self.gate)
        q = g * v + (1 - g) * v.relu()
        parts = {"item": q, "common": q, "personal": torch.zeros_like(q)}
        if self.kind == "fedncf":
            parts = {"item": self.tables["item"].weight + q}
        if self.kind == "neumf":
            parts = {"mlp": self.tables["item"].weight + q, "gmf": self.tables["gmf"].weight + q}
        self.inner.__dict__["tables"] = {name: part.__getitem__ for name, part in parts.items()}
        return self.inner(item)

    def penalty(self, item: Tensor, t: int) -> Tensor | float:
        self.inner.__dict__["tables"] = self.tables
        return self.inner.penalty(item, t)


NEUMF = partial(oracle.NeuMF, dim=8, dim_mlp=8, hidden=(12, 6))


@pytest.mark.parametrize("share", [1.0, 0.4])
@pytest.mark.parametrize("kind", BACKBONES)
def test_three_rounds_are_those_of_the_oracle(kind: str, share: float) -> None:
    split, items = small_split(), fusion()
    n, m = split.data.n_items, split.data.n_users
    inner = NEUMF if kind == "neumf" else PLAIN[kind][1]
    start = run(kind, rounds=1, local=LocalTraining(lr=1e-300, lr_items=1e-300, batch=8)).state
    ours = run(kind, clients_per_round=share)
    model = ours.backbone

    def name_of(name: str) -> str:
        if name in model.tables:
            return name
        return name.removeprefix("items.") if name.startswith("items.") else "inner." + oracle_name(kind, name)

    own = torch.zeros(m, n, 1, dtype=torch.float64)
    own[split.train.users, split.train.items] = 1
    shared = {name_of(name): value for name, value in {**start.tables, **start.shared}.items()}
    private = {name_of(name): value for name, value in {**start.private, **start.own_tables}.items()}
    result = oracle.run(
        partial(Fused, kind=kind, inner=inner), [split.train[u].tolist() for u in range(m)], n,
        shared=shared | items.fixed(), private=private | {"own": own}, rounds=3, epochs=2, batch=8, lr=0.05,
        lr_items=0.3, weight_decay=0.001, optimizer="sgd", negatives=4, clients_per_round=share,
        aggregate_items=model.aggregate_items, aggregate_params=model.aggregate_network, seed=0, dtype=torch.float64,
        exclude=[split.data.interactions[u].tolist() for u in range(m)],
    )  # fmt: skip
    theirs = {**result.shared, **result.private}
    for group in (ours.state.tables, ours.state.shared, ours.state.private, ours.state.own_tables):
        for name, value in group.items():
            torch.testing.assert_close(value, theirs[name_of(name)], rtol=0, atol=1e-9)
    scores = score_all(ours.state, model, torch.arange(m), split.train)
    for u in (0, 7):
        told = oracle.scores(partial(Fused, kind=kind, inner=inner), result, u)
        torch.testing.assert_close(scores[u], told, rtol=0, atol=1e-8)


@pytest.mark.parametrize("kind", BACKBONES)
def test_chunks_agree_and_what_is_read_ahead_is_the_same(kind: str) -> None:
    one = run(kind, chunk=1)
    same(one, run(kind, chunk=5), 1e-11)
    ahead = run(kind, EncodedFusion, chunk=5)
    same(one, ahead, 1e-11)
    assert (Encoded.of(ahead.state, ahead.backbone) is None) == (kind == "fedrap")
    direct = score_all(ahead.state, ahead.backbone, torch.arange(13), ahead.data.train)
    cached = Encoded.of(ahead.state, ahead.backbone)
    through = score_all(ahead.state, ahead.backbone, torch.arange(13), ahead.data.train, encoded=cached)
    torch.testing.assert_close(through, direct, rtol=0, atol=1e-12)
    assert ahead.metrics == pytest.approx(one.metrics)


@pytest.mark.parametrize("kind", BACKBONES)
def test_a_run_resumes_bit_for_bit_and_its_result_comes_back(kind: str, tmp_path: Path) -> None:
    how = {"dtype": torch.float32, "best": "NDCG@10"}
    whole = run(kind, **how)
    run(kind, rounds=2, checkpoint=tmp_path / "c", **how)
    resumed = run(kind, checkpoint=tmp_path / "c", resume=True, **how)
    for name, value in whole.state.tensors().items():
        assert torch.equal(resumed.state.tensors()[name], value), name
    again = load_result(whole.save(tmp_path / "saved"))
    assert again.metrics == whole.metrics
    pd_one, pd_two = (result.recommend("u3", 5) for result in (whole, again))
    assert pd_one.equals(pd_two)


@pytest.mark.parametrize("kind", BACKBONES)
def test_private_parts_stay_and_fixed_features_are_sent_once(kind: str) -> None:
    result = run(kind)
    sent = result.ledger
    names = {name.rpartition("/")[2] for name in sent["tensor"]}
    assert not names & {*result.state.private, *result.state.own_tables}
    assert "items.gate" in result.state.private and "items.map.weight" in names
    once = sent[sent["tensor"] == "words (once)"]
    assert set(once["direction"]) == {"down"}
    assert int(once["clients"].sum()) == int(result.state.informed["fixed"].sum()) <= 13
    assert (once["bytes_per_client"] == 40 * WORDS * 8).all()
    assert not sent[(sent["direction"] == "up") & sent["tensor"].isin(["words", "colour"])].size


PROTECTIONS = {
    "secagg": SecureAggregation(clip=100.0, bits=24),
    "user-dp": UserLevelDP(clip=1.0, noise_multiplier=0.5),
    "local-dp": LocalDP(),
    "noise": PlainNoise(),
    "median": RobustAggregation(),
    "krum": RobustAggregation(rule="multi-krum"),
}


@pytest.mark.parametrize("name", PROTECTIONS)
def test_every_protection_runs_and_a_sum_under_masks_is_the_plain_one(name: str) -> None:
    for kind in ("fedavg", "fedncf", "pfedrec"):
        result = run(kind, protect=PROTECTIONS[name])
        assert result.state.tables["item"].isfinite().all()
        if name == "secagg":
            same_tables = run(kind).state.tables
            for table, value in same_tables.items():
                torch.testing.assert_close(result.state.tables[table], value, rtol=0, atol=1e-4)


def test_selectors_look_at_what_is_read() -> None:
    """FALE's Gram matrix and the prototypes are as wide as the vectors the model reads, not as those it stores."""
    fale = run("fedavg", select=FALE(0.4, over="positives"))
    assert fale.state.places["select"]["gram"].shape == (8, 8)
    seen = []

    class Watched(PrototypeSelection):
        def judge(self, work, among, message):
            vectors = work.received.vectors(work.positives)
            model, state, k = work.received.model, work.given, 0
            client, items = int(work.clients[k]), work.positives[k, : work.count[k]]
            mixture = Mixture8(state, client)
            torch.testing.assert_close(vectors[k, : len(items)], mixture(items, work.owned[k, : work.owned_count[k]]))
            seen.append(model)
            return super().judge(work, among, message)

    run("fedavg", select=Watched(0.4, over="positives", reading="intent", prototypes=Fake(40, 8)))
    assert seen
    run("pfedrec", select=FedSelect(0.4, over="positives", warm_up=1))
    run("fedmf", select=RandomSelection(0.4, over="positives"))
    with pytest.raises(InputError, match=r"Eq\. 16"):
        run(
            "fedavg",
            select=PrototypeSelection(0.4, over="positives", reading="intent", prototypes=Fake(40, 8), update_every=1),
        )


class Mixture8:
    """What a client reads, written out from the state."""

    def __init__(self, state, client: int) -> None:
        self.state, self.client = state, client

    def __call__(self, items: Tensor, own: Tensor) -> Tensor:
        shared, fixed = self.state.shared, self.state.fixed
        x = torch.cat([self.state.tables["item"][items], fixed["colour"][items]], 1)
        v = x @ shared["items.map.weight"].T + shared["items.map.bias"]
        g = torch.sigmoid(fixed["words"][own].mean(0) @ self.state.private["items.gate"][self.client])
        return g * v + (1 - g) * v.relu()


@pytest.mark.parametrize("kind", ["fedavg", "fedmf", "fedncf", "pfedrec-mlp"])
def test_stores_train_it_for_their_users(kind: str) -> None:
    """One user a store is one client a user, but for the shuffling, which a full batch takes away."""
    split = small_split()
    alone = split.with_stores(at_random(13, 13))
    how = HOW | {"local": LocalTraining(batch=1000, lr=0.05, lr_items=0.3), "clients_per_round": 1.0}
    backbone = BACKBONES[kind]
    if kind in ("fedncf", "pfedrec-mlp"):  # dropout's draws are named by the sample, and a store's samples by its user
        backbone = type(backbone)(8, hidden=(12, 6), std=0.3, **({"gmf": 0} if kind == "fedncf" else {}))
    users = federate(split, backbone, items=fusion(), **how)
    stores = federate(alone, backbone, items=fusion(), **how)
    for group in ("tables", "shared"):
        for name, value in getattr(users.state, group).items():
            torch.testing.assert_close(getattr(stores.state, group)[name], value, rtol=0, atol=1e-10)
    torch.testing.assert_close(stores.state.private["items.gate"], users.state.private["items.gate"])
    few = split.with_stores(at_random(13, 3))
    assert federate(few, backbone, items=fusion(kind=EncodedFusion), **how).metrics["HR@10"] >= 0


def test_what_cannot_be_composed_gets_a_sentence() -> None:
    with pytest.raises(InputError, match="does not take gradient steps on item rows"):
        federate(small_split(), FCFALS(8), items=fusion(), rounds=1)
    with pytest.raises(InputError, match="sums its items' vectors before it trains"):
        federate(small_split(), FedPerGNN(8), items=fusion(), rounds=1)
    with pytest.raises(InputError, match="40 items, but the data has"):
        federate(small_split(n=41), FedMF(8), items=fusion(), rounds=1)


def test_other_features_are_another_run(tmp_path: Path) -> None:
    """Torch prints large tensors with dots in the middle; a digest sees every number."""
    how = HOW | {"checkpoint": tmp_path, "checkpoint_every": 1}
    split, big = small_split(m=9, n=1200), fusion(1200)
    federate(split, FedAvg(8), items=big, **how | {"rounds": 1})
    other = fusion(1200)
    other.words[600, 2] += 1e-3
    with pytest.raises(InputError, match="another run"):
        federate(split, FedAvg(8), items=other, **how | {"resume": True})
