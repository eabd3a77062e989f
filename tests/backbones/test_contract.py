"""What every backbone promises, whatever it computes: one contract, run over all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from fedlib import (
    Faults,
    FedMF,
    FedNCF,
    LocalTraining,
    PFedRec,
    Result,
    SecureAggregation,
    UserLevelDP,
    federate,
    load_result,
)
from fedlib.backbones import FCF, FCFALS, Backbone, FedAvg, FedPerGNN, FedRAP
from fedlib.data.interactions import Dataset, Split
from fedlib.data.log import UserItems
from fedlib.engine.reading import score, score_all

LOCAL = LocalTraining(batch=64, lr=0.05, lr_items=1.0)
ADAM = LocalTraining(epochs=2, batch=64, lr=0.02, lr_items=0.02, optimizer="adam", negatives_from="unobserved")
# Each with settings under which it learns the checkerboard below.
BACKBONES: dict[str, tuple[Backbone, LocalTraining]] = {
    "fedmf": (FedMF(8), ADAM),
    "fedncf": (FedNCF(8, hidden=(16, 8), gmf=8, std=0.3), ADAM),
    "fedncf-fedsllm": (FedNCF(8, hidden=(16, 8), gmf=0, dropout=0.2, std=0.3), ADAM),
    "pfedrec": (PFedRec(8), ADAM),
    "pfedrec-mlp": (PFedRec(8, hidden=(16, 8), dropout=0.2), ADAM),
    "fedavg": (FedAvg(8), ADAM),
    "fcf": (FCF(8), ADAM),
    # Its personal table lasts and learns every sampled negative by heart, a held-out item like any other, until the
    # shared table has nothing left to learn. It needs the authors' negatives, which spare held-out items.
    "fedrap": (FedRAP(8, lam=0.01, mu=0.01, std=0.1), replace(ADAM, negatives_from="untouched")),
    "fcf-als": (FCFALS(8, l2=1.0), replace(LOCAL, lr=0.1)),
    "fedpergnn": (FedPerGNN(8, refresh=2), ADAM),
}
each_backbone = pytest.mark.parametrize("kind", BACKBONES)


def checkerboard(m: int = 40, n: int = 60) -> Split:
    """User u likes the items of its own colour (u + i even) and holds one of them out; nothing else is to be known."""
    pairs = [(u, i) for u in range(m) for i in range(n) if (u + i) % 2 == 0]
    held = {u: (u * 7) % (n // 2) for u in range(m)}  # which of its own items is the last one
    lists = [[i for w, i in pairs if w == u] for u in range(m)]
    lists = [[*own[: held[u]], *own[held[u] + 1 :], own[held[u]]] for u, own in enumerate(lists)]
    log = UserItems.from_pairs(torch.arange(m).repeat_interleave(n // 2), torch.tensor(lists).flatten(), m)
    catalogue = pd.DataFrame({"title": [f"Item {i}" for i in range(n)]})
    data = Dataset(
        "checkerboard", m, n, log, [str(u) for u in range(m)], [str(i) for i in range(n)], catalogue, "", log.sha256
    )
    return data.leave_one_out(seed=0, negatives=4)


@pytest.fixture(scope="module")
def board() -> Split:
    return checkerboard()


def run(kind: str, split: Split, rounds: int = 3, **how: object) -> Result:
    backbone, local = BACKBONES[kind]
    return federate(split, backbone, local=local, rounds=rounds, device="cpu", **how)


@each_backbone
def test_it_finds_the_held_out_item_of_a_checkerboard(kind: str, board: Split) -> None:
    """The test item is of the user's colour and its rivals are of the other one: HR@1 of chance is 0.2."""
    result = run(kind, board, rounds=60, ks=(1,), evaluate_every=60)
    assert result.metrics["HR@1"] > 0.9


@each_backbone
def test_the_loss_falls(kind: str, board: Split) -> None:
    loss = run(kind, board, rounds=20, evaluate_every=20).history["loss"]
    assert loss.iloc[-1] < loss.iloc[0]


@each_backbone
def test_a_batch_equals_single_scores(kind: str, board: Split) -> None:
    result = run(kind, board)
    users, items = torch.tensor([3, 0, 7]), torch.tensor([[1, 2, 2], [5, 0, 19], [4, 4, 4]])
    many = score(result.state, result.backbone, users, items, board.train)
    assert many.shape == (3, 3)
    for k, user in enumerate(users.tolist()):
        for c, item in enumerate(items[k].tolist()):
            one = score(result.state, result.backbone, torch.tensor([user]), torch.tensor([[item]]), board.train)
            torch.testing.assert_close(many[k, c], one[0, 0], rtol=1e-5, atol=1e-6)
    everything = score_all(result.state, result.backbone, users, board.train, block=7)
    torch.testing.assert_close(everything.gather(1, items), many)


@each_backbone
def test_chunks_agree(kind: str, board: Split) -> None:
    how = {"clients_per_round": 0.5, "dtype": torch.float64}
    fast, loop = run(kind, board, chunk=5, **how), run(kind, board, chunk=1, **how)
    for name, value in fast.state.tensors().items():
        torch.testing.assert_close(loop.state.tensors()[name], value, rtol=0, atol=1e-9)


@each_backbone
def test_saving_and_loading_keeps_scores_and_recommendations(kind: str, board: Split, tmp_path: Path) -> None:
    result = run(kind, board)
    again = load_result(result.save(tmp_path / "result"))
    assert again.metrics == result.metrics
    pd.testing.assert_frame_equal(again.recommend("5", k=4), result.recommend("5", k=4))


@each_backbone
def test_a_resumed_run_is_the_same_bit_for_bit(kind: str, board: Split, tmp_path: Path) -> None:
    whole = run(kind, board, rounds=4, chunk=5)
    run(kind, board, rounds=2, chunk=5, checkpoint=tmp_path)
    resumed = run(kind, board, rounds=4, chunk=5, checkpoint=tmp_path, resume=True)
    for name, value in whole.state.tensors().items():
        assert torch.equal(resumed.state.tensors()[name], value), name


@each_backbone
def test_private_parts_are_never_in_an_upload(kind: str, board: Split) -> None:
    """Nothing private is in the ledger, and everything shared is."""
    result = run(kind, board)
    private = {*result.state.private, *result.state.own_tables}
    assert private, "a backbone without a private part would rank alike for everybody"
    assert not private & set(result.ledger["tensor"])
    assert {*result.state.tables, *result.state.shared} <= set(result.ledger["tensor"])


@each_backbone
def test_its_configuration_rebuilds_it(kind: str) -> None:
    backbone, _ = BACKBONES[kind]
    config = dict(backbone.config())
    assert config.pop("class").endswith(type(backbone).__name__)
    assert config.pop("alone") is False
    rebuilt = type(backbone)(**{name: tuple(v) if isinstance(v, list) else v for name, v in config.items()})
    assert rebuilt.config() == backbone.config()
    assert rebuilt.n_parameters(10) == backbone.n_parameters(10) > 0


def test_the_contract_covers_every_backbone_of_one_user() -> None:
    """Models of a store have their own contract in test_stores.py."""
    import fedlib.backbones as package

    public = {getattr(package, name) for name in package.__all__} - {Backbone}
    models = {cls for cls in public if isinstance(cls, type) and issubclass(cls, Backbone)}
    assert {cls for cls in models if not cls.clients_are_stores} == {
        type(backbone) for backbone, _ in BACKBONES.values()
    }


@each_backbone
def test_under_secure_aggregation_the_server_gets_one_vector_a_client_and_learns_the_same(
    kind: str, board: Split
) -> None:
    """Nothing is sent by name any more, every client's vector is as long, and the mean is what it was."""
    how = {"clients_per_round": 0.3, "dtype": torch.float64}
    plain, masked = (run(kind, board, protect=p, **how) for p in (None, SecureAggregation(clip=64.0, bits=32)))
    up = masked.ledger[masked.ledger["direction"] == "up"]
    up = up[~up["tensor"].str.startswith("third party")]
    assert up["tensor"].str.startswith("secure aggregation: ").all()
    assert up[up["tensor"].str.endswith(": mask")]["bytes_per_client"].nunique() == 1
    for name in (*plain.state.tables, *plain.state.shared):
        values = [({**r.state.tables, **r.state.shared})[name] for r in (plain, masked)]
        torch.testing.assert_close(values[1], values[0], rtol=0, atol=1e-4)


# FCF-ALS's server takes a step of Adam, whose length says nothing about its clients.
@pytest.mark.parametrize("kind", [kind for kind, (backbone, _) in BACKBONES.items() if backbone.server is None])
def test_user_level_dp_bounds_what_one_client_does_to_the_server(kind: str, board: Split) -> None:
    """The server's step without noise has a norm of at most the bound, however the backbone weighs its clients."""
    protect, still = UserLevelDP(clip=0.01, noise_multiplier=1e-15), LocalTraining(lr=1e-30, lr_items=1e-30)
    backbone, local = BACKBONES[kind]
    start = federate(board, backbone, local=still, rounds=1, device="cpu", dtype=torch.float64).state
    moved = federate(board, backbone, local=local, protect=protect, rounds=1, device="cpu", dtype=torch.float64)
    assert moved.history["epsilon"].iloc[-1] > 0
    norm = sum(
        float((value - {**start.tables, **start.shared}[name]).square().sum())
        for name, value in {**moved.state.tables, **moved.state.shared}.items()
    )
    assert 0 < norm**0.5 <= 0.01 * (1 + 1e-6)


@each_backbone
def test_failing_and_lying_clients_do_not_stop_it(kind: str, board: Split) -> None:
    faults = Faults(before=0.3, broken=0.05, hostile=0.2)
    result = run(kind, board, faults=faults)
    assert (result.history["lost before"] > 0).all() and (result.history["clients"] > 0).all()
    assert all(bool(value.isfinite().all()) for value in result.state.tensors().values())
