"""What learners of Stable-Baselines3 know, by the names that it has in a meta-policy."""

import torch
from torch import Tensor

from metarl.agents.meta_parameters import MetaParameters

TIME = 4
"""Inputs for the time that a meta-policy's value network has and Stable-Baselines3's has not."""


def of_ppo(found: dict[str, Tensor], module: MetaParameters) -> dict[str, Tensor]:
    """The tensors of `ppo` by a meta-policy's names, and its values in that one's unit."""
    valued = "value_net.weight" in found
    layers = {"policy_net": "action_net", **({"value_net": "value_net"} if valued else {})}
    ours = {"policy_net": "policy.network.layers", "value_net": "value.network.layers"}
    renamed = {"policy.log_std": found["log_std"]}
    for hidden, last in layers.items():
        depth = sum(name.startswith(f"mlp_extractor.{hidden}.") and name.endswith("weight") for name in found)
        for kind in ("weight", "bias"):
            for i in range(depth):
                renamed[f"{ours[hidden]}.{i}.{kind}"] = found[f"mlp_extractor.{hidden}.{2 * i}.{kind}"]
            renamed[f"{ours[hidden]}.{depth}.{kind}"] = found[f"{last}.{kind}"]
    if valued and module.value is not None:
        first, last = "value.network.layers.0.weight", f"value.network.layers.{depth}"
        time = renamed[first].new_zeros(len(renamed[first]), TIME)
        renamed[first] = torch.cat([renamed[first], time], dim=1)
        for kind in ("weight", "bias"):
            renamed[f"{last}.{kind}"] = renamed[f"{last}.{kind}"] / module.value.unit
    for name, value in found.items():
        if name.startswith("features_extractor.normalizer."):
            renamed[name.removeprefix("features_extractor.")] = value
    return renamed


def of_recurrent_ppo(found: dict[str, Tensor], module: MetaParameters) -> dict[str, Tensor]:
    """The tensors of `recurrent-ppo` by a meta-policy's names, and its values in that one's unit.

    Of its one layer with ReLU, LSTM and linear head; the two biases of PyTorch's LSTM are one here.
    """
    renamed = {"policy.log_std": found["log_std"]}
    names = {"policy": ("pi", "actor", "action_net")}
    if module.value is not None:
        names["value"] = ("vf", "critic", "value_net")
    for ours, (features, lstm, head) in names.items():
        for kind in ("weight", "bias"):
            renamed[f"{ours}.network.embedding.{kind}"] = found[
                f"{features}_features_extractor.layers.0.{kind}"
            ]
            renamed[f"{ours}.network.head.{kind}"] = found[f"{head}.{kind}"]
        for side in ("ih", "hh"):
            renamed[f"{ours}.network.cell.weight_{side}"] = found[f"lstm_{lstm}.weight_{side}_l0"]
        renamed[f"{ours}.network.cell.bias"] = (
            found[f"lstm_{lstm}.bias_ih_l0"] + found[f"lstm_{lstm}.bias_hh_l0"]
        )
    if module.value is not None:
        first = renamed["value.network.embedding.weight"]
        renamed["value.network.embedding.weight"] = torch.cat(
            [first, first.new_zeros(len(first), TIME)], dim=1
        )
        for kind in ("weight", "bias"):
            renamed[f"value.network.head.{kind}"] = renamed[f"value.network.head.{kind}"] / module.value.unit
    whitened = "pi_features_extractor.whitened."
    return renamed | {
        name.removeprefix(whitened): each for name, each in found.items() if name.startswith(whitened)
    }
