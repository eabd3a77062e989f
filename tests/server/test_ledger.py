"""The ledger against bytes counted by hand."""

from __future__ import annotations

from fedlib import FedMF, FedNCF, LocalTraining, PFedRec, federate
from tests.small import small_split

LOCAL = LocalTraining(batch=8)


def sent(backbone, share: float = 1.0) -> dict[tuple[str, str], tuple[int, int]]:
    ledger = federate(small_split(), backbone, local=LOCAL, rounds=2, clients_per_round=share, device="cpu").ledger
    second = ledger[ledger["round"] == 2]
    return {(row.direction, row.tensor): (row.bytes_per_client, row.clients) for row in second.itertuples()}


def test_fedmf_sends_the_table_and_keeps_the_user_vector() -> None:
    assert sent(FedMF(8)) == {("down", "item"): (40 * 8 * 4, 13), ("up", "item"): (40 * 8 * 4, 13)}


def test_pfedrec_keeps_its_score_function() -> None:
    assert set(sent(PFedRec(8), share=0.4)) == {("down", "item"), ("up", "item")}
    assert sent(PFedRec(8), share=0.4)["up", "item"] == (40 * 8 * 4, 5)


def test_fedncf_sends_its_network_the_touched_rows_and_its_size() -> None:
    """At ML-100K's size FedSLLM's variant sends 1682*32 + 16641 floats = 0.2688 MiB; here the same for 40 items."""
    rows = sent(FedNCF(32, hidden=(128, 64), gmf=0, dropout=0.5))
    down = sum(size for (direction, _), (size, _) in rows.items() if direction == "down")
    assert down == 4 * (40 * 32 + 16_641)
    up = sum(size for (direction, _), (size, _) in rows.items() if direction == "up")
    assert up == down + 40 + 4  # one truth value a row, and the number of samples
    assert not any("user" in name for _, name in rows)


def test_history_holds_each_rounds_bytes() -> None:
    result = federate(small_split(), FedMF(8), local=LOCAL, rounds=2, device="cpu")
    assert result.history["bytes_up"].tolist() == [13 * 40 * 8 * 4] * 2
    assert int(result.ledger["bytes"].sum()) == int(
        result.history["bytes_up"].sum() + result.history["bytes_down"].sum()
    )
