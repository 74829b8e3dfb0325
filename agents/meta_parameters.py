"""Everything that is meta-learned, as one module: policy, value network, step sizes, observation statistics."""

import torch
from torch import Tensor, nn

from metarl.agents.baselines import ValueNetwork
from metarl.agents.configs import MetaPolicyGradient
from metarl.agents.policies import GaussianPolicy, ObservationNormalizer
from metarl.agents.policy_adaptation import PolicyAdaptation
from metarl.update_rules import register


class MetaParameters(nn.Module):
    """Everything that is meta-learned, and the running statistics that belong to it.

    Args:
        observation_size: D.
        action_size: A.
        horizon: Steps of an episode.
        config: The agent's configuration.

    Attributes:
        value_adapts: Whether the value network adapts with the policy, and shares its context.
    """

    def __init__(self, observation_size: int, action_size: int, horizon: int, config: MetaPolicyGradient):
        super().__init__()
        self.policy = GaussianPolicy(observation_size, action_size, config.policy)
        self.normalizer = ObservationNormalizer(
            observation_size, enabled=config.policy.normalize_observations
        )
        self.value = None
        self.value_adapts = config.inner.value_weight > 0
        if config.sampling.baseline == "network":
            context_size = config.policy.context_size if self.value_adapts else 0
            self.value = ValueNetwork(
                observation_size,
                config.policy.hidden,
                horizon,
                config.sampling.discount,
                context_size,
                self.policy.unroll,
            )
        adaptation = PolicyAdaptation(self.policy, config.inner, self.value)
        start = {name: value.detach() for name, value in self.named_parameters()}
        register(self, adaptation.rule.init(start, config.inner.steps, adaptation.adapted))


def step_sizes(params: dict[str, Tensor]) -> dict[str, Tensor]:
    """Means of the learned step sizes at every inner step, of the context by itself, to be logged."""
    groups: dict[str, list[Tensor]] = {}
    for name, value in params.items():
        if name.startswith("rule.lr"):
            kind = "context_step_size" if name.endswith(".context") else "step_size"
            for step, sizes in enumerate(value.detach(), 1):
                groups.setdefault(f"inner/{kind}_{step}", []).append(sizes.flatten())
    return {name: torch.cat(sizes).mean() for name, sizes in groups.items()}
