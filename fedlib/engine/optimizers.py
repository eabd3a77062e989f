"""The rules of local training on stacked clients: each has its own parameters, its own steps and its own factor.

Shape letters: K clients, of which those from ``first`` on take the step, K' in number.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim.adam import adam

from fedlib.shapes import RankOne, dense

Named = Mapping[str, Mapping[str, Tensor | RankOne]]  # group -> name -> gradient


def along(factor: Tensor, leaf: Tensor) -> Tensor:
    """A number for each client (K',), in the shape that multiplies its part of a ``leaf`` (K', ...)."""
    return factor.view(-1, *[1] * (leaf.dim() - 1))


class SGD:
    """theta <- theta - lr (g + decay theta), for stacked clients, each with a ``factor`` of its own on lr."""

    def __init__(self, leaves: dict[str, dict[str, Tensor]], rates: dict[str, float], decay: float) -> None:
        self.leaves, self.rates, self.decay = leaves, rates, decay

    def step(self, gradients: Named, groups: tuple[str, ...], first: int, factor: Tensor | float = 1.0) -> None:
        """Update ``groups`` of the clients from ``first`` on; ``factor`` (K',) multiplies their rates."""
        for group in groups:
            for name, g in gradients[group].items():
                theta, rate = self.leaves[group][name][first:], self.rates[group]
                if isinstance(factor, Tensor):
                    theta.sub_(rate * along(factor, theta) * dense(g).add(theta, alpha=self.decay))
                elif self.decay:
                    theta.sub_(dense(g).add(theta, alpha=self.decay), alpha=rate)
                elif isinstance(g, RankOne):
                    theta.addcmul_(g.left[:, :, None], g.right[:, None, :], value=-rate)
                else:
                    theta.sub_(g, alpha=rate)


class Adam:
    r"""Adam with a step count for each client, for stacked clients, each with a ``factor`` of its own on lr.

    .. math::

        m \leftarrow \beta_1 m + (1-\beta_1) g,\quad v \leftarrow \beta_2 v + (1-\beta_2) g^2,\quad
        \theta \leftarrow \theta - \eta\,\frac{m / (1-\beta_1^s)}{\sqrt{v / (1-\beta_2^s)} + \epsilon}

    with s the client's own number of steps, beta = (.9, .999) and epsilon = 1e-8.

    Source: Kingma and Ba, *Adam: A Method for Stochastic Optimization*, ICLR 2015, Algorithm 1.
    """

    def __init__(self, leaves: dict[str, dict[str, Tensor]], rates: dict[str, float], decay: float) -> None:
        self.leaves, self.rates, self.decay = leaves, rates, decay
        everything = [leaf for named in leaves.values() for leaf in named.values()]
        self.moments = {id(leaf): (torch.zeros_like(leaf), torch.zeros_like(leaf)) for leaf in everything}
        self.steps = {group: torch.zeros(len(everything[0]), dtype=torch.int64) for group in leaves}

    def step(self, gradients: Named, groups: tuple[str, ...], first: int, factor: Tensor | float = 1.0) -> None:
        """Update ``groups`` of the clients from ``first`` on; ``factor`` (K',) multiplies their rates.

        torch's fused kernel passes over the memory once. It takes one step count a tensor, so neighbours that have
        made equally many steps are handed over together. It counts this step itself, in the count it is given.
        """
        for group in filter(gradients.get, groups):
            counts, runs = self.steps[group][first:].unique_consecutive(return_counts=True)
            self.steps[group][first:] += 1
            leaves = [self.leaves[group][name] for name in gradients[group]]
            lists = [
                [leaf[first:] for leaf in leaves],
                [dense(g).contiguous() for g in gradients[group].values()],
                *([self.moments[id(leaf)][which][first:] for leaf in leaves] for which in (0, 1)),
            ]
            if len(runs) > 1:
                sizes = runs.tolist()
                lists = [[part for tensor in each for part in tensor.split_with_sizes(sizes)] for each in lists]
            before = [leaf[first:].clone() for leaf in leaves] if isinstance(factor, Tensor) else []
            theta, g, m, v = lists
            each = [torch.full((len(leaves),), float(c), device=leaves[0].device).unbind() for c in counts.tolist()]
            steps = [of_run[leaf] for leaf in range(len(leaves)) for of_run in each]  # filled there, not copied there
            adam(
                theta, g, m, v, [], steps, fused=True, lr=self.rates[group], beta1=0.9, beta2=0.999,
                weight_decay=self.decay, eps=1e-8, amsgrad=False, maximize=False,
            )  # fmt: skip
            if isinstance(factor, Tensor):  # a step is proportional to its rate
                for leaf, start in zip(leaves, before, strict=True):
                    leaf[first:] = start + (leaf[first:] - start) * along(factor, start)
