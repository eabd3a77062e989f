"""Places for ``protect``: noise and clipping, between local training and the server."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fedlib import rng
from fedlib.errors import InputError
from fedlib.places import Place, Plan
from fedlib.protect.accounting import calibrate, epsilon
from fedlib.protect.mechanisms import clip_update, gaussian_sum_noise, plain_noise
from fedlib.protect.perturb import Perturbation, laplace, perturb
from fedlib.server.sums import EqualWeights, Sums, dense_rows
from fedlib.shapes import Upload, Work, real_of

if TYPE_CHECKING:
    from fedlib.engine.state import State


SLACK = 1e-4  # what rounding may add to the norm of an update that was clipped, relative


@dataclass
class NoisySums(EqualWeights):
    """Sums of equal weights that are about to get noise, the stream it is drawn from, and the norm they believe."""

    stream: int = 0
    bound: float = math.inf

    def add(self, upload: Upload, items: str, network: str) -> None:
        """Add the updates of K clients, none of which counts for more than the bound."""
        super().add(within(upload, self.bound), items, network)

    def add_upload(self, name: str, values: Tensor) -> None:
        """Refused: what another place sends is not clipped, and no noise covers it."""
        raise InputError(f"{name} is sent beside the update, and UserLevelDP does not cover it: leave one of them out.")


def within(upload: Upload, bound: float) -> Upload:
    """The upload with every update that is clearly longer than ``bound`` scaled down to it, and no other touched.

    Honest clients have clipped already, and rounding leaves some a hair above the bound: up to ``SLACK`` is believed.
    """
    tables = dict.fromkeys(upload.tables, upload.real)
    clipped, norms, _ = clip_update(upload.update, bound, tables)
    long = norms > bound * (1 + SLACK)
    if not bool(long.any()):
        return upload
    of_client = {name: long.view(-1, *(1,) * (value.dim() - 1)) for name, value in clipped.items()}
    update = {name: torch.where(of_client[name], value, upload.update[name]) for name, value in clipped.items()}
    return replace(upload, update=update)


@dataclass(frozen=True, kw_only=True)
class UserLevelDP(Place):
    r"""User-level differential privacy: what the server learns hardly depends on any one client.

    .. math:: \bar\Delta = \frac{1}{q m}\Big(\sum_{u\in S_t} \Delta_u \min\big(1, S / \lVert\Delta_u\rVert_2\big)
       + \mathcal N(0, (zS)^2)\Big)

    A client clips its *whole* update to the norm S (``clip``), all tensors together; the server adds up with equal
    weights whatever the backbone asks for, adds noise to the sum, and divides by the clients it expected, q m. The
    noise multiplier z is given, or found for ``epsilon`` at ``delta`` after all rounds of the run. What epsilon means
    depends on how clients are drawn (``sampling`` of :func:`~fedlib.federation.federate`), see
    :mod:`fedlib.protect.accounting`; what has been spent so far is in the history. Private parameters are never sent
    and cost nothing.

    The clients' clipping bounds what an honest client reveals; it does not bind one that lies. So the server clips what
    arrives once more, which changes nothing for honest clients, and then nobody moves the model by more than S / (q m)
    in a round. This server can do that because it sees every upload by itself. Under secure aggregation it sees the sum
    only, and there a client can send what it likes.

    Source: McMahan et al., *Learning Differentially Private Recurrent Language Models*, ICLR 2018.
    """

    clip: float
    noise_multiplier: float | None = None
    epsilon: float | None = None
    delta: float = 1e-5

    def plan(self, plan: Plan) -> dict[str, Tensor]:
        """The noise multiplier, the share of clients in a round and how many that is; no round has been spent."""
        if (self.noise_multiplier is None) == (self.epsilon is None):
            raise InputError("UserLevelDP takes a noise_multiplier or an epsilon, one of the two.")
        if not 0 < self.clip < math.inf:
            raise InputError(f"clip must be a norm above 0, not {self.clip}.")
        rate = plan.cohort / plan.able
        z = self.noise_multiplier
        if z is None:
            assert self.epsilon is not None
            z = calibrate(self.epsilon, self.delta, rate, plan.rounds, plan.sampling)
        epsilon(z, rate, 1, self.delta, plan.sampling)  # refuses what makes no sense before anything is trained
        own = {"noise multiplier": z, "rate": rate, "expected": plan.cohort, "steps": 0.0}
        own["sampling"] = float(("all", "fixed", "poisson").index(plan.sampling))
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in own.items()}

    def client(self, work: Work, message: dict[str, Tensor]) -> dict[str, Tensor]:
        """Clip."""
        tables = dict.fromkeys(work.tables, work.real)
        work.update, _, _ = clip_update(work.update, self.clip, tables)
        return {}

    def collect(self, sums: Sums, seed: int, round: int) -> Sums:
        """Equal weights, and no update above the clipping bound."""
        stream = rng.key(seed, "user-level dp", round)
        return NoisySums(sums.delta, zero_weights(sums), stream=stream, bound=self.clip)

    def server(self, own: dict[str, Tensor], uploads: dict[str, Tensor], sums: Sums, state: State) -> dict[str, Tensor]:
        """Add the noise, and divide by those expected."""
        assert isinstance(sums, NoisySums)
        std = float(own["noise multiplier"]) * self.clip
        for name, total in sums.delta.items():
            noise = gaussian_sum_noise(tuple(total.shape), std, rng.key(sums.stream, name), total.device)
            total += noise.to(total.dtype)
            sums.weight[name].fill_(float(own["expected"]))
        return own | {"steps": own["steps"] + 1}

    def report(self, own: dict[str, Tensor]) -> dict[str, float]:
        """What the rounds so far have spent."""
        sampling = ("all", "fixed", "poisson")[int(own["sampling"])]
        z, rate, steps = (float(own[name]) for name in ("noise multiplier", "rate", "steps"))
        return {"epsilon": epsilon(z, rate, int(steps), self.delta, sampling)}


@dataclass(frozen=True, kw_only=True)
class LocalDP(Place):
    r"""Clipping and Laplace noise on every number a client sends, and pseudo-interacted items to hide the real ones.

    Each number is :math:`\epsilon`-locally differentially private in each round, with
    :math:`\epsilon = 2\,clip / scale`; a client sends many numbers in many rounds, and their budgets add up, so of the
    client as a whole this says little. See :func:`~fedlib.protect.perturb.perturb`.

    It protects clients from the server and not the server from clients: Laplace noise has no bound, so what an honest
    client sends may have any size, and a server that clipped it would change honest updates.
    Source: Wu et al., Nature Communications 13:3091, 2022.
    """

    clip: float = 0.1
    scale: float = 0.2
    pseudo_items: int = 1000

    def client(self, work: Work, message: dict[str, Tensor]) -> dict[str, Tensor]:
        """Perturb the item rows, all tables together so that they name the same items, and the other parameters."""
        stream = rng.key(work.seed, "local dp", work.round)
        names = [*work.tables]
        for name in work.update.keys() - {*names}:
            value = work.update[name].clamp(-self.clip, self.clip)
            index = torch.arange(value[0].numel(), device=value.device)
            noise = laplace(rng.key(stream, name), work.clients[:, None], index).view(value.shape)
            work.update[name] = value + self.scale * noise.to(value.dtype)
        if names:
            rows, widths = torch.cat([work.update[n] for n in names], 2), [work.update[n].shape[2] for n in names]
            how = Perturbation(self.clip, self.scale, self.pseudo_items)
            work.ids, n_rows, rows = perturb(
                rows, work.ids, work.real.sum(1), how, clients=work.clients, n_items=work.n_items, stream=stream
            )
            work.real = real_of(work.ids, n_rows)
            work.update |= dict(zip(names, rows.split(widths, dim=2), strict=True))
        return {}


@dataclass(frozen=True, kw_only=True)
class PlainNoise(Place):
    """Gaussian noise on every coordinate a client sends, the rows of all items included, as in FedMR's Table 4.

    It has NO privacy guarantee: nothing bounds how much an update may say. See
    :func:`~fedlib.protect.mechanisms.plain_noise`.
    """

    variance: float = 0.1

    def client(self, work: Work, message: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add the noise; every item's row is sent from then on."""
        for name in work.tables:
            work.update[name] = dense_rows(work.ids, work.real, work.update[name], work.n_items)
        work.ids = torch.arange(work.n_items, device=work.ids.device).expand(len(work.clients), -1)
        work.real = torch.ones_like(work.ids, dtype=torch.bool)
        stream = rng.key(work.seed, "plain noise", work.round)
        work.update = plain_noise(work.update, self.variance, stream, work.clients)
        return {}


def zero_weights(sums: Sums) -> dict[str, Tensor]:
    """A weight of zero for each tensor as a whole."""
    return {name: total.new_zeros(()) for name, total in sums.delta.items()}
