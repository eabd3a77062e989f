"""Building again what a saved result was made with: its split, its backbone, and its items."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from fedlib.backbones.base import Backbone
from fedlib.data.interactions import Dataset, Split
from fedlib.data.log import Stores, UserItems
from fedlib.errors import InputError
from fedlib.items.table import ItemTable
from fedlib.run.identity import identity

ARGUMENT = "items/argument/"  # of the names of saved tensors


def load_backbone(config: dict[str, Any]) -> Backbone:
    """The model a result was made with. The file says which class that is, so nothing but a backbone is called."""
    module, _, name = config["class"].rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        found = None
    if not (isinstance(found, type) and issubclass(found, Backbone)):
        raise InputError(f"The result was made with {config['class']}, which is no backbone that can be imported here.")
    arguments = {
        key: tuple(v) if isinstance(v, list) else v for key, v in config.items() if key not in ("class", "alone")
    }
    backbone = found(**arguments)
    return backbone.alone() if config["alone"] else backbone


def load_split(tensors: dict[str, torch.Tensor], about: dict[str, Any]) -> Split:
    """The split a result was made with: interactions, ids and titles."""

    def log(name: str) -> UserItems:
        return UserItems(tensors[f"split/{name}/indptr"], tensors[f"split/{name}/items"])

    logs = {name: log(name) for name in ("train", "valid", "test")}
    known = about["data"]
    users, items = (torch.cat([getattr(log, what) for log in logs.values()]) for what in ("users", "items"))
    data = Dataset(
        known["name"], len(known["user_ids"]), len(known["item_ids"]),
        UserItems.from_pairs(users, items, len(known["user_ids"])), known["user_ids"], known["item_ids"],
        pd.DataFrame({"title": known["titles"], "description": "", "categories": "", "image": ""}),
        known["licence"], known["sha256"],
    )  # fmt: skip
    return Split(
        data, about["protocol"], logs["train"], logs["valid"], logs["test"],
        tensors.get("split/valid_negatives"), tensors.get("split/test_negatives"), about["test_sha256"],
        stores=None if about["n_stores"] is None else Stores(tensors["split/stores"], about["n_stores"]),
        global_log=log("global") if "split/global/indptr" in tensors else None,
    )  # fmt: skip


def describe_items(items: ItemTable) -> tuple[dict[str, Any] | None, dict[str, Tensor]]:
    """What :func:`load_items` needs to build ``items`` again, and the tensors among its arguments.

    None where a backbone reads what is stored: how its tables began is of no use any more. Every constructor stores its
    arguments under their own names.
    """
    if items.is_plain:
        return None, {}
    values = {name: getattr(items, name, None) for name in inspect.signature(type(items)).parameters}
    tensors = {ARGUMENT + name: value for name, value in values.items() if isinstance(value, Tensor)}
    rest = {name: value for name, value in values.items() if not isinstance(value, Tensor)}
    simple = all(isinstance(value, bool | int | float | str | None) for value in rest.values())
    where = f"{type(items).__module__}.{type(items).__qualname__}"
    return {"class": where, "identity": identity(items), "arguments": rest if simple else None}, tensors


def load_items(about: dict[str, Any] | None, tensors: dict[str, Tensor], given: ItemTable | None) -> ItemTable:
    """The place for items that a result was made with: the one ``given``, or one that is built again."""
    if about is None:
        if given is not None and not given.is_plain:
            raise InputError("The result was made with items read as they are stored: leave items out.")
        return ItemTable()
    if given is not None:
        if identity(given) != about["identity"]:
            raise InputError(f"The result was made with another {about['class']}: give the items of that run.")
        return given
    module, _, name = about["class"].rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        found = None
    if about["arguments"] is None or not (isinstance(found, type) and issubclass(found, ItemTable)):
        raise InputError(f"The result was made with {about['class']}, which cannot be built again from what was saved: "
                         "load it with items=, the place of that run.")  # fmt: skip
    saved = {name.removeprefix(ARGUMENT): value for name, value in tensors.items() if name.startswith(ARGUMENT)}
    arguments: dict[str, Any] = {**about["arguments"], **saved}
    return found(**arguments)
