"""What a training may start from: the run of another agent, a wrestler, or a gait by hand."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from metarl import checkpoints
from metarl.agents.baselines import value_unit
from metarl.agents.imitation import LAYERS, WHITENING, GaitTeacher
from metarl.runs import Run

GAIT = "gait-"
"""How the names of gaits begin."""
SEEN = 1_000_000
"""Observations that the statistics of a wrestler count as, since its file does not say how many there were."""


@dataclass(frozen=True)
class Manner:
    """How an agent acts and values, beside the numbers of its networks."""

    activation: str = "tanh"
    """Between the layers; before the LSTM of one with memory."""
    whitened: bool = True
    """Whether observations are whitened."""
    spread: str = "parameter"
    """Where the standard deviation comes from, as `policy.spread`."""
    minimum_std: float = 0.0
    """The bound on it."""
    layers: int | None = None
    """Layers before the LSTM; None without one."""
    feedback: bool = False
    """Whether it observes its rewards, as RL^2 does."""
    value_unit: float = 1.0
    """What its value network's numbers are multiples of, in scaled rewards; 1 for those of Stable-Baselines3."""
    reward_scale: float | None = None
    """What rewards are multiplied by before they are valued; None without values."""


def manner_of(config: Mapping[str, Any], horizon: int) -> Manner:
    """What a configuration says of the manner of its agent.

    Args:
        config: Of any agent, as its run keeps it.
        horizon: Steps of an episode, where the configuration does not say.
    """
    if "ppo" in config:  # self-play
        config = config["ppo" if config["body"] == "mlp" else "recurrent"]
    if "policy" in config:
        policy, sampling = config["policy"], config["sampling"]
        memory = policy["body"] == "lstm"
        return Manner(
            activation="relu" if memory else policy["activation"],
            whitened=policy["normalize_observations"],
            spread=policy["spread"],
            minimum_std=policy["minimum_std"],
            layers=1 if memory else None,
            value_unit=value_unit(sampling["horizon"] or horizon, sampling["discount"]),
            reward_scale=sampling["reward_scale"],
        )
    if "memory" in config:
        return Manner(
            activation=config["activation"],
            layers=len(config["hidden"]),
            feedback=config["feedback"],
            reward_scale=config["reward_scale"],
        )
    return Manner(reward_scale=config["reward_scale"])


@dataclass(frozen=True)
class Source:
    """A trained policy, and perhaps values, to start from."""

    name: str
    """The folder of its run, or a wrestler's name."""
    tensors: dict[str, Tensor]
    """By the names that its own kind of agent has for them."""
    manner: Manner
    """How it acts and values."""
    options: Mapping[str, Any] | None = None
    """Arguments of the world that it was trained in; None for a wrestler, whose world looks at that itself."""


def is_gait(path: str | Path | None) -> bool:
    """Whether what training starts from is the name of a gait."""
    return path is not None and str(path).startswith(GAIT) and not Path(path).is_dir()


def read_source(path: str | Path, env: VectorEnv) -> Source | GaitTeacher:
    """What training starts from.

    Args:
        path: A run's folder; or, in a world that knows wrestlers, the name of one, such as `ant@7` of the package's zoo,
            or of a gait, such as `gait-spider`.
        env: The world of the training.

    Raises:
        ValueError: No run of an agent, checkpoint, wrestler or gait there, or a wrestler of another body or frame.
    """
    if Path(path).is_dir():
        return _of_run(path, env.horizon)
    wrestlers = getattr(getattr(env, "world", None), "wrestler", None)
    if wrestlers is None:
        raise ValueError(f"there is no run at '{path}' to start from")
    if is_gait(path):
        return GaitTeacher(wrestlers(str(path)))
    try:
        arrays = {key: torch.from_numpy(each) for key, each in wrestlers(str(path)).items()}
    except ValueError as error:
        raise ValueError(
            f"'{path}' is not the folder of a run, and no wrestler to start from: {error}"
        ) from None
    if "cell.weight_ih" in arrays:
        raise ValueError(f"'{path}' has a memory: expected a wrestler without")
    return Source(str(path), _of_wrestler(arrays), Manner())


def _of_run(path: str | Path, horizon: int) -> Source:
    """The module of a run's newest checkpoint."""
    run = Run.open(path)
    run.check_whole("agent")
    newest = checkpoints.latest(run.checkpoints)
    if newest is None:
        raise ValueError(f"{path} has no checkpoint to start from")
    tensors = checkpoints.under("module", checkpoints.load(newest)[0])
    options = run.config["experiment"]["world_options"]
    return Source(str(path), tensors, manner_of(run.config["config"], horizon), options)


def _of_wrestler(arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    """A wrestler's policy and observation statistics by Stable-Baselines3's names."""
    depth = sum(key.startswith("layers.") and key.endswith("weight") for key in arrays) - 1
    found = {"log_std": arrays["log_std"]}
    for kind in ("weight", "bias"):
        found[f"action_net.{kind}"] = arrays[f"layers.{depth}.{kind}"]
        for i in range(depth):
            found[f"{LAYERS}{2 * i}.{kind}"] = arrays[f"layers.{i}.{kind}"]
    found[f"{WHITENING}count"] = torch.tensor(float(SEEN), dtype=torch.float64)
    found[f"{WHITENING}mean"] = arrays["obs_mean"].double()
    found[f"{WHITENING}squares"] = SEEN * arrays["obs_std"].double().square()
    return found
