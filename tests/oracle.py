"""The judge of the engine: federated training written as plainly as possible.

Each client is a deep copy of an ordinary ``nn.Module``, trained by ``torch.optim``; clients, epochs and batches are
Python loops. Nothing is shared with the package but its random numbers, which are part of the specification.

A model is given as a function of the number of items, for instance ``partial(FedNCF, dim=8, hidden=(16, 8))``.
Values go in and come out under short names: a table by its own name ("item"; "gmf" and "mlp" for NeuMF), every other
parameter by its path in the module ("user", "score.weight", "mlp.linear0.bias", ...).
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from fedlib import rng

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}


class Dropout(nn.Module):
    """Multiplies by a mask that the trainer sets; without one it is the identity, as evaluation needs."""

    def __init__(self, p: float, width: int) -> None:
        super().__init__()
        self.p, self.width = p, width
        self.mask: Tensor | None = None

    def forward(self, h: Tensor) -> Tensor:
        return h if self.mask is None else h * self.mask


def hidden_layers(widths: Sequence[int], dropout: float) -> OrderedDict[str, nn.Module]:
    """linear0, relu0, dropout0, linear1, ... for the layer widths, input first."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for k, (fan_in, fan_out) in enumerate(pairwise(widths)):
        layers[f"linear{k}"] = nn.Linear(fan_in, fan_out)
        layers[f"relu{k}"] = nn.ReLU()
        layers[f"dropout{k}"] = Dropout(dropout, fan_out)
    return layers


def mlp(width: int, hidden: Sequence[int], dropout: float) -> nn.Sequential:
    """width -> hidden -> 1; the last linear layer carries the next free number."""
    layers = hidden_layers([width, *hidden], dropout)
    layers[f"linear{len(hidden)}"] = nn.Linear(hidden[-1], 1)
    return nn.Sequential(layers)


class Client(nn.Module):
    """One client's model: item ids (N,) -> logits (N,)."""

    tables: nn.ModuleDict
    dual: ClassVar[bool] = False  # PFedRec: private part first, then items; the client keeps its own table
    own_tables: ClassVar[tuple[str, ...]] = ()  # tables that live on the client
    fused: ClassVar[tuple[str, ...]] = ()  # parameters beside the tables that step with the items

    def penalty(self, item: Tensor, t: int) -> Tensor | float:
        """What joins the cross-entropy of a batch in round t."""
        return 0.0


class FedMF(Client):
    """Chai et al. 2020, implicit: p_u . q_i. Private "user" (d,); items averaged "uniform" by default."""

    def __init__(self, n_items: int, dim: int) -> None:
        super().__init__()
        self.tables = nn.ModuleDict({"item": nn.Embedding(n_items, dim)})
        self.user = nn.Parameter(torch.zeros(dim))

    def forward(self, item: Tensor) -> Tensor:
        return self.tables["item"](item) @ self.user


class FedNCF(Client):
    """Perifanis and Efraimidis 2022, one table: MLP([p_u; q_i]). Private "user" (d,); default "row" and "size"."""

    def __init__(self, n_items: int, dim: int, hidden: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        self.tables = nn.ModuleDict({"item": nn.Embedding(n_items, dim)})
        self.user = nn.Parameter(torch.zeros(dim))
        self.mlp = mlp(2 * dim, hidden, dropout)

    def forward(self, item: Tensor) -> Tensor:
        q = self.tables["item"](item)
        return self.mlp(torch.cat([self.user.expand_as(q), q], dim=1)).squeeze(1)


class NeuMF(Client):
    """He et al. 2017: w . [p_g * q_g; tower([p_m; q_m])] + b. Private "user_gmf" (d,) and "user_mlp" (d_m,)."""

    def __init__(self, n_items: int, dim: int, dim_mlp: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.tables = nn.ModuleDict({"gmf": nn.Embedding(n_items, dim), "mlp": nn.Embedding(n_items, dim_mlp)})
        self.user_gmf = nn.Parameter(torch.zeros(dim))
        self.user_mlp = nn.Parameter(torch.zeros(dim_mlp))
        self.tower = nn.Sequential(hidden_layers([2 * dim_mlp, *hidden], dropout=0.0))
        self.out = nn.Linear(dim + hidden[-1], 1)

    def forward(self, item: Tensor) -> Tensor:
        gmf, q = self.tables["gmf"](item), self.tables["mlp"](item)
        tower = self.tower(torch.cat([self.user_mlp.expand_as(q), q], dim=1))
        return self.out(torch.cat([self.user_gmf * gmf, tower], dim=1)).squeeze(1)


class PFedRec(Client):
    """Zhang et al. 2023: score_u(q_i), linear or an MLP. Private "score.*"; items averaged "uniform" by default."""

    dual = True

    def __init__(self, n_items: int, dim: int, hidden: Sequence[int] = (), dropout: float = 0.0) -> None:
        super().__init__()
        self.tables = nn.ModuleDict({"item": nn.Embedding(n_items, dim)})
        self.score = mlp(dim, hidden, dropout) if hidden else nn.Linear(dim, 1)

    def forward(self, item: Tensor) -> Tensor:
        return self.score(self.tables["item"](item)).squeeze(1)


class FedAvg(Client):
    """A private linear head over the shared table. Private "score.*"; items averaged by "size" by default."""

    def __init__(self, n_items: int, dim: int) -> None:
        super().__init__()
        self.tables = nn.ModuleDict({"item": nn.Embedding(n_items, dim)})
        self.score = nn.Linear(dim, 1)

    def forward(self, item: Tensor) -> Tensor:
        return self.score(self.tables["item"](item)).squeeze(1)


class FedRAP(Client):
    """Li et al. 2024: score_u(D_i + C_i). Private "score.*" and the table "personal" (n, d); C averaged "uniform"."""

    own_tables = ("personal",)

    def __init__(self, n_items: int, dim: int, lam: float, mu: float, ramp: bool = True) -> None:
        super().__init__()
        self.tables = nn.ModuleDict({name: nn.Embedding(n_items, dim) for name in ("common", "personal")})
        self.score = nn.Linear(dim, 1)
        self.lam, self.mu, self.ramp = lam, mu, ramp

    def forward(self, item: Tensor) -> Tensor:
        return self.score(self.tables["personal"](item) + self.tables["common"](item)).squeeze(1)

    def penalty(self, item: Tensor, t: int) -> Tensor:
        d, c = self.tables["personal"](item), self.tables["common"](item)
        ramp = math.tanh(t / 10) if self.ramp else 1.0
        return self.mu * ramp * c.abs().mean() - self.lam * ramp * ((d - c) ** 2).mean()


@dataclass(frozen=True)
class Local:
    """How every client trains."""

    epochs: int
    batch: int
    lr: float
    lr_items: float
    weight_decay: float
    optimizer: str
    seed: int
    step_decay: float = 1.0
    stop: float = 0.0


@dataclass(frozen=True)
class Samples:
    """One client's samples of one round, each (N,)."""

    id: Tensor
    item: Tensor
    label: Tensor


@dataclass(frozen=True)
class Upload:
    """What one client sends: whole tables and parameters by short name, the rows its samples touched, N."""

    values: dict[str, Tensor]
    rows: Tensor
    size: int


@dataclass(frozen=True)
class OracleResult:
    """Shared values; private values (m, ...); every user's own (n, d) table (PFedRec only); mean loss per round."""

    shared: dict[str, Tensor]
    private: dict[str, Tensor]
    personal_tables: dict[int, Tensor]
    losses: list[float]


def participants(n_users: int, share: float, seed: int, t: int) -> list[int]:
    """The max(1, round(C m)) users with the smallest draws of round t, in ascending order."""
    draws = rng.bits(rng.key(seed, "clients", t), torch.arange(n_users)).tolist()
    chosen = sorted(range(n_users), key=draws.__getitem__)[: max(1, round(share * n_users))]
    return sorted(chosen)


def draw_samples(
    user: int, positives: Sequence[int], excluded: Sequence[int], n_items: int, negatives: int, seed: int, t: int
) -> Samples:
    """Each positive i with its negatives: the r-th items, in ascending order, that are not excluded."""
    i = torch.tensor(positives)[:, None]
    j = torch.arange(negatives)
    free = torch.tensor(sorted(set(range(n_items)) - set(excluded)))
    r = rng.integers(len(free), rng.key(seed, "negatives", t), torch.tensor(user), i * negatives + j)
    item = torch.cat([i, free[r]], dim=1)
    label = torch.cat([torch.ones_like(i), torch.zeros_like(r)], dim=1)
    sample_id = i * (negatives + 1) + torch.arange(negatives + 1)
    return Samples(sample_id.flatten(), item.flatten(), label.flatten())


def batches(sample_id: Tensor, batch: int, user: int, seed: int, t: int, epoch: int) -> Iterator[Tensor]:
    """Positions of the samples, in the epoch's order, a batch at a time."""
    draws = rng.bits(rng.key(seed, "shuffle", t, epoch), torch.tensor(user), sample_id)
    order = torch.argsort((draws >> 1) & (2**63 - 1))
    yield from order.split(batch)


def dropout_mask(stream: int, user: int, sample_id: Tensor, p: float, width: int) -> Tensor:
    """0 or 1 / (1 - p), float64 (N, width); 4 units share a 64-bit draw, at p = 1/2 64 units do, lowest bits first."""
    h, share = torch.arange(width), 64 if p == 0.5 else 4
    word = rng.bits(stream, torch.tensor(user), sample_id[:, None] * math.ceil(width / share) + h // share)
    size = 64 // share
    field = (word >> (size * (h % share))) & (2**size - 1)
    return (field >= round(p * 2**size)).double() / (1 - p)


def set_masks(model: Client, sample_id: Tensor, user: int, seed: int, t: int, epoch: int) -> None:
    """Give every dropout site its mask for this batch."""
    dtype = next(model.parameters()).dtype
    for site, module in model.named_modules():
        if isinstance(module, Dropout) and module.p > 0:
            stream = rng.key(seed, "dropout:" + site, t, epoch)
            module.mask = dropout_mask(stream, user, sample_id, module.p, module.width).to(dtype)


def make_optimizers(model: Client, local: Local) -> list[torch.optim.Optimizer]:
    """One optimiser with two learning rates; for PFedRec two, the score function's first."""
    items = {"params": list(model.tables.parameters()), "lr": local.lr_items}
    rest = [(name, p) for name, p in model.named_parameters() if not name.startswith("tables.")]
    fused = {"params": [p for name, p in rest if name.split(".")[0] in model.fused], "lr": local.lr}
    others = {"params": [p for name, p in rest if name.split(".")[0] not in model.fused], "lr": local.lr}
    make = cast(Callable[..., torch.optim.Optimizer], OPTIMIZERS[local.optimizer])
    steps = [[others], [items, fused]] if model.dual else [[others, items, fused]]
    return [make(groups, weight_decay=local.weight_decay) for groups in steps]


def train_batch(
    model: Client, optimizers: Sequence[torch.optim.Optimizer], item: Tensor, label: Tensor, t: int
) -> float:
    """One step of each optimiser in turn, each on a fresh gradient; the loss before the first."""
    losses = []
    for optimizer in optimizers:
        model.zero_grad()
        loss = binary_cross_entropy_with_logits(model(item), label) + model.penalty(item, t)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[0]


def train(model: Client, samples: Samples, item: Tensor, user: int, t: int, local: Local) -> float:
    """Local training with fresh optimisers on ``item``, the table row of each sample; the mean of the batch losses."""
    optimizers = make_optimizers(model, local)
    schedules = [torch.optim.lr_scheduler.ExponentialLR(optimizer, local.step_decay) for optimizer in optimizers]
    label = samples.label.to(next(model.parameters()).dtype)
    losses, sizes, means = [], [], []
    for epoch in range(local.epochs):
        for chosen in batches(samples.id, local.batch, user, local.seed, t, epoch):
            set_masks(model, samples.id[chosen], user, local.seed, t, epoch)
            losses.append(train_batch(model, optimizers, item[chosen], label[chosen], t))
            sizes.append(len(chosen))
            for schedule in schedules:
                schedule.step()
        means.append(sum(map(math.prod, zip(losses, sizes, strict=True))) / sum(sizes))
        if epoch > 0 and abs(means[-1] - means[-2]) / abs(means[-2]) < local.stop:
            break
    return sum(losses) / len(losses)


def state_name(model: Client, name: str) -> str:
    """The short name's key in ``model.state_dict()``."""
    return f"tables.{name}.weight" if name in model.tables else name


def load(model: Client, values: Mapping[str, Tensor]) -> None:
    """Fill in every parameter; a name that is missing, unknown or of another shape raises RuntimeError."""
    model.load_state_dict({state_name(model, name): value for name, value in values.items()})


def client_model(server: Client, private: Mapping[str, Tensor], user: int, rows: Tensor) -> Client:
    """A deep copy of the server's model with the user's own parameters and a table of ``rows`` only."""
    model = copy.deepcopy(server)
    own = {name: value[user] for name, value in private.items()}
    model.load_state_dict({name: value for name, value in own.items() if name not in server.tables}, strict=False)
    for name in server.tables:
        received = own[name] if name in own else server.get_parameter(state_name(server, name)).detach()
        model.tables[name] = nn.Embedding.from_pretrained(received[rows], freeze=False)
    return model


def make_upload(server: Client, model: Client, shared: Iterable[str], rows: Tensor, samples: Samples) -> Upload:
    """The client's shared values; a table is the one it received with its trained rows written in."""
    values = {}
    for name in shared:
        received, trained = (m.get_parameter(state_name(m, name)).detach() for m in (server, model))
        values[name] = received.index_copy(0, rows, trained) if name in model.tables else trained
    return Upload(values, torch.unique(samples.item), len(samples.id))


def aggregate(mode: str, before: Tensor, values: Sequence[Tensor], uploads: Sequence[Upload]) -> Tensor:
    """The mean over participants: "uniform", by sample "size", or for each item "row" over those that touched it."""
    if mode == "uniform":
        return sum(values, torch.zeros_like(before)) / len(values)
    if mode == "size":
        weighted = [upload.size * value for upload, value in zip(uploads, values, strict=True)]
        return sum(weighted, torch.zeros_like(before)) / sum(upload.size for upload in uploads)
    if mode == "row":
        total, count = torch.zeros_like(before), torch.zeros(len(before), 1, dtype=before.dtype)
        for upload, value in zip(uploads, values, strict=True):
            total[upload.rows] += value[upload.rows]
            count[upload.rows] += 1
        return torch.where(count > 0, total / count.clamp(min=1), before)
    raise ValueError(f"aggregation is 'uniform', 'size' or 'row', not {mode!r}")


@torch.no_grad()
def update_server(server: Client, uploads: Sequence[Upload], items: str, params: str) -> None:
    """Replace every shared value by the mean of the uploads."""
    for name in uploads[0].values:
        value = server.get_parameter(state_name(server, name))
        mode = items if name in server.tables else params
        value.copy_(aggregate(mode, value, [upload.values[name] for upload in uploads], uploads))


def run(
    model_spec: Callable[[int], Client],
    positives: Sequence[Sequence[int]],
    n_items: int,
    *,
    shared: Mapping[str, Tensor],
    private: Mapping[str, Tensor],
    rounds: int,
    epochs: int,
    batch: int,
    lr: float,
    lr_items: float,
    weight_decay: float,
    optimizer: str,
    negatives: int,
    clients_per_round: float,
    aggregate_items: str,
    aggregate_params: str,
    seed: int,
    dtype: torch.dtype,
    exclude: Sequence[Sequence[int]] | None = None,
    dense_table: bool = False,
    step_decay: float = 1.0,
    stop: float = 0.0,
) -> OracleResult:
    """Federated training from the initial values ``shared`` and ``private`` (m, ...).

    A client's table holds the rows of this round's samples only; ``dense_table`` trains the whole table.
    ``exclude`` names the items that are never drawn as a user's negatives; by default its positives.
    """
    if not all(positives):
        raise ValueError("every user needs at least one positive item")
    if aggregate_params not in ("uniform", "size"):
        raise ValueError(f"network weights are averaged 'uniform' or by 'size', not {aggregate_params!r}")
    local = Local(epochs, batch, lr, lr_items, weight_decay, optimizer, seed, step_decay, stop)
    mine = {name: value.to(dtype, copy=True) for name, value in private.items()}
    server = model_spec(n_items).to(dtype)
    load(server, {**shared, **{name: value[0] for name, value in mine.items()}})
    personal = dict.fromkeys(range(len(positives)), shared["item"].to(dtype)) if server.dual else {}
    losses = []
    for t in range(rounds):
        uploads, client_losses = [], []
        for user in participants(len(positives), clients_per_round, seed, t):
            excluded = (positives if exclude is None else exclude)[user]
            samples = draw_samples(user, positives[user], excluded, n_items, negatives, seed, t)
            rows = torch.arange(n_items) if dense_table else torch.unique(samples.item)
            model = client_model(server, mine, user, rows)
            client_losses.append(train(model, samples, torch.searchsorted(rows, samples.item), user, t, local))
            for name, value in mine.items():
                trained = model.get_parameter(state_name(model, name)).detach()
                value[user, rows if name in server.own_tables else ...] = trained
            uploads.append(make_upload(server, model, shared, rows, samples))
            if server.dual:
                personal[user] = uploads[-1].values["item"]
        update_server(server, uploads, aggregate_items, aggregate_params)
        losses.append(sum(client_losses) / len(client_losses))
    final = {name: server.get_parameter(state_name(server, name)).detach() for name in shared}
    return OracleResult(final, mine, personal, losses)


def scores(model_spec: Callable[[int], Client], result: OracleResult, user: int) -> Tensor:
    """The user's logits (n,) of all items, without dropout and, for PFedRec, with the user's own table."""
    own = {"item": result.personal_tables[user]} if result.personal_tables else {}
    values = {**result.shared, **own, **{name: value[user] for name, value in result.private.items()}}
    n_items = next(len(values[name]) for name in ("item", "gmf", "common") if name in values)
    model = model_spec(n_items).to(next(iter(values.values())).dtype)
    load(model, values)
    with torch.no_grad():
        return model(torch.arange(n_items))
