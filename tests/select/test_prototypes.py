"""FedSLLM's place: what clients do with prototypes, what they send, and what the server makes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fedlib import (
    FedMF,
    FedNCF,
    InputError,
    LocalTraining,
    PFedRec,
    PrototypeSelection,
    SecureAggregation,
    UserLevelDP,
    federate,
)
from fedlib.backbones import Backbone, FedPerGNN, FedRAP
from fedlib.choices import OVER, READINGS
from fedlib.items.autoencoder import align
from fedlib.prototypes.sets import PrototypeSet
from fedlib.select.base import share_of
from fedlib.select.prototypes import restored, stored
from fedlib.shapes import Work
from tests.select.fakes import Fake
from tests.small import small_split

LOCAL = LocalTraining(batch=8, lr=0.1)
MODELS: dict[str, Backbone] = {
    "fedmf": FedMF(8, std=0.5),
    "fedncf": FedNCF(8, hidden=(12, 6), gmf=0, dropout=0.5, std=0.5),
    "pfedrec": PFedRec(8),
    "pfedrec-mlp": PFedRec(8, hidden=(10, 6), dropout=0.5),
    "fedpergnn": FedPerGNN(8, std=0.5, refresh=1),
}


def alone(model: Backbone, state, client: int, vector: torch.Tensor, own: list[int]) -> float:
    """W_g(u, p) for one client in plain words, on a probability's scale."""
    private = {name: value[client] for name, value in state.private.items()}
    shared = state.shared
    if isinstance(model, FedMF):
        z = private["user"] @ vector
    elif isinstance(model, FedNCF):
        x = torch.cat([private["user"], vector])
        for layer in ("mlp.linear0", "mlp.linear1"):
            x = torch.relu(shared[layer + ".weight"] @ x + shared[layer + ".bias"])
        z = (shared["out.weight"] @ x + shared["out.bias"])[0]
    elif isinstance(model, PFedRec):
        x = vector
        for layer in () if model.linear else ("score.linear0", "score.linear1"):
            x = torch.relu(private[layer + ".weight"] @ x + private[layer + ".bias"])
        last = "score" if model.linear else "score.out"
        z = (private[last + ".weight"] @ x + private[last + ".bias"])[0]
    else:
        heard = []
        for i in own:
            others = [v for v in range(13) if v != client and i in SPLIT.train[v].tolist()]
            asked = [v for v in others if state.third_party["asked"][v] >= 0]
            q = state.tables["item"][i]
            mean = state.third_party["embedding"][asked].mean(0) if asked else q
            heard.append((q + mean) / 2)
        z = ((private["user"] + torch.stack(heard).mean(0)) / 2 if own else private["user"]) @ vector
    return float(torch.sigmoid(z))


SPLIT = small_split()


@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("kind", MODELS)
def test_scores_counts_and_choice_are_those_of_a_plain_loop(kind: str, reading: str, over: str) -> None:
    """Client by client, sample by sample, prototype by prototype; PFedRec by the table it was sent, not its own."""
    model, seen = MODELS[kind], []

    class Check(PrototypeSelection):
        def client(self, work: Work, message):
            uploads = super().client(work, message)
            state = work.received.state
            for k, client in enumerate(work.clients.tolist()):
                own = SPLIT.train[client].tolist()
                score, counts = {}, [0, 0, 0]
                at = [alone(model, state, client, p, own) for p in message["prototypes"].double()]
                one = work.received.of(work.clients[k : k + 1])
                drawn = one.samples(SPLIT.train[client][None], torch.tensor([len(own)]))
                among = zip(drawn.number[0].tolist(), drawn.items[0].tolist(), strict=True)
                for number, i in among if over == "samples" else zip(own, own, strict=True):
                    e = state.tables["item"][i]
                    r = alone(model, state, client, e, [j for j in own if j != i])
                    s = []
                    for p, r_p in zip(message["prototypes"].double(), at, strict=True):
                        sim = (1 + float(e @ p / e.norm() / p.norm())) / 2
                        div = abs(r - r_p)
                        s.append(sim * div if reading == "intent" else sim / (div + 1e-6))
                    best = max(s) if reading == "intent" else min(s)
                    score[number] = -best if reading == "hard_min" else best
                    counts[s.index(best)] += 1
                wanted = sorted(score, key=lambda number: -score[number])
                named = dict(zip(drawn.number[0].tolist(), drawn.items[0].tolist(), strict=True))
                kept = wanted[: int(share_of(torch.tensor([len(score)]), 0.4))]
                if work.samples is None:
                    assert sorted(work.positives[k, : work.count[k]].tolist()) == sorted(kept)
                else:  # an item that is drawn twice has two samples of one score
                    found = work.samples.items[k, : work.samples.count[k]].tolist()
                    assert sorted(found) == sorted(named[number] for number in kept)
                assert uploads["counts"][k].tolist() == counts
                seen.append(client)
            return uploads

    place = Check(0.4, over=over, reading=reading, prototypes=Fake(), update_every=10)
    local = replace(LOCAL, epochs=2)
    federate(SPLIT, model, select=place, local=local, rounds=3, device="cpu", chunk=5, dtype=torch.float64)
    assert sorted(seen) == sorted(3 * [*range(13)])


def run(rounds: int = 1, model: Backbone | None = None, **how):
    selector = {"reading": "intent", "prototypes": Fake()} | {
        key: how.pop(key) for key in ("reading", "prototypes", "update_every", "sampled") if key in how
    }
    place = PrototypeSelection(0.4, over="positives", **selector)
    model = model or FedMF(8)
    return federate(SPLIT, model, select=place, local=LOCAL, rounds=rounds, device="cpu", **how)


def test_the_counts_are_of_all_positives_and_their_sum_is_their_number() -> None:
    """Which is also what they give away: one client's counts add up to how many interactions it has."""
    own = run(update_every=2).state.places["select"]
    assert int(own["counts"].sum()) == len(SPLIT.train.items)


def test_secure_aggregation_sums_the_same_counts() -> None:
    protections = None, SecureAggregation(clip=64.0, bits=32)
    plain, masked = (run(update_every=5, protect=p, dtype=torch.float64) for p in protections)
    assert torch.equal(plain.state.places["select"]["counts"], masked.state.places["select"]["counts"])
    up = masked.ledger[masked.ledger["direction"] == "up"]["tensor"]
    assert up.str.startswith("secure aggregation").all()
    with pytest.raises(InputError, match="raise clip"):
        run(update_every=5, protect=SecureAggregation(clip=1.0))


def test_user_level_privacy_refuses_the_counts_and_takes_a_static_set() -> None:
    dp = UserLevelDP(clip=1.0, noise_multiplier=1.0)
    with pytest.raises(InputError, match="select/counts is sent beside the update"):
        run(update_every=1, protect=dp)
    static = run(protect=dp)
    assert not static.ledger["tensor"].str.contains("counts").any()
    assert static.history["epsilon"].iloc[-1] > 0


def test_what_is_sent() -> None:
    sent = run(update_every=3).ledger.set_index("tensor")
    assert set(sent.index) == {"item", "select/prototypes", "select/counts"}
    assert sent.loc["select/prototypes", "bytes_per_client"] == 3 * 8 * 4
    assert sent.loc["select/counts", "bytes_per_client"] == 3 * 8


def test_every_other_round_the_server_aligns_and_asks_for_the_next_set() -> None:
    fake = Fake()
    states = [run(rounds, prototypes=fake, update_every=2).state for rounds in (1, 2, 4)]
    own = [state.places["select"] for state in states]
    texts = [restored(part).texts for part in own]
    assert texts[0] == ("käse 0", "käse 1", "käse 2") and [len(t) for t in texts] == [3, 4, 5]
    assert [restored(part).note for part in own] == ["first", "added one", "added one"]
    table, touched = states[1].tables["item"], own[1]["touched"]
    expected = align(fake.space.weights, fake.space.x, table, touched)
    for name, weight in expected.items():
        assert torch.equal(own[1][f"encoder/{name}"], weight)
        assert torch.equal(own[0][f"encoder/{name}"], fake.space.weights[name])
    start = run(1, prototypes=fake).state.places["select"]
    assert set(start) == {"vectors", "words", "counts"}  # a static set needs no encoder


def test_the_prompt_hears_of_the_last_round() -> None:
    own = run(2, update_every=2).state.places["select"]
    told = restored(own).texts[-1]
    assert told.startswith("round 2: ")
    total = sum(int(number) for number in told.partition("[")[2].rstrip("]").split(","))
    assert total == len(SPLIT.train.items)


def test_touched_are_the_items_that_somebody_has_updated() -> None:
    state = run(1, update_every=5, clients_per_round=2).state
    touched = state.places["select"]["touched"]
    assert 0 < int(touched.sum()) < 40
    still = federate(SPLIT, FedMF(8), local=LocalTraining(lr=1e-30), rounds=1, device="cpu").state.tables["item"]
    assert torch.equal((state.tables["item"] != still).any(1), touched)


def test_texts_of_any_alphabet_come_back() -> None:
    one = PrototypeSet(("naïve café", "映画", 'a "quoted" one'), torch.eye(3), "")
    back = restored(stored(one))
    assert back.texts == one.texts and torch.equal(back.vectors, one.vectors) and back.note == ""


def test_a_resumed_run_is_the_same_though_the_prototypes_have_become_more(tmp_path) -> None:
    whole = run(5, update_every=2)
    run(3, update_every=2, checkpoint=tmp_path)
    resumed = run(5, update_every=2, checkpoint=tmp_path, resume=True)
    for name, value in whole.state.tensors().items():
        assert torch.equal(resumed.state.tensors()[name], value), name
    assert resumed.history["prototypes"].tolist() == whole.history["prototypes"].tolist() == [3, 4, 4, 5, 5]


def test_a_draw_is_another_choice_every_round() -> None:
    """The fixed rule keeps the same few; the draw covers more."""
    fixed, drawn = (run(8, sampled=sampled).history["coverage"].iloc[-1] for sampled in (False, True))
    assert drawn > fixed


@pytest.mark.parametrize("model", [FedNCF(8), FedRAP(8)])
def test_a_model_with_two_item_tables_is_refused(model: Backbone) -> None:
    with pytest.raises(InputError, match="reads 2 item tables"):
        run(model=model)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match="reading must be one of"):
        run(reading="best")
    with pytest.raises(InputError, match="update_every must be"):
        run(update_every=0)
    with pytest.raises(InputError, match="share nothing"):
        run(model=FedMF(8).alone(), update_every=1)
    assert run(model=FedMF(8).alone()).ledger["tensor"].tolist() == ["select/prototypes"]
