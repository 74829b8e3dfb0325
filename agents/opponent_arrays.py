"""Trained policies as the arrays that act as opponents within a world."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib import RecurrentPPO
from torch import Tensor, nn

from metarl.agents.policies import ObservationNormalizer

Arrays = dict[str, NDArray[np.float32]]
"""As the world's opponents have them: `obs_mean`, `obs_std`, `obs_clip`, `log_std`, and the layers by name."""


def of_learner(model: Any) -> Arrays:
    """The policy of a learner of Stable-Baselines3 or sb3-contrib, as this suite makes them.

    Args:
        model: `PPO` with layers and tanh, or `RecurrentPPO` with layers and tanh, or one with ReLU, before its LSTM.
    """
    policy = model.policy
    if not isinstance(model, RecurrentPPO):
        layers = [each for each in policy.mlp_extractor.policy_net if isinstance(each, nn.Linear)]
        found = _whitening(policy.features_extractor.normalizer) | _layers([*layers, policy.action_net])
        return _arrays(found | {"log_std": policy.log_std})
    features, lstm = policy.pi_features_extractor, policy.lstm_actor
    layers = [each for each in features.layers if isinstance(each, nn.Linear)]
    found = _whitening(features.whitened.normalizer)
    if any(isinstance(each, nn.ReLU) for each in features.layers):
        (layer,) = layers
        found |= {"embedding.weight": layer.weight, "embedding.bias": layer.bias}
    else:
        found |= _layers(layers)
    found |= {
        "cell.weight_ih": lstm.weight_ih_l0,
        "cell.weight_hh": lstm.weight_hh_l0,
        "cell.bias": lstm.bias_ih_l0 + lstm.bias_hh_l0,
        "head.weight": policy.action_net.weight,
        "head.bias": policy.action_net.bias,
    }
    return _arrays(found | {"log_std": policy.log_std})


def _whitening(normalizer: ObservationNormalizer) -> dict[str, Tensor]:
    mean, std = normalizer.scale()
    if not normalizer.enabled:
        mean, std = torch.zeros_like(mean), torch.ones_like(std)
    clip = normalizer.clip if normalizer.enabled else float(torch.finfo(torch.float32).max)
    return {"obs_mean": mean, "obs_std": std, "obs_clip": torch.tensor(clip)}


def _layers(layers: list[nn.Linear]) -> dict[str, Tensor]:
    found = {}
    for i, layer in enumerate(layers):
        found |= {f"layers.{i}.weight": layer.weight, f"layers.{i}.bias": layer.bias}
    return found


def _arrays(found: dict[str, Tensor]) -> Arrays:
    """Copies, which go on as they are when the learner learns."""
    return {name: np.array(each.detach().cpu().numpy(), np.float32) for name, each in found.items()}
