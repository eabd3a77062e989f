"""Small stand-ins for what takes long: an encoder that counts its calls, a random T5, a hardly trained space."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from fedlib import rng
from fedlib.data.interactions import Dataset
from fedlib.data.shop import synthetic
from fedlib.items import SemanticSpace

WORDS = "a comedy about dogs cats space war love old new film for children in the city"


class Hashed:
    """Random vectors of unit length that depend on the text alone."""

    name = "hashed"

    def __init__(self, dim: int = 12, version: int = 0) -> None:
        self.dim, self.version, self.calls = dim, version, 0

    def identity(self) -> str:
        return f"hashed {self.dim} {self.version}"

    def encode(self, texts: Sequence[str]) -> Tensor:
        self.calls += 1
        words = [int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) for text in texts]
        stream = rng.key(self.version, "hashed")
        x = rng.normal(stream, torch.tensor(words)[:, None], torch.arange(self.dim)[None, :])
        return torch.nn.functional.normalize(x, dim=1).float()


def shop() -> Dataset:
    """A synthetic shop of a few items."""
    return synthetic(n_users=30, n_items=40, interactions=(3, 8))


def space(data: Dataset, d: int = 4, steps: int = 3, encoder: Hashed | None = None) -> SemanticSpace:
    """A space whose autoencoder is small and hardly trained."""
    return SemanticSpace.pretrained(data, encoder or Hashed(), widths=(8, d), steps=steps)


def save_t5(folder: Path, seed: int = 0) -> Path:
    """A random T5 of a few thousand weights with mean pooling and unit length, as a sentence encoder in a folder."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    vocabulary = ["<pad>", "</s>", "<unk>", *dict.fromkeys(WORDS.split())]
    tokens = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    tokens.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokens, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=64
    )
    config = T5Config(
        vocab_size=len(vocabulary), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    model = T5EncoderModel(config)
    with torch.no_grad():
        for i, weight in enumerate(model.parameters()):
            draw = rng.normal(rng.key(seed, "tiny t5", i), torch.arange(weight.numel()))
            weight.copy_(draw.reshape(weight.shape) * 0.3)
    raw = folder / "raw"
    model.save_pretrained(raw)
    tokenizer.save_pretrained(raw)
    modules = [Transformer(str(raw)), Pooling(16, pooling_mode="mean"), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder / "encoder"))
    return folder / "encoder"
