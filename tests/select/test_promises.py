"""What every selector promises, whatever it selects by: one contract, run over all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import fedlib.select
from fedlib import (
    Faults,
    FedMF,
    InputError,
    LocalDP,
    LocalTraining,
    PlainNoise,
    Result,
    SecureAggregation,
    UserLevelDP,
    federate,
)
from fedlib.backbones import FedPerGNN
from fedlib.select.base import Selection, share_of
from tests.select.test_base import shuffled
from tests.small import selectors, small_split

SPLIT = small_split()
LOCAL = LocalTraining(epochs=2, batch=8, lr=0.05, lr_items=0.05, optimizer="adam")
NAMES = list(selectors())
SENDING = {f"{name}{over}" for name in ("FALE", "FedSelect", "hard_min", "literal_desc", "drawn")
           for over in ("", " over samples")}  # those that upload something  # fmt: skip
every_selector = pytest.mark.parametrize("name", NAMES)


def run(name: str, rounds: int = 4, split=SPLIT, **how) -> Result:
    how = {"clients_per_round": 0.6, "evaluate_every": 4} | how
    return federate(split, FedMF(8), select=selectors()[name], local=LOCAL, rounds=rounds, device="cpu", **how)


def test_every_selector_is_held_to_it() -> None:
    public = {getattr(fedlib.select, name) for name in fedlib.select.__all__} - {Selection}
    assert public == {type(place) for place in selectors().values()}


@every_selector
def test_chunks_agree(name: str) -> None:
    loop, fast = (run(name, chunk=c, dtype=torch.float64) for c in (1, 5))
    for part, value in loop.state.tensors().items():
        torch.testing.assert_close(fast.state.tensors()[part], value, rtol=0, atol=1e-9)


@every_selector
def test_the_order_in_which_a_client_lists_its_samples_is_nothing(name: str) -> None:
    one, other = (run(name, split=split).state for split in (SPLIT, shuffled(SPLIT)))
    kept = [{(u, i) for u, i, used in zip(split.train.users.tolist(), split.train.items.tolist(),
                                          state.memory["select"]["used"].tolist(), strict=True) if used}
            for split, state in ((SPLIT, one), (shuffled(SPLIT), other))]  # fmt: skip
    assert kept[0] == kept[1]
    for part, value in one.tensors().items():
        if not part.startswith("memory"):
            assert torch.equal(other.tensors()[part], value), part


@every_selector
def test_a_resumed_run_is_the_same_bit_for_bit(name: str, tmp_path: Path) -> None:
    whole = run(name, rounds=4)
    run(name, rounds=3, checkpoint=tmp_path)
    resumed = run(name, rounds=4, checkpoint=tmp_path, resume=True)
    for part, value in whole.state.tensors().items():
        assert torch.equal(resumed.state.tensors()[part], value), part


@every_selector
def test_nothing_private_and_nothing_kept_is_sent(name: str) -> None:
    result = run(name)
    sent = set(result.ledger["tensor"])
    assert not sent & {*result.state.private, *(f"select/{kept}" for kept in result.state.memory["select"])}
    up = result.ledger[result.ledger["direction"] == "up"]
    assert up["tensor"].str.startswith("select/").any() == (name in SENDING)


@every_selector
def test_secure_aggregation_gives_the_server_the_same(name: str) -> None:
    how = {"rounds": 2, "dtype": torch.float64}
    plain, masked = (run(name, protect=p, **how) for p in (None, SecureAggregation(clip=64.0, bits=32)))
    up = masked.ledger[masked.ledger["direction"] == "up"]
    assert up["tensor"].str.startswith("secure aggregation: ").all()
    torch.testing.assert_close(masked.state.tables["item"], plain.state.tables["item"], rtol=0, atol=1e-4)
    for part, value in plain.state.places["select"].items():
        torch.testing.assert_close(masked.state.places["select"][part], value, rtol=0, atol=1e-4)


@every_selector
def test_user_level_privacy_covers_it_or_refuses_it(name: str) -> None:
    protect = UserLevelDP(clip=0.01, noise_multiplier=1e-15)
    if name in SENDING:
        with pytest.raises(InputError, match="is sent beside the update, and UserLevelDP does not cover it"):
            run(name, protect=protect, clients_per_round=1.0)
        return
    still = federate(SPLIT, FedMF(8), local=LocalTraining(lr=1e-30), rounds=1, device="cpu", dtype=torch.float64)
    moved = run(name, rounds=1, protect=protect, clients_per_round=1.0, dtype=torch.float64).state.tables["item"]
    assert 0 < float((moved - still.state.tables["item"]).norm()) <= 0.01 * (1 + 1e-6)


@every_selector
@pytest.mark.parametrize("protect", [LocalDP(), PlainNoise()])
def test_noise_goes_on_top(name: str, protect) -> None:
    assert bool(run(name, rounds=2, protect=protect).state.tables["item"].isfinite().all())


@every_selector
def test_what_a_lost_client_sends_for_it_is_lost_too(name: str) -> None:
    """Failing and lying clients do not stop it, and a masked sum is over those whose upload arrives."""
    faults = Faults(before=0.2, during=0.2, after=0.3, broken=0.1, hostile=0.2)
    result = run(name, faults=faults, clients_per_round=1.0)
    assert (result.history["clients"] > 0).all()
    assert all(bool(value.isfinite().all()) for value in result.state.tensors().values())
    masked = run(name, faults=Faults(after=0.4), protect=SecureAggregation(clip=64.0, bits=32), clients_per_round=1.0)
    plain = run(name, faults=Faults(after=0.4), clients_per_round=1.0)
    assert masked.history["clients"].tolist() == plain.history["clients"].tolist()


def test_counts_of_lost_clients_are_not_counted() -> None:
    result = run("hard_min", rounds=1, faults=Faults(after=0.5), clients_per_round=1.0)
    arrived = int(result.history["clients"].iloc[0])
    assert 0 < arrived < 13
    assert 0 < int(result.state.places["select"]["counts"].sum()) < len(SPLIT.train.items)


@every_selector
def test_its_share_is_used_and_no_more(name: str) -> None:
    result = run(name, rounds=1, clients_per_round=1.0)
    own, number = result.state.memory["select"], SPLIT.train.counts
    used = torch.zeros(13, dtype=torch.int64).index_add_(0, SPLIT.train.users, own["used"].long())
    if "kept" not in own:
        assert torch.equal(used, share_of(number, 0.4))
        return
    assert torch.equal(own["kept"], torch.stack([share_of(5 * number, 0.4), used], dim=1))
    share = float(used.sum() / own["kept"][:, 0].sum())
    assert result.history["positives kept"].iloc[-1] == pytest.approx(share)


@pytest.mark.parametrize("name", ["RandomSelection", *sorted(SENDING)])
def test_a_graph_of_neighbours_goes_with_it(name: str) -> None:
    result = federate(SPLIT, FedPerGNN(8, refresh=2), select=selectors()[name], local=LOCAL, rounds=3, device="cpu",
                      dtype=torch.float64)  # fmt: skip
    loop = federate(SPLIT, FedPerGNN(8, refresh=2), select=selectors()[name], local=LOCAL, rounds=3, device="cpu",
                    dtype=torch.float64, chunk=1)  # fmt: skip
    for part, value in loop.state.tensors().items():
        torch.testing.assert_close(result.state.tensors()[part], value, rtol=0, atol=1e-9)
