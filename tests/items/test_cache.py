"""The cache of vectors and weights: nothing is taken for what it is not."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fedlib.errors import InputError
from fedlib.items.cache import cached, digest, encoded
from tests.items.tiny import Hashed

TEXTS = ["one", "two", "three"]


def only(cache: Path) -> Path:
    (file,) = cache.glob("encoded/*.safetensors")
    return file


def test_a_hit_equals_a_computation() -> None:
    encoder = Hashed()
    first, second = encoded(encoder, TEXTS), encoded(encoder, TEXTS)
    assert encoder.calls == 1 and torch.equal(first, second) and torch.equal(second, Hashed().encode(TEXTS))


def test_other_texts_orders_and_encoders_are_other_files(cache: Path) -> None:
    for encoder, texts in [
        (Hashed(), TEXTS), (Hashed(), TEXTS[::-1]), (Hashed(), ["one", "twothree"]), (Hashed(version=1), TEXTS),
    ]:  # fmt: skip
        assert torch.equal(encoded(encoder, texts), encoder.encode(texts))
    assert len(list(cache.glob("encoded/*.safetensors"))) == 4


def test_a_digest_knows_shape_and_type() -> None:
    zeros = [torch.zeros(4), torch.zeros(2, 2), torch.zeros(2, dtype=torch.float64)]
    assert len({digest([], x) for x in zeros} | {digest([1], zeros[0]), digest([], zeros[0], zeros[0])}) == 5


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "swap"])
def test_a_damaged_file_is_made_again_and_said_so(cache: Path, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    encoder = Hashed()
    good = encoded(encoder, TEXTS)
    file = only(cache)
    content = bytearray(file.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flip":
        content[-3] ^= 1  # inside the numbers
    elif damage == "empty":
        content = bytearray()
    else:
        encoded(encoder, ["other"])
        content = bytearray(next(f for f in cache.glob("encoded/*.safetensors") if f != file).read_bytes())
    file.write_bytes(content)
    calls = encoder.calls
    assert torch.equal(encoded(encoder, TEXTS), good) and encoder.calls == calls + 1
    assert capsys.readouterr().err == f"{file} is damaged: making it again.\n"
    assert torch.equal(encoded(encoder, TEXTS), good) and encoder.calls == calls + 1


def test_what_fails_leaves_nothing(cache: Path) -> None:
    def fail() -> dict[str, Tensor]:
        raise OSError("no such model")

    with pytest.raises(OSError, match="no such model"):
        cached("encoded", "key", fail)
    assert not list(cache.glob("encoded/*.safetensors*"))


def test_of_two_that_want_the_same_one_makes_it() -> None:
    made, begun = [], threading.Event()

    def make() -> dict[str, Tensor]:
        begun.set()
        made.append(1)
        return {"x": torch.ones(2)}

    threads = [threading.Thread(target=cached, args=("kind", "key", make)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"^the cache .* cannot be written \([^\n]*\): make room there[^\n]*$"):
        encoded(Hashed(), TEXTS)
