"""Sets of prototypes: what is asked, where texts are placed, and what stays when there is nothing to go by."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from fedlib import FedMF, LocalTraining, PrototypeSelection, federate
from fedlib.data import load, synthetic
from fedlib.errors import InputError
from fedlib.items import LSA, SemanticSpace, SemanticTable, item_texts
from fedlib.prototypes import ClusterPrototypes, KeywordPrototyper, PrototypeSet, TextPrototypes
from fedlib.prototypes.answers import parse
from fedlib.prototypes.chat import Chat
from fedlib.prototypes.prompts import BOUNDS, Messages, generation_messages, purpose_of, updating_messages
from fedlib.prototypes.recorded import PACKAGED, RecordedAnswers, read_record
from fedlib.prototypes.summary import categories_of, summary_of

SHOP = synthetic(n_users=20, n_items=80, interactions=(5, 10))
NAMES = [f"{kind} handbook" for kind in ("Sailing", "Cooking", "Astronomy", "Music", "Climbing", "Gardening")]


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SemanticSpace:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return SemanticSpace.pretrained(SHOP, LSA(item_texts(SHOP), 16), widths=(8, 4), steps=5)


class Model(Chat):
    """Answers every prompt with the same names, and keeps the prompts."""

    source = "a model"

    def __init__(self) -> None:
        self.asked = list[Messages]()

    def answer(self, messages: Messages) -> str:
        self.asked.append(messages)
        return json.dumps(NAMES)


def test_text_prototypes_are_asked_for_and_placed_by_their_texts(space: SemanticSpace) -> None:
    model = Model()
    prototypes = TextPrototypes(model, space, SHOP, count=6)
    first = prototypes.first(seed=0)
    assert first.texts == tuple(NAMES) and prototypes.source == "a model"
    assert torch.equal(first.vectors, space.embed(NAMES)) and first.vectors.shape == (6, 4)
    turned = {name: -weight for name, weight in space.weights.items()}
    counts = torch.tensor([1, 2, 3, 4, 5, 6])
    second = prototypes.next(first, counts, space.codes, turned, round=3)
    assert torch.equal(second.vectors, space.embed(NAMES, turned)) and not torch.equal(second.vectors, first.vectors)
    assert model.asked == [generation_messages(summary_of(SHOP), 6), updating_messages(first.texts, counts, BOUNDS)]
    hard = TextPrototypes(model, space, SHOP, count=6, counts_mean="difficulty")
    hard.next(first, counts, space.codes, turned, round=3)
    assert model.asked[-1] == updating_messages(first.texts, counts, BOUNDS, counts_mean="difficulty")


def test_without_a_count_the_texts_stay_and_nobody_is_asked(space: SemanticSpace) -> None:
    model = Model()
    current = PrototypeSet(tuple(NAMES), space.embed(NAMES))
    after = TextPrototypes(model, space, SHOP).next(current, torch.zeros(6), space.codes, space.weights, round=1)
    assert after.texts == current.texts and "texts were kept" in after.note and model.asked == []


def test_a_generated_set_is_cut_to_the_count(space: SemanticSpace) -> None:
    first = TextPrototypes(Model(), space, SHOP, count=5).first(seed=0)
    assert first.texts == tuple(NAMES[:5]) and first.note == "Dropped 1 above 5."
    for sets in (TextPrototypes(Model(), space, SHOP, count=4), ClusterPrototypes(space, count=16)):
        with pytest.raises(InputError, match="5 to 15"):
            sets.first(seed=0)


def test_keywords_and_clusters_are_the_same_twice_and_another_seed_is_another_draw(space: SemanticSpace) -> None:
    for sets in (TextPrototypes(KeywordPrototyper(), space, SHOP, count=8), ClusterPrototypes(space, count=8)):
        first, again, other = sets.first(seed=0), sets.first(seed=0), sets.first(seed=1)
        assert first.texts == again.texts and torch.equal(first.vectors, again.vectors)
        assert not torch.equal(first.vectors, other.vectors)
        counts = torch.arange(len(first.texts)) ** 2
        after = [sets.next(first, counts, space.codes, space.weights, round=2) for _ in range(2)]
        assert after[0].texts == after[1].texts and torch.equal(after[0].vectors, after[1].vectors)
        assert BOUNDS[0] <= len(after[0].texts) <= BOUNDS[1] and len(after[0].texts) == len(after[0].vectors)


def test_what_a_result_says_of_its_prototypes_is_the_same_in_another_process(space: SemanticSpace) -> None:
    texts = TextPrototypes(KeywordPrototyper(), space, SHOP, count=8)
    assert repr(texts) == f"TextPrototypes(keyword, count=8, counts_mean=usage, synthetic, {space})"
    assert repr(ClusterPrototypes(space)) == f"ClusterPrototypes(count=10, {space})" and " at 0x" not in repr(texts)


def test_clusters_follow_the_item_vectors(space: SemanticSpace) -> None:
    sets = ClusterPrototypes(space, count=5)
    first = sets.first(seed=0)
    after = sets.next(first, torch.ones(5), space.codes.double() + 1e-3, space.weights, round=1)
    assert torch.allclose(after.vectors, first.vectors + 1e-3, atol=1e-6) and after.vectors.dtype == first.vectors.dtype
    assert after.texts == first.texts == tuple(f"cluster {j}" for j in range(5)) and sets.source == "cluster"


def test_what_is_on_record_answers_the_prompts_of_today() -> None:
    records = read_record(PACKAGED)
    for record in records:
        assert parse(record["answer"], BOUNDS)[1] == "" and len(parse(record["answer"], BOUNDS)[0]) >= BOUNDS[0]
    assert RecordedAnswers().answer(generation_messages(summary_of(synthetic())))


def test_every_update_on_record_follows_the_answer_before_it() -> None:
    current: dict[str, tuple[str, ...]] = {}
    for record in read_record(PACKAGED):
        if record["purpose"] == "update":
            seen = re.findall(r'"([^"]*)": (\d+)[,}]', record["messages"][-1]["content"])
            texts, shares = tuple(text for text, _ in seen), torch.tensor([int(share) for _, share in seen])
            assert texts == current[record["dataset"]] and int(shares.sum()) == 100
            assert updating_messages(texts, shares) == record["messages"]
        current[record["dataset"]] = parse(record["answer"], BOUNDS)[0]
    assert len(current) == 4


def test_prototypes_are_updated_in_the_loop_by_what_clients_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = synthetic(n_users=20, interactions=(5, 10))
    space = SemanticSpace.pretrained(data, LSA(item_texts(data), 16), widths=(8, 4), steps=5)
    model = Model()
    selection = PrototypeSelection(
        0.5, over="positives", reading="intent", prototypes=TextPrototypes(model, space, data, count=5), update_every=2
    )
    result = federate(
        data.leave_one_out(seed=0), FedMF(dim=4), items=SemanticTable(space), select=selection, rounds=5,
        local=LocalTraining(epochs=1, batch=32, lr=0.01),
    )  # fmt: skip
    # A first set of five, cut to the count; the updates after rounds 2 and 4 may be longer.
    assert result.history["prototypes"].tolist() == [5, 6, 6, 6, 6]
    assert [purpose_of(messages) for messages in model.asked] == ["generate", "update", "update"]
    shares = [json.loads(messages[1]["content"].splitlines()[1]) for messages in model.asked[1:]]
    assert [sum(listed.values()) for listed in shares] == [100, 100] and list(shares[1]) == NAMES


@pytest.mark.parametrize(
    ("name", "kind"), [("ml-100k", "Drama"), ("ml-1m", "Drama"), ("amazon-industrial", "Test, Measure & Inspect")]
)
def test_real_catalogues_have_a_prompt_that_names_no_item(name: str, kind: str, real_data: Path) -> None:
    data = load(name, root=real_data, download=False)
    prompt = generation_messages(summary_of(data))[1]["content"]
    assert f'"{kind}"' in prompt and len(prompt) < 4000
    kinds = {kind for held in categories_of(data) for kind in held}  # one film is called "unknown", as a genre is
    assert not [title for title in data.catalogue["title"] if title in prompt and title not in kinds]
    if any(record["dataset"] == name for record in read_record(PACKAGED)):
        texts, note = parse(
            RecordedAnswers().answer(generation_messages(summary_of(data))), BOUNDS, data.catalogue["title"]
        )
        assert len(texts) >= BOUNDS[0] and note == ""
