"""Items that start from what is written about them (FedSLLM, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from fedlib.backbones.base import Backbone
from fedlib.data.interactions import Dataset
from fedlib.errors import InputError
from fedlib.items.autoencoder import Weights, decode, encode, pretrain, reconstruction_loss
from fedlib.items.cache import Encoder, cached, digest, encoded
from fedlib.items.table import ItemTable
from fedlib.items.texts.catalogue import item_texts
from fedlib.threads import threads

FORM = "encoder, decoder, losses and codes, on one thread"  # a kept autoencoder; another form is another file


@dataclass(frozen=True, eq=False, repr=False)
class SemanticSpace:
    """One space for items and for texts: a language model's vectors, made narrow by an autoencoder.

    ``texts`` are those of the n items and ``x`` (n, d_plm) their vectors from ``encoder``; ``weights`` are the
    autoencoder's encoder E_AE and ``decoder`` its other half; ``codes`` (n, d) = E_AE(x) (FedSLLM's Eqs. 2, 3 and 6);
    ``losses`` (steps,) is Eq. 5 before each step of the training, which ``trained`` describes.
    """

    texts: list[str]
    encoder: Encoder
    x: Tensor
    weights: Weights
    decoder: Weights
    codes: Tensor
    losses: Tensor
    trained: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def pretrained(
        cls,
        data: Dataset,
        encoder: Encoder,
        widths: Sequence[int] = (512, 256, 128, 32),
        steps: int = 1000,
        lr: float = 1e-3,
        seed: int = 0,
    ) -> SemanticSpace:
        """Encode the items of ``data`` and train the autoencoder on them; both come from the cache where they are.

        ``widths`` are those of E_AE after d_plm, the last is d. FedSLLM trains 10^3 to 10^6 "rounds", read here as
        gradient steps, with ``lr`` 1e-3 or 1e-4. The server does this alone: it takes no interaction.
        """
        texts = item_texts(data)
        x = encoded(encoder, texts)
        trained = {"widths": list(widths), "steps": steps, "lr": lr, "seed": seed}

        def train() -> dict[str, Tensor]:
            weights, decoder, losses = pretrain(x, widths, steps, lr, seed)
            parts = {f"encoder/{name}": w for name, w in weights.items()}
            parts |= {f"decoder/{name}": w for name, w in decoder.items()}
            return parts | {"losses": losses, "codes": encode(weights, x)}

        with threads(1):  # whatever the process has, so that codes are the same for all that run on a processor
            kept = cached("autoencoders", digest([FORM, trained], x), train)
        weights, decoder = (
            {name.partition("/")[2]: w for name, w in kept.items() if name.startswith(half)}
            for half in ("encoder/", "decoder/")
        )
        return cls(texts, encoder, x, weights, decoder, kept["codes"], kept["losses"], trained)

    def embed(self, texts: Sequence[str], weights: Weights | None = None) -> Tensor:
        """e^p = E_AE(F_PLM(p)), FedSLLM's Eq. 7: the codes of J other texts, (J, d).

        ``weights``: the encoder after an alignment, in the place of the pre-trained one.
        """
        own = self.weights if weights is None else weights
        return encode(own, encoded(self.encoder, texts).to(own["linear0.weight"].device))

    def about(self) -> dict[str, Any]:
        """What a result says about the space it used: encoder, training, what is lost, and how long the codes are.

        ``ae_error`` is the share of the squared length of x that its reconstruction misses.
        """
        error = reconstruction_loss(self.x, decode(self.decoder, self.codes))
        length = self.codes.norm(dim=1)
        return {
            "encoder": self.encoder.name, "encoder_dim": self.x.shape[1],
            **{f"ae_{name}": value for name, value in self.trained.items()},
            "ae_error": float(error / self.x.square().sum()),
            "code_norm_mean": float(length.mean()), "code_norm_max": float(length.max()),
        }  # fmt: skip

    def identity(self) -> str:
        """What tells it from another, in a result's settings and for a checkpoint."""
        n = len(self.codes)
        told = ", ".join(f"{name}={value}" for name, value in self.trained.items())
        return f"SemanticSpace({self.encoder.name}: {n} items, {told}, codes {digest([], self.codes)[:12]})"

    __repr__ = identity


class SemanticTable(ItemTable):
    """An item table that starts from the codes of a :class:`SemanticSpace` (FedSLLM's Eq. 6); others start as usual.

    It is the table named "item"; a backbone without one, or with one of another width than the codes, is refused.
    """

    def __init__(self, space: SemanticSpace) -> None:
        super().__init__()
        self.space = space

    def tables(self, backbone: Backbone, n_items: int, seed: int) -> dict[str, Tensor]:
        """The initial item tables (n, d) that ``backbone`` reads, float64; the same for every client."""
        n, d = self.space.codes.shape
        name = type(backbone).__name__
        if "item" not in backbone.tables:
            has = " and ".join(backbone.tables)
            raise InputError(f'{name} has no table "item" that could start from texts; it has {has}.')
        if backbone.tables["item"].dim != d:
            width = backbone.tables["item"].dim
            raise InputError(f"The codes of the items are {d} wide, but {name} reads {width}: give both one width.")
        if n != n_items:
            raise InputError(
                f"There are codes for {n} items, but the data has {n_items}: make the space from its data."
            )
        return super().tables(backbone, n_items, seed) | {"item": self.space.codes.double()}
