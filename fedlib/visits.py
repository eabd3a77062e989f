"""How the loop calls its places, and how what they send reaches the server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fedlib.places import Place, Work

if TYPE_CHECKING:
    from fedlib.aggregate import Sums
    from fedlib.state import State


@dataclass(frozen=True)
class Sent:
    """What K clients (K,) have ready to send for a place: ``values`` (K, ...) under ``name``."""

    name: str
    clients: Tensor
    values: Tensor


def visit(
    name: str, places: dict[str, Place], work: Work, message: dict[str, dict], state: State, *, trained: bool = False
) -> list[Sent]:
    """Let K clients pass one place, before or after they have ``trained``; what they want to send for it."""
    if name not in places:
        return []
    work.memory = state.memory[name]
    step = places[name].after if trained else places[name].client
    uploads = step(work, message[name])
    return [Sent(f"{name}/{upload}", work.clients, values) for upload, values in uploads.items()]


def deliver(sent: list[Sent], work: Work, sums: Sums) -> None:
    """Add up what the clients of ``work`` sent, in their order; those whose upload was lost are no longer in it."""
    for one in sent:
        order = one.clients.argsort()
        at = order[torch.searchsorted(one.clients[order], work.clients)]
        sums.add_upload(one.name, one.values[at])


def hand_over(name: str, places: dict[str, Place], sums: Sums, state: State) -> None:
    """Give the server's side of one place the round's sums."""
    if name in places:
        state.places[name] = places[name].server(state.places[name], sums, state)
