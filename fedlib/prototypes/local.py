"""A language model on this machine, through transformers."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from fedlib.errors import InputError
from fedlib.items.cache import cached, digest, hash_of
from fedlib.items.texts.shim import ensure_torchvision
from fedlib.prototypes.chat import Chat
from fedlib.prototypes.prompts import Messages
from fedlib.run.machine import pick_device

QWEN = "Qwen/Qwen2.5-1.5B-Instruct"


class ChatModel(Chat):
    """A chat model by name, or by the path of a folder it was saved in; it answers greedily, without sampling.

    The default is the first of FedSLLM's two. An answer is cut after ``max_new_tokens`` tokens and kept in the user's
    cache by a hash of model, revision, messages and how the answer is decoded, so that the same question is computed
    once. A model by name is fetched on first use.
    """

    def __init__(self, name_or_path: str | Path = QWEN, max_new_tokens: int = 256, device: str = "auto") -> None:
        self.name_or_path, self.max_new_tokens, self.device = str(name_or_path), max_new_tokens, device

    @property
    def source(self) -> str:
        """The model's name, or its folder's."""
        return Path(self.name_or_path).name if Path(self.name_or_path).is_dir() else self.name_or_path

    def answer(self, messages: Messages) -> str:
        """The model's answer, from the cache where it is there. Raises :class:`InputError` without the model."""
        device = pick_device(self.device)
        decoding = {"do_sample": False, "max_new_tokens": self.max_new_tokens, "device": device.type}
        key = digest([self.name_or_path, self._revision, messages, decoding])
        return _text(cached("answers", key, lambda: {"answer": _bytes(self._generate(messages, device))})["answer"])

    @cached_property
    def _revision(self) -> str:
        """The commit of a model by name; for a folder, a hash of its files."""
        folder = Path(self.name_or_path)
        if not folder.is_dir():
            return str(self._transformers("AutoConfig")._commit_hash)
        return hash_of(folder)

    def _generate(self, messages: Messages, device: torch.device) -> str:
        model = self._model.to(device)
        prompt = self._tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).to(device)
        with torch.inference_mode():
            tokens = model.generate(**prompt)
        new = tokens[0, prompt["input_ids"].shape[1] :]
        return str(self._tokenizer.decode(new, skip_special_tokens=True))

    @cached_property
    def _tokenizer(self) -> Any:
        tokenizer = self._transformers("AutoTokenizer")
        if not tokenizer.chat_template:
            raise InputError(f"{self.name_or_path} has no chat template: name a model that was tuned to instructions")
        return tokenizer

    @cached_property
    def _model(self) -> Any:
        """The weights, with settings of their own for decoding: a checkpoint's defaults may sample or punish words."""
        model = self._transformers("AutoModelForCausalLM").eval()  # says what is missing where nothing is installed
        from transformers import GenerationConfig

        ends = model.generation_config
        model.generation_config = GenerationConfig(
            do_sample=False,
            max_new_tokens=self.max_new_tokens,
            eos_token_id=ends.eos_token_id,
            pad_token_id=ends.pad_token_id,
        )
        return model

    def _transformers(self, kind: str) -> Any:
        """What ``transformers`` makes of the name or path. Raises :class:`InputError` with the way out."""
        ensure_torchvision()
        try:
            import transformers
        except ImportError as err:
            raise InputError("a language model needs more packages: pip install 'fedlib[text]'") from err
        transformers.utils.logging.disable_progress_bar()
        try:
            return getattr(transformers, kind).from_pretrained(self.name_or_path)
        except Exception as err:  # of the hub, the network, a file's format: the reader's way out is the same
            raise InputError(
                f"the language model {self.name_or_path} could not be read ({type(err).__name__}): connect to a "
                "network once, name a folder it was saved in, or use recorded answers or keywords"
            ) from err


def _bytes(text: str) -> torch.Tensor:
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


def _text(content: torch.Tensor) -> str:
    return bytes(content.tolist()).decode()
