"""What a federated run gives back, and what can be done with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from fedlib.backbones.base import Backbone
from fedlib.data.interactions import Split
from fedlib.engine.composed import model_of
from fedlib.engine.state import State, initial_state
from fedlib.errors import InputError
from fedlib.evaluation.metrics import Ranking
from fedlib.evaluation.rankings import rankings, scorer
from fedlib.items import ItemTable
from fedlib.run.checkpoint import load_tensors, save_tensors
from fedlib.run.restore import describe_items, load_backbone, load_items, load_split
from fedlib.server.ledger import Ledger

FILE = "result.safetensors"


@dataclass
class Result:
    """A trained federation.

    ``history``: one row a round, with validation metrics under "valid HR@10" and test metrics under "HR@10".
    ``ledger``: bytes up and down, a row for every kind of tensor that left or reached a device.
    ``metrics``: the test metrics of the model :meth:`recommend` uses: that after the last round, or after the best
    round on validation where the run looked for it.
    """

    state: State
    backbone: Backbone
    data: Split
    config: dict[str, Any]
    history: pd.DataFrame
    ledger: pd.DataFrame
    ks: tuple[int, ...]
    device: str
    chunk: int
    seconds_prepare: float
    seconds_total: float
    items: ItemTable = field(default_factory=ItemTable)

    @property
    def metrics(self) -> dict[str, float]:
        """Test metrics of the model, e.g. ``{"HR@10": ..., "NDCG@10": ...}``."""
        return self._row(valid=False)

    @property
    def valid_metrics(self) -> dict[str, float]:
        """Validation metrics of the model."""
        return self._row(valid=True)

    def _row(self, valid: bool) -> dict[str, float]:
        row = self.history[self.history["round"] == self.state.round].iloc[0]
        names = [name for name in self.history.columns if "@" in name and name.startswith("valid ") == valid]
        return {name.removeprefix("valid "): float(row[name]) for name in names}

    def ranking(self, which: str = "test") -> Ranking:
        """The rank of every held-out item ("test" or "valid") under the split's protocol."""
        return rankings(self.state, self.backbone, self.data)[which]

    def per_user(self, which: str = "test") -> pd.DataFrame:
        """Every user's own metrics, one row a user, for one's own analysis."""
        return self.ranking(which).per_user(self.ks)

    def recommend(self, user: str | int, k: int = 10) -> pd.DataFrame:
        """The k best items for a user that are not in its training data: item id, title and score (a logit).

        ``user`` is the data set's own user id. Raises InputError for an unknown user or a k out of range.
        """
        data = self.data.data
        try:
            index = data.user_ids.index(str(user))
        except ValueError:
            raise InputError(f"There is no user {user!r} in {data.name}: ids look like {data.user_ids[0]!r}.") from None
        seen = self.data.train[index]
        if not 1 <= k <= data.n_items - len(seen):
            raise InputError(f"k must be between 1 and {data.n_items - len(seen)} for this user, not {k}.")
        store = 0 if self.data.stores is None else int(self.data.stores.assignment[index])
        scores = scorer(self.state, self.backbone, self.data, store)(torch.tensor([index]), None)[0].cpu()
        scores[seen] = -torch.inf
        best = scores.topk(k)
        items = best.indices.tolist()
        return pd.DataFrame(
            {
                "item": [data.item_ids[i] for i in items],
                "title": data.catalogue["title"].iloc[items].tolist(),
                "score": best.values.tolist(),
            }
        )

    def save(self, folder: str | Path) -> Path:
        """Write everything to a folder that :func:`load_result` reads back; returns the folder."""
        split, data = self.data, self.data.data
        described, theirs = describe_items(self.items)
        joined = self.state.joined.get("edges", torch.empty(0))
        tensors = self.state.tensors() | theirs
        for name, log in {"train": split.train, "valid": split.valid, "test": split.test}.items():
            tensors |= {f"split/{name}/indptr": log.indptr, f"split/{name}/items": log.items}
        for name in ("valid_negatives", "test_negatives"):
            if getattr(split, name) is not None:
                tensors[f"split/{name}"] = getattr(split, name)
        if split.stores is not None:
            tensors["split/stores"] = split.stores.assignment
        if split.global_log is not None:
            tensors |= {"split/global/indptr": split.global_log.indptr, "split/global/items": split.global_log.items}
        about = {
            "config": self.config, "round": self.state.round, "history": self.history.to_dict("records"),
            "ledger": self.ledger.to_dict("records"), "ks": self.ks, "device": self.device, "chunk": self.chunk,
            "seconds": [self.seconds_prepare, self.seconds_total],
            "items": described, "outside": joined.shape[1] if len(joined) else None,
            "protocol": split.protocol, "test_sha256": split.test_sha256,
            "n_stores": split.stores and split.stores.n_stores,
            "data": {"name": data.name, "user_ids": data.user_ids, "item_ids": data.item_ids, "licence": data.licence,
                     "sha256": data.sha256, "titles": data.catalogue["title"].tolist()},
        }  # fmt: skip
        save_tensors(Path(folder) / FILE, tensors, about)
        return Path(folder)


def load_result(folder: str | Path, items: ItemTable | None = None) -> Result:
    """Read what :meth:`Result.save` wrote: scores, recommendations, metrics and history are the same.

    Of the data set only what these need is there: interactions, ids and titles. ``items`` is needed only where the run
    had a place for items that cannot be built again from what was saved, and has to be the same.
    Raises InputError for a folder without a readable result.
    """
    tensors, about = load_tensors(Path(folder) / FILE)
    split = load_split(tensors, about)
    backbone = load_backbone(about["config"]["backbone"])
    place = load_items(about.get("items"), tensors, items)
    model, n = model_of(backbone, place), split.data.n_items
    state = initial_state(
        model, place.tables(backbone, n, 0), split.train, n, about["config"]["local"]["negatives"], seed=0,
        dtype=getattr(torch, about["config"]["dtype"]), device=torch.device("cpu"), stores=split.stores,
        fixed=place.fixed(), outside=about.get("outside"),
    )  # fmt: skip
    state.load(about["round"], tensors)
    return Result(
        state, model, split, about["config"], pd.DataFrame(about["history"]), Ledger(about["ledger"]).frame(),
        tuple(about["ks"]), about["device"], about["chunk"], about["seconds"][0], about["seconds"][1], place,
    )  # fmt: skip
