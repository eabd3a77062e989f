"""What the server does with what it is sent: running weighted sums, the means made of them, and the step it takes.

No list of client models is ever held. For each shared tensor the server keeps the sum of the weighted differences and
the sum of the weights, always added in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from fedlib.scatter import add_rows_
from fedlib.shapes import Upload


@dataclass
class Sums:
    """Running sums over the clients of a round.

    ``delta[name]``: sum of weighted differences, (n, d) for a table, the parameter's shape otherwise.
    ``weight[name]``: sum of the weights, () or (n,) where every row has its own.
    ``uploads["place/name"]``: plain sums of what the places sent. ``loss``, ``clients``: for the history; ``received``
    counts also those whose upload did not arrive, ``informed`` those of them that were sent fixed features.
    ``sent`` is what each client sent in the place of its plain tensors, rows (name, shape, dtype, bytes a client),
    where something did.
    """

    delta: dict[str, Tensor] = field(default_factory=dict)
    weight: dict[str, Tensor] = field(default_factory=dict)
    uploads: dict[str, Tensor] = field(default_factory=dict)
    loss: float = 0.0
    clients: int = 0
    received: int = 0
    informed: int = 0
    sent: list[tuple[str, str, str, float]] | None = None

    def add(self, upload: Upload, items: str, network: str) -> None:
        """Add the updates of K clients, weighted by the rules for ``items`` and ``network`` (``client_weights``)."""
        for name, value in upload.update.items():
            rule = items if name in upload.tables else network
            weight = client_weights(rule, upload.size)
            if name in upload.tables:
                self.add_table(name, upload.ids, upload.real, value, weight, by_row=rule == "row")
            else:
                self.add_parameter(name, value, weight)
        self.loss += float(upload.loss.sum())
        self.clients += len(upload.clients)

    def add_table(self, name: str, ids: Tensor, real: Tensor, delta: Tensor, weight: Tensor, *, by_row: bool) -> None:
        """Add K clients' differences of table ``name`` on their own rows, which are scaled in place.

        ids, real (K, R), delta (K, R, d), weight (K,). ``by_row``: a row counts only clients that touched it.
        """
        factor = real * weight[:, None]
        add_rows_(self.delta[name], ids.flatten(), delta.mul_(factor[:, :, None]).flatten(0, 1))
        if by_row:
            add_rows_(self.weight[name], ids.flatten(), factor.flatten())
        else:
            self.weight[name] += weight.sum()

    def add_parameter(self, name: str, delta: Tensor, weight: Tensor) -> None:
        """Add K clients' differences (K, ...) of parameter ``name``, weight (K,)."""
        self.delta[name] += torch.tensordot(weight, delta, dims=1)
        self.weight[name] += weight.sum()

    def add_upload(self, name: str, values: Tensor) -> None:
        """Add what K clients (K, ...) sent for a place."""
        total = values.sum(0)
        self.uploads[name] = self.uploads[name] + total if name in self.uploads else total


@dataclass
class EqualWeights(Sums):
    """Running sums in which every client counts 1, whatever its number of samples and the rows it touched.

    Where what one client adds to a sum must be bounded, so must be its weight.
    """

    def add_table(self, name: str, ids: Tensor, real: Tensor, delta: Tensor, weight: Tensor, *, by_row: bool) -> None:
        """Like :meth:`Sums.add_table` with weights of 1."""
        super().add_table(name, ids, real, delta, torch.ones_like(weight), by_row=False)

    def add_parameter(self, name: str, delta: Tensor, weight: Tensor) -> None:
        """Like :meth:`Sums.add_parameter` with weights of 1."""
        super().add_parameter(name, delta, torch.ones_like(weight))


@dataclass
class SeparateUploads(Sums):
    """Every client's upload by itself and dense, for what cannot be made of running sums.

    ``values[name]`` lists the differences (K, ...) of one group of clients after the other, (K, n, d) for a table, and
    ``weights[name]`` their weights (K,), or (K, n) where every row has its own. Memory: clients x all shared numbers.
    """

    values: dict[str, list[Tensor]] = field(default_factory=dict)
    weights: dict[str, list[Tensor]] = field(default_factory=dict)
    touched: dict[str, list[Tensor]] = field(default_factory=dict)
    apart: dict[str, list[Tensor]] = field(default_factory=dict)

    def add_table(self, name: str, ids: Tensor, real: Tensor, delta: Tensor, weight: Tensor, *, by_row: bool) -> None:
        """Note K clients' differences of table ``name``; the arguments are those of :meth:`Sums.add_table`."""
        n = len(self.delta[name])
        touched = real.new_zeros(len(ids), n + 1)
        touched.scatter_(1, torch.where(real, ids, n), True)
        self._note(self.touched, name, touched[:, :n])
        self._note(self.values, name, dense_rows(ids, real, delta, n))
        self._note(self.weights, name, touched[:, :n] * weight[:, None] if by_row else weight)

    def add_parameter(self, name: str, delta: Tensor, weight: Tensor) -> None:
        """Note K clients' differences (K, ...) of parameter ``name``, weight (K,)."""
        self._note(self.values, name, delta)
        self._note(self.weights, name, weight)

    def add_upload(self, name: str, values: Tensor) -> None:
        """Note what K clients (K, ...) sent for a place."""
        self._note(self.apart, name, values)

    @staticmethod
    def _note(where: dict[str, list[Tensor]], name: str, values: Tensor) -> None:
        where.setdefault(name, []).append(values)


def dense_rows(ids: Tensor, real: Tensor, rows: Tensor, n: int) -> Tensor:
    """Whole tables (K, n, d) from the rows (K, R, d) of items ``ids`` (K, R) where ``real``, zero elsewhere."""
    k, _, d = rows.shape
    place = torch.where(real, ids, n) + torch.arange(k, device=ids.device)[:, None] * (n + 1)
    table = rows.new_zeros(k * (n + 1), d)  # the last row of each table takes the padding
    return add_rows_(table, place.flatten(), rows.flatten(0, 1)).view(k, n + 1, d)[:, :n]


def zero_sums(tables: dict[str, Tensor], shared: dict[str, Tensor], aggregate_items: str) -> Sums:
    """Sums of nothing yet, for these server tables (n, d) and shared parameters."""
    sums = Sums()
    for name, value in {**tables, **shared}.items():
        sums.delta[name] = torch.zeros_like(value)
        by_row = name in tables and aggregate_items == "row"
        sums.weight[name] = value.new_zeros(len(value) if by_row else ())
    return sums


def client_weights(rule: str, n_samples: Tensor) -> Tensor:
    r"""The weight of each client (K,) in a mean.

    ``"uniform"`` and ``"row"``: 1. ``"size"``: its number of samples, FedAvg's :math:`n_k / \sum_j n_j`
    (McMahan et al., AISTATS 2017, Algorithm 1; divided by the sum over participants in :func:`weighted_mean`).
    """
    return n_samples if rule == "size" else torch.ones_like(n_samples)


def weighted_mean(value: Tensor, delta: Tensor, weight: Tensor) -> Tensor:
    r"""The server's step :math:`\theta \leftarrow \theta + \sum_k w_k(\theta_k-\theta) / \sum_k w_k`.

    The mean of the clients' values for weights that sum to one. weight () for the whole tensor or (n,) for each row;
    a row of weight 0 was touched by nobody and stays.
    """
    weight = weight.view(-1, *(1,) * (value.dim() - 1)) if weight.dim() else weight
    return value + torch.where(weight > 0, delta / weight.clamp(min=torch.finfo(value.dtype).tiny), 0.0)
