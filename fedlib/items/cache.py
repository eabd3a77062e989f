"""Vectors and weights that take long to make and are the same every time, kept in the user's cache.

A file is named by a hash of everything that shapes its content, and holds a hash of that content: what is read back is
what was made, or it is made again.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock
from platformdirs import user_cache_path
from safetensors import SafetensorError
from torch import Tensor

from fedlib.data.files import one_line
from fedlib.errors import InputError
from fedlib.run.checkpoint import load_tensors, save_tensors


class Encoder(Protocol):
    """F_PLM, what turns texts into vectors.

    ``name`` is for readers; ``identity()`` names everything that shapes the vectors, so that other weights under the
    same name are not taken for these.
    """

    @property
    def name(self) -> str: ...

    def identity(self) -> str: ...

    def encode(self, texts: Sequence[str]) -> Tensor: ...


def encoded(encoder: Encoder, texts: Sequence[str]) -> Tensor:
    """x = F_PLM(a), FedSLLM's Eq. 2: the vectors of N texts, (N, d_plm) float32; each list is encoded once."""
    if not texts:
        raise InputError("there is no text to encode: give at least one")
    key = digest({"encoder": encoder.identity(), "texts": list(texts)})
    return cached("encoded", key, lambda: {"x": encoder.encode(texts)})["x"]


def digest(facts: Any, *tensors: Tensor) -> str:
    """SHA-256 of JSON-able ``facts`` and of the bytes of ``tensors``."""
    whole = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for tensor in tensors:
        whole.update(json.dumps([str(tensor.dtype), *tensor.shape]).encode())
        whole.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return whole.hexdigest()


def hash_of(folder: Path) -> str:
    """SHA-256 of the names and contents of all files under ``folder``, such as a model's."""
    whole = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        whole.update(f"{file.relative_to(folder).as_posix()} {content}\n".encode())
    return whole.hexdigest()


def cached(kind: str, key: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of that ``key``: read back, or made and kept.

    Of processes that want the same one makes it and the others wait. A file that was damaged is made again, and a line
    on standard error says so. Raises :class:`InputError` where the cache cannot be written.
    """
    path = user_cache_path("fedlib") / kind / f"{key}.safetensors"
    with _explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_suffix(".lock")).acquire()
    with lock:
        if (tensors := _read(path, key)) is None:
            tensors = make()
            with _explained(path.parent):
                save_tensors(path, tensors, {"key": key, "content": _content(tensors)})
    # A file's numbers do not lie in memory as torch's own do, and products would differ in their last digits.
    return {name: value.contiguous().clone() for name, value in tensors.items()}


def _read(path: Path, key: str) -> dict[str, Tensor] | None:
    """What lies at ``path``; None where nothing does, or not what was written."""
    if not path.exists():
        return None
    try:
        tensors, about = load_tensors(path)
        if (about.get("key"), about.get("content")) == (key, _content(tensors)):
            return tensors
    except InputError:
        pass
    print(f"{path} is damaged: making it again.", file=sys.stderr)
    return None


def _content(tensors: dict[str, Tensor]) -> str:
    names = sorted(tensors)
    return digest(names, *(tensors[name] for name in names))


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as err:
        raise InputError(
            f"the cache {folder} cannot be written ({one_line(err)}): make room there, or name another folder in "
            "XDG_CACHE_HOME, which Linux and macOS heed"
        ) from err
