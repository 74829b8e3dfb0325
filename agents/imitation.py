"""A policy that begins as an imitation of another whose weights it cannot take over: one without memory, or a gait.

It acts itself, and learns what the teacher would have done where that led it (DAgger, Ross et al. 2011,
arXiv 1011.0686); its values learn what it earned. PPO then goes on from there.

Legend: B steps, D observation size, A action size.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch import Tensor, nn
from torch.nn.utils import skip_init

from metarl.agents.policies import ObservationNormalizer, kl_divergence
from metarl.agents.rollouts import one_torch_thread
from metarl.agents.sb3_training import PPOUpdate, divergence_named, shuffling

LAYERS, WHITENING = "mlp_extractor.policy_net.", "features_extractor.normalizer."
TEACHER = "teacher/"


class GaitTeacher:
    """What is done by hand, with as much noise as the learner has.

    Args:
        act: From observations (B, D) to actions (B, A), numpy arrays; with `observation_size` and `action_size`.
    """

    log_std = None

    def __init__(self, act: Any):
        self._act = act
        self.sizes = act.observation_size, act.action_size

    def __call__(self, obs: Tensor) -> Tensor:
        """Actions: (B, D) to (B, A)."""
        return torch.as_tensor(self._act(obs.double().cpu().numpy()), dtype=obs.dtype, device=obs.device)


class Teacher(nn.Module):
    """The policy of a learner of Stable-Baselines3 without memory, as it was trained.

    Args:
        found: The learner's tensors by name.

    Raises:
        ValueError: They are not those of such a learner.
    """

    def __init__(self, found: Mapping[str, Tensor]):
        super().__init__()
        if f"{LAYERS}0.weight" not in found or has_memory(found):
            raise ValueError("only a policy of `ppo`, of `self-play` or of a wrestler can be imitated")
        depth = sum(name.startswith(LAYERS) and name.endswith("weight") for name in found)
        names = [*(f"{LAYERS}{2 * i}" for i in range(depth)), "action_net"]
        self.normalizer = ObservationNormalizer(found[f"{names[0]}.weight"].shape[1])
        for name, buffer in self.normalizer.named_buffers():
            buffer.copy_(found[f"{WHITENING}{name}"])
        self.layers = nn.ModuleList()
        for name in names:
            layer = skip_init(nn.Linear, *reversed(found[f"{name}.weight"].shape)).requires_grad_(False)
            layer.load_state_dict({kind: found[f"{name}.{kind}"] for kind in ("weight", "bias")})
            self.layers.append(layer)
        self.register_buffer("log_std", found["log_std"].clone())

    def learned(self) -> dict[str, Tensor]:
        """What it was made of, from which it can be made again."""
        *hidden, last = self.layers
        names = {**{f"{LAYERS}{2 * i}": layer for i, layer in enumerate(hidden)}, "action_net": last}
        found = {
            f"{name}.{kind}": getattr(layer, kind)
            for name, layer in names.items()
            for kind in ("weight", "bias")
        }
        found |= {WHITENING + name: buffer for name, buffer in self.normalizer.named_buffers()}
        return {name: each.detach().cpu() for name, each in (found | {"log_std": self.log_std}).items()}

    @property
    def sizes(self) -> tuple[int, int]:
        """D and A."""
        return self.layers[0].in_features, len(self.log_std)

    def forward(self, obs: Tensor) -> Tensor:
        """Means of the actions: (B, D) to (B, A)."""
        x = self.normalizer(obs)
        *hidden, last = self.layers
        for layer in hidden:
            x = layer(x).tanh()
        return last(x)


def has_memory(found: Mapping[str, Tensor]) -> bool:
    """Whether the tensors of a learner of Stable-Baselines3 are those of one with an LSTM."""
    return "lstm_actor.weight_ih_l0" in found


class ImitationThenPPO(PPOUpdate):
    """The trainer's optimiser: the teacher, if there is one, is imitated in the first iterations, then PPO learns.

    How many iterations have imitated is a buffer of the policy, so a resumed training goes on where it was.

    Args:
        model: The learner.
        iterations: How many imitate.

    Attributes:
        teacher: Who is imitated; None: nobody.
    """

    def __init__(self, model: OnPolicyAlgorithm, iterations: int):
        super().__init__(model)
        self.iterations = iterations
        self.teacher: Teacher | GaitTeacher | None = None
        model.policy.register_buffer("imitations", torch.zeros((), dtype=torch.int64, device=model.device))

    def update(self, loss: Callable[[], Any]) -> dict[str, float]:
        """Minibatch epochs on the rollout buffer; `loss` is not called."""
        if self.teacher is None or int(self.model.policy.imitations) >= self.iterations:
            return super().update(loss)
        self.model.policy.imitations += 1
        with shuffling(self.seed):
            return imitate(self.model, self.teacher)

    def state_dict(self) -> dict[str, Tensor]:
        """Adam's moments, and the teacher while it is imitated, unless it is a gait: its run may learn on, or vanish."""
        found = super().state_dict()
        if isinstance(self.teacher, Teacher) and int(self.model.policy.imitations) < self.iterations:
            found |= {TEACHER + name: each for name, each in self.teacher.learned().items()}
        return found

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` gave."""
        found = {
            name.removeprefix(TEACHER): each for name, each in tensors.items() if name.startswith(TEACHER)
        }
        if found:
            self.teacher = Teacher(found).to(self.model.device)
        super().load_state_dict(
            {name: each for name, each in tensors.items() if not name.startswith(TEACHER)}
        )


@divergence_named()
@one_torch_thread()
def imitate(model: OnPolicyAlgorithm, teacher: Teacher | GaitTeacher) -> dict[str, float]:
    """Learn from the rollout buffer what the teacher would have done, and what was earned.

    Args:
        model: Its policy is changed in place: the spread becomes the teacher's, if that has one, and the means come
            nearer by as many epochs as PPO takes.
        teacher: It sees the first D observations, those of the world.

    Returns:
        Means over the last epoch: `imitation/kl`, the KL divergence of the policy from the teacher's in nats, and
        `imitation/value_loss`.
    """
    policy, size = model.policy, teacher.sizes[0]
    policy.set_training_mode(True)
    if teacher.log_std is not None:
        with torch.no_grad():
            policy.log_std.copy_(teacher.log_std)
    log_std = policy.log_std.detach()
    for _ in range(model.n_epochs):
        seen = []
        for batch in model.rollout_buffer.get(model.batch_size):
            kept = batch.mask > 0.5 if hasattr(batch, "mask") else slice(None)
            with torch.no_grad():
                wanted = teacher(batch.observations[:, :size])
            means, values = _act(policy, batch)
            kl = kl_divergence(wanted, log_std, means, log_std)[kept].mean()
            value_loss = (values.flatten() - batch.returns)[kept].square().mean()
            policy.optimizer.zero_grad()
            (kl + model.vf_coef * value_loss).backward()
            policy.optimizer.step()
            seen.append((kl.detach(), value_loss.detach()))
    kls, losses = zip(*seen, strict=True)
    return {
        "imitation/kl": float(torch.stack(kls).mean()),
        "imitation/value_loss": float(torch.stack(losses).mean()),
    }


def _act(policy: Any, batch: Any) -> tuple[Tensor, Tensor]:
    """Means of the actions (B, A), and values (B, 1)."""
    if not hasattr(batch, "lstm_states"):
        means = policy.get_distribution(batch.observations).distribution.mean
        return means, policy.predict_values(batch.observations)
    distribution, _ = policy.get_distribution(batch.observations, batch.lstm_states.pi, batch.episode_starts)
    values = policy.predict_values(batch.observations, batch.lstm_states.vf, batch.episode_starts)
    return distribution.distribution.mean, values
