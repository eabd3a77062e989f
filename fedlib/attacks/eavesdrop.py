"""What each party of a federation gets to see, written down while it runs.

The party is honest, it computes what it should, and curious, it keeps what it sees. Who that is depends on what
protects the upload:

=====================  =========================================  =====================================================
``protect``            "server" sees                              "outside" sees
=====================  =========================================  =====================================================
nothing                every client's update                      the mean of the round
RobustAggregation      every client's update                      the robust mean
LocalDP, PlainNoise    every client's update, with its noise      the mean of these
SecureAggregation      the sum, and who is in it                  the same sum, divided
UserLevelDP            every client's clipped update: the server  the noisy mean, which is what epsilon is about
                       adds the noise and has to be trusted
=====================  =========================================  =====================================================

"outside" is anybody who gets the model before and after a round, such as a client; it, too, is taken to know who took
part. It is given the mean itself: where the server has an optimiser of its own, the mean would first have to be worked
out of the step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fedlib.errors import InputError
from fedlib.places import Place, Plan
from fedlib.server.sums import Sums, weighted_mean
from fedlib.shapes import Work

if TYPE_CHECKING:
    from fedlib.data.interactions import Split
    from fedlib.engine.state import State


@dataclass(frozen=True, eq=False)
class Seen:
    """One thing a ``party`` ("server" or "outside") saw in a ``round``, counted from 0.

    ``clients``: whose it is, one client, or all of those whose sum or mean it is. ``ids`` (R,) are the items whose rows
    it holds, ``rows`` these rows by table, (R, d), ``parameters`` the rest of the update by name. ``received`` is the
    model the clients had been sent, tables (n, d) and parameters.
    """

    party: str
    round: int
    clients: tuple[int, ...]
    ids: Tensor
    rows: dict[str, Tensor] = field(repr=False)
    parameters: dict[str, Tensor] = field(repr=False)
    received: dict[str, Tensor] = field(repr=False)

    def change(self, table: str = "item") -> Tensor:
        """The change of a whole table, (n, d): zero where no row was sent."""
        change = torch.zeros_like(self.received[table])
        change[self.ids] = self.rows[table]
        return change


@dataclass
class Eavesdropper(Place):
    """A place for ``protect`` that does what ``inner`` does and notes in ``seen`` what leaves the devices.

    Without ``inner`` nothing is protected. An update is noted after its protection; what becomes of it on its way
    (:class:`~fedlib.run.faults.Faults`) is not, and nor is a round that is skipped. Where clients send something
    else in the place of their update, as in secure aggregation, single updates are not noted for the server: it has
    the sum alone. One eavesdropper is for one run. Memory: rounds x clients x rows sent.
    """

    inner: Place = field(default_factory=Place)
    seen: list[Seen] = field(default_factory=list)
    received: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)
    pending: list[Seen] = field(default_factory=list, init=False, repr=False)

    def of(self, client: int, party: str = "server") -> list[Seen]:
        """What the ``party`` saw of a client, or of sums it is in, in the order of the rounds."""
        return [seen for seen in self.seen if seen.party == party and client in seen.clients]

    def takes_uploads(self) -> bool:
        """Whether the inner place lets clients send something beside their update."""
        try:
            self.inner.collect(Sums(), seed=0, round=0).add_upload("counts", torch.zeros(1, 1))
        except InputError:
            return False
        return True

    def init(self, split: Split, seed: int) -> dict[str, Tensor]:
        """The inner place's state."""
        return self.inner.init(split, seed)

    def plan(self, plan: Plan) -> dict[str, Tensor]:
        """The inner place's plan."""
        return self.inner.plan(plan)

    def broadcast(self, own: dict[str, Tensor], state: State, chosen: Tensor) -> dict[str, Tensor]:
        """The inner place's message; note the model that goes with it."""
        self.received, self.pending = {**state.tables, **state.shared}, []
        return self.inner.broadcast(own, state, chosen)

    def client(self, work: Work, message: dict[str, Tensor]) -> dict[str, Tensor]:
        """Let the inner place protect the updates, then note them."""
        uploads = self.inner.client(work, message)
        for k, client in enumerate(work.clients.tolist()):
            real = work.real[k]
            rows = {name: work.update[name][k][real] for name in work.tables}
            rest = {name: value[k].clone() for name, value in work.update.items() if name not in rows}
            self.pending.append(Seen("server", work.round, (client,), work.ids[k][real], rows, rest, self.received))
        return uploads

    def uploads_held(self, plan: Plan) -> float:
        """What the inner place holds."""
        return self.inner.uploads_held(plan)

    def collect(self, sums: Sums, seed: int, round: int) -> Sums:
        """What the inner place collects in."""
        return self.inner.collect(sums, seed, round)

    def server(self, own: dict[str, Tensor], uploads: dict[str, Tensor], sums: Sums, state: State) -> dict[str, Tensor]:
        """Let the inner place do its part, then note what the server and the others have."""
        own = self.inner.server(own, uploads, sums, state)
        if self.pending:
            means = {
                name: weighted_mean(torch.zeros_like(delta), delta, sums.weight[name])
                for name, delta in sums.delta.items()
            }
            plain = sums.sent is None
            self.seen += self.pending if plain else [self.together("server", sums.delta, state)]
            self.seen.append(self.together("outside", means, state))
        return own

    def together(self, party: str, totals: dict[str, Tensor], state: State) -> Seen:
        """What is seen of all clients of the round at once, from ``totals`` by name."""
        clients = tuple(client for seen in self.pending for client in seen.clients)
        rows = {name: totals[name].clone() for name in state.tables}
        rest = {name: totals[name].clone() for name in state.shared}
        every = torch.arange(state.n_items, device=state.device)
        return Seen(party, self.pending[0].round, clients, every, rows, rest, self.received)

    def report(self, own: dict[str, Tensor]) -> dict[str, float]:
        """The inner place's report."""
        return self.inner.report(own)
