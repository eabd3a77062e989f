"""The pairwise loss: a chosen item should score above one that was not."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus


def bpr_loss(user: Tensor, positive: Tensor, negative: Tensor, l2: float) -> Tensor:
    """Mean of ``-ln sigma(w . (h_i - h_j)) + l2 / 2 (|w|^2 + |h_i|^2 + |h_j|^2)`` over the rows (B, d), a scalar.

    ``-ln sigma(x) = softplus(-x)``, which does not underflow. Source: Rendle et al., *BPR: Bayesian Personalized
    Ranking from Implicit Feedback*, UAI 2009, section 4.1.
    """
    margin = (user * (positive - negative)).sum(1)
    norms = (user.square() + positive.square() + negative.square()).sum(1)
    return (softplus(-margin) + l2 / 2 * norms).mean()
