"""Everything a federated run knows between two rounds, as tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from fedlib.backbones.base import Backbone
from fedlib.data.log import Stores, UserItems
from fedlib.engine.kept import KeptRows, capacity
from fedlib.engine.spill import on_disk

GROUPS = (
    "tables", "shared", "private", "own_tables", "server", "third_party", "held", "guests", "joined", "informed",
)  # fmt: skip


@dataclass
class State:
    """The state after ``round`` rounds: all of it is saved by a checkpoint and compared by a test.

    tables: the server's item tables (n, d). shared: the server's other parameters.
    private: parameters that live on the clients, (m, ...). own_tables: item tables that live on the clients, (m, n, d).
    Where the clients are J stores, these are (J, ...) and (J, n, d), but what belongs to a user is still (m, ...).
    kept: locally tuned copies of server tables. places: the state of the loop's four places, memory: what clients keep
    for them, each for itself. server: the moments of the server's optimiser, where it has one.
    third_party: what a third party knows that helps clients to learn of each other, and held: what they hold of each of
    their training items from it, (nnz, ...).
    guests: a store's own copies of what belongs to users of other stores, (J, m, ...), by parameter; joined: which
    edges of the global log each store trains on, (J, E), under "edges".
    informed: which clients were sent the fixed features, (m,) or (J,), under "fixed".
    best: copies of all these from the best round so far, and ``round``, where a run looks for it.
    fixed: the features (n, f) of items; they never change, so neither checkpoints nor ``best`` repeat them.
    """

    round: int
    tables: dict[str, Tensor]
    shared: dict[str, Tensor]
    private: dict[str, Tensor]
    own_tables: dict[str, Tensor]
    kept: dict[str, KeptRows]
    places: dict[str, dict[str, Tensor]]
    server: dict[str, Tensor]
    third_party: dict[str, Tensor] = field(default_factory=dict)
    held: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    memory: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    guests: dict[str, Tensor] = field(default_factory=dict)
    joined: dict[str, Tensor] = field(default_factory=dict)
    informed: dict[str, Tensor] = field(default_factory=dict)
    fixed: dict[str, Tensor] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where the state lives."""
        return next(iter({**self.tables, **self.own_tables}.values())).device

    @property
    def n_items(self) -> int:
        """n, the length of every item table."""
        return next(iter({**self.tables, **self.own_tables}.values())).shape[-2]

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, e.g. ``tables/item``, ``private/user``, ``kept/item/rows``, ``places/select/counts``."""
        groups = {name: getattr(self, name) for name in (*GROUPS, "best")}
        groups |= {f"kept/{name}": kept.tensors() for name, kept in self.kept.items()}
        groups |= {f"places/{place}": own for place, own in self.places.items()}
        groups |= {f"memory/{place}": kept for place, kept in self.memory.items()}
        return {f"{group}/{name}": value for group, named in groups.items() for name, value in named.items()}

    def load(self, round: int, tensors: dict[str, Tensor]) -> None:
        """Take the values that :meth:`tensors` gave."""

        def group(prefix: str) -> dict[str, Tensor]:
            return {name[len(prefix) + 1 :]: value for name, value in tensors.items() if name.startswith(prefix + "/")}

        self.round = round
        for name in GROUPS:
            named = getattr(self, name)  # the order of the names stays that of a run that was never interrupted
            named.update({key: tensors[f"{name}/{key}"] for key in named})
        for name, kept in self.kept.items():
            kept.load(group(f"kept/{name}"))
        self.places = {place: group(f"places/{place}") for place in self.places}
        self.best = group("best")
        self.memory = {place: group(f"memory/{place}") for place in self.memory}

    def note_best(self) -> None:
        """Keep a copy of everything, as it is after this round."""
        self.best = {}
        self.best = {name: value.clone() for name, value in self.tensors().items()} | {
            "round": torch.tensor(self.round)
        }

    def return_to_best(self) -> None:
        """Go back to the copy of :meth:`note_best`, if there is one."""
        if self.best:
            self.load(int(self.best["round"]), self.best)


def initial_state(
    model: Backbone, initial: dict[str, Tensor], train: UserItems, n_items: int, negatives: int,
    *, seed: int, dtype: torch.dtype, device: torch.device, stores: Stores | None = None,
    own_tables_in: str | Path | None = None, fixed: dict[str, Tensor] | None = None, outside: int | None = None,
) -> State:  # fmt: skip
    """The state before the first round, from the ``initial`` item tables (n, d) and ``fixed`` features (n, f).

    Tables that live on the clients are files in ``own_tables_in`` where that is given. The clients are the users or,
    where there are any, the ``stores``, which hold their users' vectors; ``outside`` is the number of edges in a global
    log that stores may train on.
    """
    m = train.n_users
    clients = m if stores is None else stores.n_stores
    initial = {name: table.to(device, dtype) for name, table in initial.items()}
    served = {name: table for name, table in initial.items() if model.tables[name].owner == "server"}
    own = {
        name: on_disk(table, clients, own_tables_in) if own_tables_in else table.expand(clients, -1, -1).clone()
        for name, table in initial.items()
        if name not in served
    }
    room = capacity(train, negatives, n_items, stores).to(device)
    kept = {name: KeptRows(table, room) for name, table in served.items() if model.tables[name].keep}
    private, shared = {}, {}
    for name, _ in model.named_parameters():
        if model.is_private(name):
            holders = torch.arange(m if model.owner(name) == "user" else clients)
            private[name] = model.initial(name, seed, holders).to(device, dtype, copy=True).contiguous()
        else:
            shared[name] = model.initial(name, seed).to(device, dtype)
    state = State(0, served, shared, private, own, kept, {}, {})
    if model.exchange is not None and stores is None:  # inside a store nobody needs a third party
        state.third_party, state.held = model.exchange.memory(m, len(train.items), private["user"])
    if fixed:
        state.fixed = {name: value.to(device, dtype) for name, value in fixed.items()}
        state.informed = {"fixed": torch.zeros(clients, dtype=torch.bool, device=device)}
    if outside is not None:
        of_users = [name for name in private if model.owner(name) == "user"]
        state.guests = {name: private[name].expand(clients, *private[name].shape).clone() for name in of_users}
        state.joined = {"edges": torch.zeros(clients, outside, dtype=torch.bool, device=device)}
    return state
