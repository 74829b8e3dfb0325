"""Training that starts from a policy trained before, instead of from nothing."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import torch
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from torch import Tensor, nn

from metarl import checkpoints
from metarl.agents.imitation import GaitTeacher, Teacher, has_memory
from metarl.agents.lifetime_vec_env import feedback_size
from metarl.agents.meta_parameters import MetaParameters
from metarl.agents.opponent_arrays import Arrays
from metarl.agents.sb3_names import of_ppo, of_recurrent_ppo
from metarl.runs import Run

GAIT = "gait-"
"""How the names of gaits begin."""
SEEN = 1_000_000
"""Observations that the statistics of a wrestler count as, since its file does not say how many there were."""


@torch.no_grad()
def start_from(
    module: nn.Module,
    path: str | Path,
    wrestlers: Callable[[str], Arrays] | None = None,
    reward_scale: float | None = None,
) -> None:
    """Give an agent the policy, values and observation statistics of another run, or the policy of a wrestler.

    A learner of Stable-Baselines3 starts from a run whose learner has the same networks; one with memory may also start
    from one without, which it imitates in its first iterations (see `metarl.agents.imitation`). A meta-policy starts
    from a run of a meta-policy, of `ppo` (whose networks have the same layers), or of `recurrent-ppo` with ReLU. What the
    other one does not have starts as it would have: learned step sizes, a value network's inputs for context parameters.
    A policy's inputs for them start at zero, so that adaptation does no harm before it is learned (but as ever where the
    value network does not adapt, as in CAVIA: at zero neither they nor the context would have a gradient); so do inputs
    for the time, which the values of `ppo` do not know.

    Args:
        module: Of the agent that is about to be trained, `MetaParameters` or a policy of Stable-Baselines3; changed in
            place.
        path: The other run's folder; or, in a world that knows wrestlers, the name of one, such as `ant@7` of the
            package's zoo, whose values are then learned from nothing, or `gait-spider`, which is imitated.
        wrestlers: From such a name to its policy, see `wrestlers_of`; None in other worlds.
        reward_scale: What rewards are multiplied by in this training: the other one's values are brought to it.
            None: they stay as they are.

    Raises:
        ValueError: No run, checkpoint or wrestler there, its networks are of other sizes, or it acts with less noise
            than a meta-policy may.
    """
    if _is_gait(path):
        if isinstance(module, MetaParameters):
            raise ValueError(
                f"meta-policies cannot imitate '{path}': let ppo start from it, and start from that run"
            )
        return
    found = _found(path, wrestlers)
    if reward_scale is not None and Path(path).is_dir():
        _rescale_values(found, reward_scale / reward_scale_of(Run.open(path).config["config"]))
    if not isinstance(module, MetaParameters):
        if isinstance(module, RecurrentActorCriticPolicy) and not has_memory(found):
            _check_teacher(Teacher(found), module, path)
        else:
            _like(module, found, path)
        return
    _check_noise(module, found, path)
    if has_memory(found) and module.policy.unroll is not None:
        _check_layer(path)
        found = of_recurrent_ppo(found, module)
    elif "mlp_extractor.policy_net.0.weight" in found and not has_memory(found):
        found = of_ppo(found, module)
    own = module.state_dict()
    shared = {name: value for name, value in found.items() if name in own and not name.startswith("rule.")}
    if not any(name.startswith("policy.network.") for name in shared):
        raise ValueError(
            f"{path} holds no policy that {type(module).__name__} could start from: train with the same policy.body"
        )
    for name, value in shared.items():
        target = own[name]
        if value.shape == target.shape:
            target.copy_(value)
        elif _wider(target, value):
            target[:, : value.shape[1]].copy_(value)
            if name.startswith("policy.") and module.value_adapts:
                target[:, value.shape[1] :] = 0
        else:
            got, expected = tuple(value.shape), tuple(target.shape)
            raise ValueError(
                f"'{name}' has shape {got} in {path}, but {expected} here: train with the same policy.hidden"
            )


def _is_gait(path: str | Path) -> bool:
    """Whether what training starts from is the name of a gait."""
    return str(path).startswith(GAIT) and not Path(path).is_dir()


def gait_of(path: str | Path | None, world: str, options: Mapping[str, Any]) -> GaitTeacher | None:
    """The gait that a training imitates at first; None if it starts from something else, or from nothing.

    Args:
        path: What it starts from, see `start_from`.
        world: Id of the world.
        options: Its keyword arguments.

    Raises:
        ValueError: There is no such gait, or not of this body.
    """
    if path is None or not _is_gait(path):
        return None
    wrestlers = wrestlers_of(world, options)
    if wrestlers is None:
        raise ValueError(f"there is no run at '{path}' to start from")
    return GaitTeacher(wrestlers(str(path)))


def teacher_of(path: str | Path, world: str, options: Mapping[str, Any]) -> Teacher | GaitTeacher | None:
    """Whom a training with memory imitates at first; None if what it started from has a memory, too.

    Args:
        path: What it started from, see `start_from`.
        world: Id of the world.
        options: Its keyword arguments.

    Raises:
        ValueError: There is no run, checkpoint or wrestler any more.
    """
    gait = gait_of(path, world, options)
    if gait is not None:
        return gait
    found = _found(path, None if Path(path).is_dir() else wrestlers_of(world, options))
    return None if has_memory(found) else Teacher(found)


def _found(path: str | Path, wrestlers: Callable[[str], Arrays] | None) -> dict[str, Tensor]:
    """The tensors of a run or a wrestler."""
    if Path(path).is_dir():
        return _of_run(path)
    if wrestlers is None:
        raise ValueError(f"there is no run at '{path}' to start from")
    return _of_wrestler(str(path), wrestlers)


def _of_run(path: str | Path) -> dict[str, Tensor]:
    """The module of a run's newest checkpoint."""
    newest = checkpoints.latest(Run.open(path).checkpoints)
    if newest is None:
        raise ValueError(f"{path} has no checkpoint to start from")
    return checkpoints.under("module", checkpoints.load(newest)[0])


def wrestlers_of(world: str, options: Mapping[str, Any]) -> Callable[[str], Arrays] | None:
    """How a world finds the policy of a wrestler by its name; None if it knows none.

    Args:
        world: Id of the world.
        options: Its keyword arguments.
    """
    env = gymnasium.make(world, disable_env_checker=True, **options)
    return getattr(env.unwrapped.world, "wrestler", None)


def _of_wrestler(name: str, wrestlers: Callable[[str], Arrays]) -> dict[str, Tensor]:
    """A wrestler's policy and observation statistics by Stable-Baselines3's names."""
    try:
        arrays = {key: torch.from_numpy(each) for key, each in wrestlers(name).items()}
    except ValueError as error:
        raise ValueError(
            f"'{name}' is not the folder of a run, and no wrestler to start from: {error}"
        ) from None
    if "cell.weight_ih" in arrays:
        raise ValueError(f"'{name}' has a memory: expected a wrestler without")
    depth = sum(key.startswith("layers.") and key.endswith("weight") for key in arrays) - 1
    found = {"log_std": arrays["log_std"]}
    for kind in ("weight", "bias"):
        found[f"action_net.{kind}"] = arrays[f"layers.{depth}.{kind}"]
        for i in range(depth):
            found[f"mlp_extractor.policy_net.{2 * i}.{kind}"] = arrays[f"layers.{i}.{kind}"]
    whitening = "features_extractor.normalizer."
    found[f"{whitening}count"] = torch.tensor(float(SEEN), dtype=torch.float64)
    found[f"{whitening}mean"] = arrays["obs_mean"].double()
    found[f"{whitening}squares"] = SEEN * arrays["obs_std"].double().square()
    return found


def reward_scale_of(config: Mapping[str, Any]) -> float:
    """What a training of any agent multiplies rewards by; of its configuration as a run keeps it."""
    if "ppo" in config:  # self-play
        config = config["ppo" if config["body"] == "mlp" else "recurrent"]
    return config.get("sampling", config)["reward_scale"]


def _rescale_values(found: dict[str, Tensor], ratio: float) -> None:
    """Multiply what a value network says, by its last layer."""
    depth = sum(name.startswith("value.network.layers.") and name.endswith("weight") for name in found)
    for last in ("value_net", "value.network.head", f"value.network.layers.{depth - 1}"):
        for name in (f"{last}.weight", f"{last}.bias"):
            if name in found:
                found[name] = found[name] * ratio


def _check_noise(module: MetaParameters, found: dict[str, Tensor], path: str | Path) -> None:
    """Refuse a policy whose actions a meta-policy would make noisier than they are."""
    if "log_std" not in found:
        return
    least, bound = float(found["log_std"].exp().min()), math.exp(module.policy.minimum_log_std)
    if least < bound * (1 - 1e-6):
        raise ValueError(
            f"{path} acts with standard deviations down to {least:.3g}, and would be noisier with "
            f"policy.minimum_std={bound:.3g}: set that to {least / 2:.1g}, say"
        )


def _like(policy: nn.Module, found: dict[str, Tensor], path: str | Path) -> None:
    """Copy what has the same names and shapes; all parameters must, but for values where there are none."""
    own, parameters = policy.state_dict(), dict(policy.named_parameters())
    valued = any("value_net" in name for name in found)
    for name in (name for name in parameters if valued or "value_net" not in name):
        got = tuple(found[name].shape) if name in found else "none"
        if got != tuple(own[name].shape):
            raise ValueError(
                f"'{name}' has shape {got} in {path}, but {tuple(own[name].shape)} here: start from an agent with the "
                f"same networks, in a world of the same sizes"
            )
    for name, value in found.items():
        if name in parameters or "normalizer." in name:
            own[name].copy_(value)


def _check_layer(path: str | Path) -> None:
    """Refuse a learner with memory whose networks are not those of a meta-policy."""
    config = Run.open(path).config["config"]
    config = config.get("recurrent") or config  # of self-play
    if config.get("activation", "tanh") != "relu" or config.get("feedback"):
        raise ValueError(
            f"{path} has another layer before its LSTM than a meta-policy, or observes its rewards: start from a run of "
            "`recurrent-ppo --activation relu`"
        )


def _check_teacher(teacher: Teacher, policy: RecurrentActorCriticPolicy, path: str | Path) -> None:
    """Refuse a teacher that does not see the world's observations or does not act as it wants."""
    observed, (acts,) = policy.observation_space.shape[0], policy.action_space.shape
    if teacher.sizes not in ((observed, acts), (observed - feedback_size(acts), acts)):
        raise ValueError(
            f"{path} has {teacher.sizes[0]} observations and {teacher.sizes[1]} actions, which are not those of this "
            "world: start from an agent of the same body and world"
        )


def _wider(target: Tensor, value: Tensor) -> bool:
    """Whether a first layer only has further inputs (context) than the other one."""
    return (
        value.dim() == 2
        and target.dim() == 2
        and value.shape[0] == target.shape[0]
        and value.shape[1] < target.shape[1]
    )
