"""Training that starts from a policy trained before, instead of from nothing."""

from typing import Any

import torch
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from torch import Tensor, nn

from metarl.agents.experiment import Experiment
from metarl.agents.imitation import GaitTeacher, ImitationThenPPO, Teacher, has_memory
from metarl.agents.lifetime_vec_env import feedback_size
from metarl.agents.meta_parameters import MetaParameters
from metarl.agents.sb3_names import of_ppo, of_recurrent_ppo
from metarl.agents.sources import Manner, Source, is_gait, manner_of, read_source
from metarl.configs import to_dict


@torch.no_grad()
def start_from(algorithm: Any, experiment: Experiment) -> None:
    """Give an agent the policy, values and observation statistics of another one, or let it imitate that.

    A learner of Stable-Baselines3 starts from a run whose learner has the same networks; one with memory may also start
    from one without, which it imitates in its first iterations (see `metarl.agents.imitation`), as any learner does with
    a gait. A meta-policy starts from a run of a meta-policy, of `ppo` (whose networks have the same layers), or of
    `recurrent-ppo` with one layer of ReLU. It acts as the other one did, and values as it did, in the scale of its own
    rewards. What the other one does not have starts as it would have: learned step sizes, a value network's inputs for
    context parameters. A policy's inputs for them start at zero, so that adaptation does no harm before it is learned
    (but as ever where the value network does not adapt, as in CAVIA: at zero neither they nor the context would have a
    gradient); so do inputs for the time, which the values of `ppo` do not know.

    Args:
        algorithm: What is about to be trained; its module is changed in place, or its optimiser given a teacher.
        experiment: `start_from` says what from, see `metarl.agents.sources.read_source`; None: nothing is done.

    Raises:
        ValueError: There is no such start, its networks are of other sizes, or the agent would act otherwise than it.
    """
    if experiment.start_from is None:
        return
    module, source = algorithm.module, read_source(experiment.start_from, algorithm.env)
    if isinstance(source, GaitTeacher):
        if isinstance(module, MetaParameters):
            raise ValueError(
                f"meta-policies cannot imitate '{experiment.start_from}': let ppo start from it, and start from that run"
            )
        _teach(algorithm.optimizer, source, experiment.start_from)
        return
    _check_frame(source, experiment)
    wanted = manner_of(to_dict(algorithm.config), algorithm.env.horizon)
    if isinstance(module, MetaParameters):
        _start_meta_policy(module, source, wanted)
    elif isinstance(module, RecurrentActorCriticPolicy) and not has_memory(source.tensors):
        teacher = Teacher(source.tensors).to(module.device)
        _check_teacher(teacher, module, source.name)
        _teach(algorithm.optimizer, teacher, source.name)
    else:
        _check_manner(source, wanted, ("activation",), "")
        _rescale_values(source, wanted)
        _like(module, source)


def find_gait(algorithm: Any, experiment: Experiment) -> None:
    """Give a training that goes on the gait that it imitates, if any: checkpoints hold every other teacher.

    Args:
        algorithm: What goes on.
        experiment: See `start_from`.
    """
    if is_gait(experiment.start_from):
        algorithm.optimizer.teacher = read_source(experiment.start_from, algorithm.env)


def _teach(optimizer: ImitationThenPPO, teacher: Teacher | GaitTeacher, name: str) -> None:
    """Let a learner imitate somebody first."""
    if optimizer.iterations == 0:
        raise ValueError(
            f"imitation=0 leaves nothing of '{name}': set the iterations that imitate it, or start from nothing"
        )
    optimizer.teacher = teacher


def _start_meta_policy(module: MetaParameters, source: Source, wanted: Manner) -> None:
    """Copy what a meta-policy has in common with what it starts from."""
    own, path = module.state_dict(), source.name
    if not any(name.startswith("policy.network.") and name in own for name in _renamed(source, module)):
        raise ValueError(
            f"{path} holds no policy that {type(module).__name__} could start from: train with the same policy.body"
        )
    _check_manner(source, wanted, ("activation", "whitened", "spread"), "policy.")
    _keep_noise(source, wanted)
    _rescale_values(source, wanted)
    for name, value in _renamed(source, module).items():
        if name not in own or name.startswith("rule."):
            continue
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


def _renamed(source: Source, module: MetaParameters) -> dict[str, Tensor]:
    """What a source knows by a meta-policy's names; nothing, if one of them has a memory and the other has not."""
    found = source.tensors
    if "log_std" not in found:
        return found
    if has_memory(found) != (module.policy.unroll is not None):
        return {}
    if not has_memory(found):
        return of_ppo(found, module)
    _check_layer(source)
    return of_recurrent_ppo(found, module)


FLAGS = {"whitened": "normalize_observations"}
"""What settings of a manner are called in a configuration, where that is something else."""


def _check_manner(source: Source, wanted: Manner, names: tuple[str, ...], prefix: str) -> None:
    """Refuse what would act otherwise than what it starts from, though its networks have the same sizes."""
    for name in names:
        got, here = getattr(source.manner, name), getattr(wanted, name)
        if got != here:
            flag = prefix + FLAGS.get(name, name)
            raise ValueError(
                f"{source.name} was trained with {flag}={got}, which is {here} here: set it to {got}"
            )


def _check_frame(source: Source, experiment: Experiment) -> None:
    """Refuse a run that saw the mat in another frame."""
    if source.options is None:
        return
    got, here = (bool(each.get("canonical", False)) for each in (source.options, experiment.world_options))
    if got != here:
        raise ValueError(
            f"{source.name} sees the mat in another frame: train with the world option canonical={str(got).lower()}"
        )


def _keep_noise(source: Source, wanted: Manner) -> None:
    """Refuse a policy whose actions a meta-policy would make noisier; let its standard deviations be those it has."""
    for name in ("log_std", "policy.log_std"):
        if name not in source.tensors:
            continue
        std = source.tensors[name].exp().clamp(min=source.manner.minimum_std)
        least = float(std.min())
        if least < wanted.minimum_std * (1 - 1e-6):
            raise ValueError(
                f"{source.name} acts with standard deviations down to {least:.3g}, and would be noisier with "
                f"policy.minimum_std={wanted.minimum_std:.3g}: set that to {least / 2:.1g}, say"
            )
        source.tensors[name] = std.log()


def _rescale_values(source: Source, wanted: Manner) -> None:
    """Bring what a value network says to the unit of this one's, by its last layer.

    Those of Stable-Baselines3 are brought to the unit as they get a meta-policy's names.
    """
    manner, found = source.manner, source.tensors
    if manner.reward_scale is None or wanted.reward_scale is None:
        return
    ratio = wanted.reward_scale / manner.reward_scale
    depth = sum(name.startswith("value.network.layers.") and name.endswith("weight") for name in found)
    for last in ("value.network.head", f"value.network.layers.{depth - 1}", "value_net"):
        of_unit = 1.0 if last == "value_net" else manner.value_unit / wanted.value_unit
        for name in (f"{last}.weight", f"{last}.bias"):
            if name in found:
                found[name] = found[name] * (ratio * of_unit)


def _like(policy: nn.Module, source: Source) -> None:
    """Copy what has the same names and shapes; all parameters must, but for values where there are none."""
    found, path = source.tensors, source.name
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


def _check_layer(source: Source) -> None:
    """Refuse a learner with memory whose networks are not those of a meta-policy."""
    manner = source.manner
    if (manner.activation, manner.layers, manner.feedback) != ("relu", 1, False):
        raise ValueError(
            f"{source.name} has other layers before its LSTM than a meta-policy, or observes its rewards: start from a "
            "run of `recurrent-ppo --activation relu` with one layer"
        )


def _check_teacher(teacher: Teacher, policy: RecurrentActorCriticPolicy, name: str) -> None:
    """Refuse a teacher that does not see the world's observations or does not act as it wants."""
    observed, (acts,) = policy.observation_space.shape[0], policy.action_space.shape
    if teacher.sizes not in ((observed, acts), (observed - feedback_size(acts), acts)):
        raise ValueError(
            f"{name} has {teacher.sizes[0]} observations and {teacher.sizes[1]} actions, which are not those of this "
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
