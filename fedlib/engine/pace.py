"""How far each client of a chunk has come: rates that shrink from step to step, and clients that stop early.

Shape letters: K clients, of which those from ``first`` on take the step, K' in number.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Pace:
    r"""Counts the steps of K clients, their losses and samples, and says what multiplies each client's rates.

    A client's rates are multiplied by ``decay`` after every step of its own. With :math:`\bar L_e` the mean loss of all
    samples it has seen up to the end of epoch e, it stops after epoch e (the second or a later one) once

    .. math:: |\bar L_e - \bar L_{e-1}| < \mathrm{stop}\,|\bar L_{e-1}| .

    Source: both as in the authors' code of FedRAP (Li, Long and Zhou, ICLR 2024).
    """

    def __init__(self, n_clients: int, decay: float, stop: float, like: Tensor) -> None:
        """``like`` says the type and device of the losses."""
        self.decay, self.stop = decay, stop
        self.steps, self.loss, self.summed, self.samples = like.new_zeros(4, n_clients)
        self.before: Tensor | None = None
        self.going = torch.ones(n_clients, dtype=torch.bool, device=like.device)

    def factor(self, first: int) -> Tensor | float:
        """What multiplies the rates of the clients from ``first`` on, (K',); 0 for those that have stopped."""
        if self.decay == 1 and not self.stop:
            return 1.0
        return self.decay ** self.steps[first:] * self.going[first:]

    def note(self, first: int, loss: Tensor, samples: Tensor) -> None:
        """A step: each client's mean ``loss`` (K',) on its ``samples`` (K',), before the step."""
        going = self.going[first:]
        self.steps[first:] += going
        self.loss[first:] += loss * going
        self.summed[first:] += loss * samples * going
        self.samples[first:] += samples * going

    def goes_on(self) -> bool:
        """Let those stop whose loss has settled, at the end of an epoch; whether anybody goes on."""
        now = self.summed / self.samples
        if self.stop and self.before is not None:
            self.going &= ~((now - self.before).abs() < self.stop * self.before.abs())
        self.before = now
        return bool(self.going.any())

    def mean_loss(self) -> Tensor:
        """The mean over each client's steps of its loss before the step, (K,)."""
        return self.loss / self.steps
