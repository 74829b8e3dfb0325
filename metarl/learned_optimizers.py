"""The LSTM meta-learner (Ravi and Larochelle 2017, "Optimization as a Model for Few-Shot Learning") as an update rule.

The adapted parameters are the cell state of an LSTM: one step is
    theta_t = f_t theta_(t-1) - i_t grad_t,
    i_t = sigmoid(W_i [h_t, theta_(t-1), i_(t-1)] + b_i),
    f_t = sigmoid(W_f [h_t, theta_(t-1), f_(t-1)] + b_f),
by coordinate, with the same weights for all. h_t is the output of an LSTM that has seen the gradients and losses so far.
Where the paper starts, f is nearly 1 and i nearly 0: gradient descent with small steps.

Legend: N coordinates of all adapted tensors, M size of the LSTM.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from metarl.nn.networks import LSTMCell, lstm_cell
from metarl.update_rules import RULE_PREFIX, SGD, STATE_PREFIX, Adapted, Params, adapted_names, looked_up

INPUTS = 4
"""Of the LSTM: two numbers for the gradient and two for the loss."""


@dataclass(frozen=True)
class MetaLSTM:
    """Gradient descent whose step sizes and decay an LSTM says, for every coordinate and step.

    Meta-parameters are `rule.lstm.weight_ih`, `.weight_hh` and `.bias`, `rule.input.weight` (M + 2), `rule.input.bias`,
    `rule.forget.weight` (M + 2) and `rule.forget.bias`. The paper treats gradients and losses as constants: adapt with
    `first_order=True` for that.
    """

    hidden: int = 20
    """M."""
    scale: float = 10.0
    """p of `log_magnitude`, above 0."""

    def __post_init__(self):
        if self.hidden < 1:
            raise ValueError(f"hidden must be at least 1, got {self.hidden}")
        if not self.scale > 0:
            raise ValueError(f"scale must be above 0, got {self.scale}")

    def init(self, params: Mapping[str, Tensor], steps: int, adapted: Adapted = "all") -> Params:
        """Random weights within 0.01, a forget bias in [4, 5] and an input bias in [-5, -4], as in the authors' code."""
        SGD().init(params, steps, adapted)  # checks
        like = params[adapted_names(params, adapted)[0]]
        weights = dict(LSTMCell(INPUTS, self.hidden).named_parameters())
        found = {f"lstm.{name}": value.detach().to(like) for name, value in weights.items()}
        for name in found:
            nn.init.uniform_(found[name], -0.01, 0.01)
        for gate, low in (("input", -5.0), ("forget", 4.0)):
            found[f"{gate}.weight"] = like.new_empty(self.hidden + 2).uniform_(-0.01, 0.01)
            found[f"{gate}.bias"] = like.new_empty(()).uniform_(low, low + 1)
        return {f"{RULE_PREFIX}{name}": value.detach().requires_grad_() for name, value in found.items()}

    def update(
        self,
        params: Mapping[str, Tensor],
        grads: Mapping[str, Tensor],
        step: int = 0,
        loss: Tensor | None = None,
    ) -> Params:
        """The tensors named in `grads` after one step, and `rule.state.*`.

        Raises:
            ValueError: There is no loss, or the params lack the rule's meta-parameters or what it remembers.
        """
        if loss is None:
            raise ValueError("this rule looks at the inner loss: give loss=, as adapt_step does")
        looked_up(params, f"{RULE_PREFIX}forget.bias")
        theta = _flat({name: params[name] for name in grads})
        grad = _flat(grads)
        state = self._remembered(params, theta) if step else self._blank(theta)
        seen = torch.cat(
            [log_magnitude(grad, self.scale), log_magnitude(loss, self.scale).expand(len(grad), 2)], -1
        )
        state["hidden"], state["cell"] = lstm_cell(
            params, seen, (state["hidden"], state["cell"]), f"{RULE_PREFIX}lstm."
        )
        for gate in ("input", "forget"):
            features = torch.cat([state["hidden"], theta.unsqueeze(-1), state[gate].unsqueeze(-1)], -1)
            weight, bias = params[f"{RULE_PREFIX}{gate}.weight"], params[f"{RULE_PREFIX}{gate}.bias"]
            state[gate] = torch.sigmoid(features @ weight + bias)
        after = state["forget"] * theta - state["input"] * grad
        parts = after.split([grad.numel() for grad in grads.values()])
        found = {name: part.view_as(grads[name]) for name, part in zip(grads, parts, strict=True)}
        return found | {f"{STATE_PREFIX}{name}": value for name, value in state.items()}

    def _blank(self, theta: Tensor) -> Params:
        """What is remembered before the first step: zeros."""
        memory, gate = theta.new_zeros(len(theta), self.hidden), torch.zeros_like(theta)
        return {"hidden": memory, "cell": memory, "input": gate, "forget": gate}

    def _remembered(self, params: Mapping[str, Tensor], theta: Tensor) -> Params:
        names = self._blank(theta)
        missing = [name for name in names if f"{STATE_PREFIX}{name}" not in params]
        if missing:
            raise ValueError(
                f"params hold no '{STATE_PREFIX}{missing[0]}': give a step the params of the step before it"
            )
        return {name: params[f"{STATE_PREFIX}{name}"] for name in names}


def log_magnitude(x: Tensor, scale: float = 10.0) -> Tensor:
    """Numbers of any size as two of moderate size (Andrychowicz et al. 2016, appendix A).

    Args:
        x: Any shape.
        scale: p, above 0.

    Returns:
        Shape (..., 2): (log|x| / p, sign x) where |x| is at least exp(-p), else (-1, exp(p) x).
    """
    least = math.exp(-scale)
    size = x.abs()
    # The clamp keeps the derivative of the branch not taken finite.
    magnitude = size.clamp_min(least).log() / scale
    return torch.stack([magnitude, torch.where(size >= least, x.sign(), x / least)], -1)


def _flat(tensors: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([value.reshape(-1) for value in tensors.values()])
