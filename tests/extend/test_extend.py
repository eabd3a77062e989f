"""The three examples of the page "Write your own": short enough to read, and they do what they claim."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from fedlib import FedMF, InputError, LocalTraining, Result, federate, load, load_result
from fedlib.backbones import Backbone
from fedlib.data.interactions import Dataset, Split
from fedlib.shapes import Work
from tests.extend.backbone import Near
from tests.extend.fusion import Gate, TitlesAndIds, vectors
from tests.extend.selector import Hardest

HERE = Path(__file__).resolve().parent
LOCAL = LocalTraining(epochs=2, optimizer="adam", lr=0.1, negatives_from="unobserved")
CHANCE = 0.10  # HR@10 among 100 candidates
NOISE = 0.021  # its standard deviation over the 200 users of the synthetic shop, sqrt(0.1 * 0.9 / 200)


@pytest.fixture(scope="module")
def shop() -> Dataset:
    return load("synthetic")


@pytest.fixture(scope="module")
def split(shop: Dataset) -> Split:
    return shop.leave_one_out(seed=0)


def examples(shop: Dataset) -> dict[str, dict[str, Any]]:
    return {
        "backbone": {"backbone": Near()},
        "selector": {"backbone": FedMF(8), "select": Hardest()},
        "fusion": {"backbone": FedMF(16), "items": titles_and_ids(shop)},
    }


def titles_and_ids(shop: Dataset) -> TitlesAndIds:
    return TitlesAndIds(vectors(shop.catalogue["title"]))


def trained(split: Split, backbone: Backbone, **places: Any) -> Result:
    return federate(split, backbone, **places, local=LOCAL, rounds=10, evaluate_every=10, device="cpu")


@pytest.mark.parametrize("name", ["backbone", "selector", "fusion"])
def test_it_fits_on_a_page_and_the_page_shows_it(name: str) -> None:
    assert len((HERE / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 40
    page = (HERE.parents[1] / "book" / "extend.md").read_text(encoding="utf-8")
    assert re.search(rf"\{{literalinclude\}} \.\./tests/extend/{name}\.py$", page, flags=re.MULTILINE)


@pytest.mark.parametrize("name", ["backbone", "selector", "fusion"])
def test_chunks_agree_and_what_is_private_stays(name: str, shop: Dataset, split: Split) -> None:
    run = {**examples(shop)[name], "local": LOCAL, "rounds": 2, "clients_per_round": 0.2, "evaluate_every": 2}
    loop, fast = (federate(split, chunk=chunk, device="cpu", dtype=torch.float64, **run) for chunk in (1, None))
    for part, value in loop.state.tensors().items():
        torch.testing.assert_close(fast.state.tensors()[part], value, rtol=0, atol=1e-10)
    sent = {"backbone": {"place", "place (rows touched)", "reach", "reach (rows touched)"}, "selector": {"item"}}
    assert set(loop.ledger["tensor"]) == sent.get(name, {"item", "items.map.weight", "title (once)"})


def test_a_model_of_distances_by_hand_and_better_than_chance(split: Split, tmp_path: Path) -> None:
    rows = {"place": torch.tensor([[[3.0, 4.0], [1.0, 0.0]]]), "reach": torch.tensor([[[1.0], [0.5]]])}
    assert Near(2).logits({"user": torch.zeros(1, 2)}, rows).tolist() == [[1 - 25, 0.5 - 1]]
    result = trained(split, Near())
    assert result.metrics["HR@10"] > CHANCE + 3 * NOISE
    result.save(tmp_path)
    assert load_result(tmp_path).recommend("user-0").equals(result.recommend("user-0"))


def test_the_hardest_half_is_chosen_by_hand() -> None:
    liked = torch.tensor([0.0, 9.0, 1.0, 8.0, 2.0, 7.0])  # what the received model gives to items 0 to 5
    work = Work(
        round=0, seed=0, clients=torch.arange(3), positives=torch.tensor([[1, 2, 5, 4], [3, 5, 1, 0], [5, 0, 0, 0]]),
        count=torch.tensor([4, 3, 1]), score=lambda items: liked[items],
    )  # fmt: skip
    assert Hardest(0.5).client(work, {}) == {}
    kept = [row[:count].tolist() for row, count in zip(work.positives, work.count.tolist(), strict=True)]
    assert kept == [[2, 4], [5, 3], [5]]  # item 0, the least liked, is padding for the second and third client


def test_the_hardest_half_still_teaches(shop: Dataset, split: Split) -> None:
    fused = trained(split, FedMF(16), items=titles_and_ids(shop), select=Hardest())
    assert fused.metrics["HR@10"] > CHANCE + 3 * NOISE
    with pytest.raises(InputError, match="share must be in"):
        federate(split, FedMF(8), select=Hardest(0.0), rounds=1, device="cpu")


def test_the_fusion_is_at_most_twenty_lines() -> None:
    code = [line for cls in (Gate, TitlesAndIds) for line in inspect.getsource(cls).splitlines() if line.strip()]
    assert len(code) <= 20


def test_titles_of_one_kind_are_near_each_other(shop: Dataset) -> None:
    """The catalogue's categories are not read, so they can judge: two random items share one in seven or so."""
    assert shop.truth is not None
    text = torch.nn.functional.normalize(vectors(shop.catalogue["title"]), dim=1)
    nearest = (text @ text.T).fill_diagonal_(-1).argmax(1)
    category = shop.truth.item_category
    by_chance = (category[:, None] == category).float().mean()
    assert (category == category[nearest]).float().mean() > 3 * by_chance


def test_titles_help_and_every_user_has_a_gate_of_its_own(shop: Dataset, split: Split, tmp_path: Path) -> None:
    with_titles, without = trained(split, FedMF(16), items=titles_and_ids(shop)), trained(split, FedMF(16))
    assert with_titles.metrics["HR@10"] > without.metrics["HR@10"] + NOISE > CHANCE + 3 * NOISE
    gate = with_titles.state.private["items.gate"].sigmoid()
    assert gate.shape == (200, 1) and gate.std() > 0.02
    with_titles.save(tmp_path)
    assert load_result(tmp_path).recommend("user-0").equals(with_titles.recommend("user-0"))


def test_the_script_on_the_page_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    page = (HERE.parents[1] / "book" / "extend.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    monkeypatch.syspath_prepend(HERE)
    exec(compile(script, "extend.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert [line.partition(" ")[2] for line in printed] == [
        "['place', 'place (rows touched)', 'reach', 'reach (rows touched)']",
        "['item', 'items.map.weight', 'title (once)']",
    ]
