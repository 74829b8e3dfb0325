"""Training of every gradient-based meta-policy: collect before and after adaptation, then the outer objective.

Legend: T tasks of this rank, B trajectories per task, H time steps.
"""

from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor
from torch.nn import functional as F
from torch.utils._pytree import tree_map

from metarl import distributed
from metarl.agents.configs import MetaPolicyGradient
from metarl.agents.estimators import clipped_surrogate, masked_mean, score_term, surrogate
from metarl.agents.execution import episodes, live
from metarl.agents.lifetime_collection import as_tasks, course_metrics
from metarl.agents.lives import Lives, episode_seeds, lifetime_metrics
from metarl.agents.meta_parameters import MetaParameters, step_sizes
from metarl.agents.policies import (
    entropy,
    kl_divergence,
    log_probability,
)
from metarl.agents.policy_adaptation import (
    PolicyAdaptation,
    Valued,
    chosen_by_task,
    for_each_task,
    policy_params,
)
from metarl.agents.rollouts import (
    Trajectories,
    check_several,
    draw_lifetimes,
    draw_pairs,
    draw_tasks,
    make_world,
    rollout,
)
from metarl.gradients import NonFinite
from metarl.tasks import over_tasks
from metarl.training import Batch

NO_SCALE = 1e-7
"""Advantages whose standard deviation is below this are all 0, up to rounding."""


class MetaPolicyGradientTraining:
    """What the trainer asks of a gradient-based meta-policy.

    Args:
        world: Id of a world with tasks.
        config: The agent's configuration.
        device: Where the policy lives.
        world_options: Keyword arguments of the world.
        evaluation_steps: Inner steps of an evaluation.
        evaluation_tasks: Test tasks of an evaluation, where there are more.
    """

    def __init__(
        self,
        world: str,
        config: MetaPolicyGradient,
        device: torch.device | str = "cpu",
        world_options: dict[str, Any] | None = None,
        evaluation_steps: int = 3,
        evaluation_tasks: int = 10,
    ):
        self.config = config
        self.device = torch.device(device)
        self.evaluation_steps, self.evaluation_tasks = evaluation_steps, evaluation_tasks
        self.share = distributed.share(config.sampling.tasks)
        num_envs = len(self.share) * config.sampling.trajectories
        self._world = (world, config.sampling.horizon, world_options or {})
        self.env = self._make_env(num_envs)
        observation_size = int(np.prod(self.env.single_observation_space.shape))
        action_size = int(np.prod(self.env.single_action_space.shape))
        self.module = MetaParameters(observation_size, action_size, self.env.horizon, config).to(self.device)
        self.adaptation = PolicyAdaptation(self.module.policy, config.inner, self.module.value)
        if len(self.share) < config.outer.minibatches:
            raise ValueError(
                f"outer.minibatches={config.outer.minibatches}, but one process has only {len(self.share)} tasks"
            )
        self._losses = 0

    def _make_env(self, num_envs: int) -> VectorEnv:
        world, horizon, options = self._world
        return make_world(world, num_envs, horizon, like=getattr(self, "env", None), **options)

    def collect(self, rng: np.random.Generator) -> Batch:
        """Sample tasks, act, adapt, act again, ...: `inner.steps + 1` batches of trajectories.

        Args:
            rng: The same on every rank; each task gets a child of its own.

        Returns:
            A batch whose data are the valued trajectories before and after each inner step.
        """
        config = self.config
        if config.sampling.unit == "lifetime":
            return self._collect_lifetimes(rng)
        diverged, num = self._num_diverged, config.sampling.tasks
        if config.sampling.unit == "pair":
            support, query = draw_pairs(self.env, num, "train", rng)
        else:
            support = query = draw_tasks(self.env, num, "train", rng)
        rngs = rng.spawn(num)
        raw, stages, adapted = self._adapt_and_act(
            self.env,
            [support[i] for i in self.share],
            [rngs[i] for i in self.share],
            config.inner.steps,
            [query[i] for i in self.share],
        )
        data: dict[str, Any] = {"support": stages[:-1], "query": stages[-1]}
        if config.outer.step == "reptile":
            data["adapted"] = adapted
        if config.outer.score_terms:
            data["score_weight"] = self._score_weights(stages[-1])
        return self._batch(data, raw, self._collection_metrics(raw, stages), diverged)

    @property
    def trajectories(self) -> int:
        """Per task and inner step, in training and where an evaluation says nothing else."""
        return self.config.sampling.trajectories

    @property
    def _num_diverged(self) -> int:
        return getattr(self.env, "num_diverged", 0)

    def _batch(
        self, data: dict[str, Any], raw: list[Trajectories], metrics: dict[str, float], diverged: int
    ) -> Batch:
        """What was collected, ready for `loss`; the observations' statistics take it in.

        Args:
            data: For `loss`.
            raw: All trajectories.
            metrics: To be logged.
            diverged: Episodes that had diverged before.
        """
        steps = distributed.sum_(torch.stack([each.mask.sum() for each in raw]).sum().double())
        metrics = metrics | {"rollout/diverged": float(self._num_diverged - diverged)}
        self._update_normalizer(raw)
        self._losses = 0
        return Batch(data=data, steps=int(steps), metrics=metrics)

    def _collect_lifetimes(self, rng: np.random.Generator) -> Batch:
        """Live lifetimes, adapting as at execution; every episode is judged."""
        config, num, diverged = self.config, self.config.sampling.tasks, self._num_diverged
        lifetimes = check_several(draw_lifetimes(self.env, num, "train", rng))
        seeds, rngs = episode_seeds(rng, num, len(lifetimes[0])), rng.spawn(num)
        mine = list(self.share)
        start = for_each_task(dict(self.module.named_parameters()), len(mine))
        course = list(
            episodes(
                self.adaptation,
                self.module.normalizer,
                start,
                self.env,
                [lifetimes[i] for i in mine],
                seeds[:, mine],
                [rngs[i] for i in mine],
                config,
            )
        )
        first, rest = as_tasks(course, self.adaptation, config.sampling, config.execution.buffer)
        raw = [each.lived for each in course]
        metrics = self._collection_metrics(raw, [first]) | course_metrics(course)
        return self._batch({"first": first, "rest": rest}, raw, metrics, diverged)

    def _adapt_and_act(
        self,
        env: VectorEnv,
        tasks: list[dict],
        rngs: list[np.random.Generator],
        inner_steps: int,
        query: list[dict] | None = None,
        *,
        lenient: bool = False,
    ) -> tuple[list[Trajectories], list[Valued], dict[str, Tensor]]:
        """Trajectories before and after each inner step, what they were worth, and the adapted parameters.

        Those after the last step are of the tasks `query` (unset, of the same tasks).

        Raises:
            NonFinite: An inner step led to what is not finite, and `lenient` is false; else it is not taken.
        """
        params = for_each_task(dict(self.module.named_parameters()), len(tasks))
        raw, stages = [], []
        for step in range(inner_steps + 1):
            if step > 0:
                params = self._stepped(params, stages[-1], step - 1, lenient)
            if step == inner_steps and query is not None:
                tasks = query
            policy = policy_params(params)
            raw.append(rollout(env, self.module.policy, policy, self.module.normalizer, tasks, rngs))
            stages.append(self.adaptation.value_tasks(params, raw[-1], self.config.sampling))
        return raw, stages, params

    def _stepped(
        self, params: dict[str, Tensor], valued: Valued, step: int, lenient: bool
    ) -> dict[str, Tensor]:
        """An inner step of all tasks; those that it breaks stay as they are if `lenient`."""
        stepped = self.adaptation.step_tasks(params, valued, step)
        finite = self.adaptation.finite(stepped, valued)
        if not lenient and not finite.all():
            raise NonFinite(f"the policy after inner step {step + 1}")
        return chosen_by_task(finite, stepped, params)

    def _score_weights(self, query: Valued) -> Tensor:
        """Return after adaptation less the other tasks' mean, in the outer surrogate's unit: shape (T,).

        The unit is what a task's advantages were divided by; where they are all 0, the tasks' mean, and where those of
        all tasks are, there are no weights.
        """
        returns_T = query["returns"][:, :, 0].mean(-1)
        total = distributed.sum_(returns_T.sum())
        others = max(self.config.sampling.tasks - 1, 1)
        baseline_T = (
            (total - returns_T) / others if self.config.sampling.tasks > 1 else torch.zeros_like(returns_T)
        )
        length_T = query["mask"].sum((-2, -1)) / query["mask"].shape[1]
        scale_T = query["advantage_scale"]
        mean = distributed.sum_(scale_T.sum()) / self.config.sampling.tasks
        scale_T = torch.where(scale_T < NO_SCALE, mean, scale_T)
        weights_T = (returns_T - baseline_T) / (scale_T * length_T)
        return torch.where(scale_T < NO_SCALE, 0.0, weights_T)

    def _collection_metrics(self, raw: list[Trajectories], stages: list[Valued]) -> dict[str, float]:
        metrics = {
            f"adapt/return_{i}": float(distributed.mean_(each.returns().mean())) for i, each in enumerate(raw)
        }
        last = len(raw) - 1
        metrics["adapt/gain"] = metrics[f"adapt/return_{last}"] - metrics["adapt/return_0"]
        metrics["rollout/ep_rew_mean"] = metrics[f"adapt/return_{last}"]
        length = raw[-1].mask.sum(-1).mean()
        metrics["rollout/ep_len_mean"] = float(distributed.mean_(length))
        metrics["train/std"] = float(distributed.mean_(stages[0]["log_std"].exp().mean()))
        return metrics

    def _update_normalizer(self, raw: list[Trajectories]) -> None:
        size = raw[0].raw_obs.shape[-1]
        sums = torch.zeros(1 + 2 * size, dtype=torch.float64, device=self.device)
        for each in raw:
            mask = each.mask.double().unsqueeze(-1)
            obs = each.raw_obs.double() * mask
            sums += torch.cat([mask.sum().reshape(1), obs.sum((0, 1, 2)), obs.square().sum((0, 1, 2))])
        distributed.sum_(sums)
        self.module.normalizer.update(sums[0], sums[1 : 1 + size], sums[1 + size :])

    def loss(self, data: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """The outer objective on a collected batch, to be minimised.

        Args:
            data: As `collect` returned it.

        Returns:
            A scalar, and metrics: `kl` (attached to the graph, for the trust region) and figures to log.
        """
        params = dict(self.module.named_parameters())
        if self.config.outer.step == "reptile":
            return self._distance(params, data["adapted"])
        parts = [data] if "query" in data else [{"support": [], "query": data["first"]}, data["rest"]]
        found = [self._losses_and_terms(params, each) for each in self._minibatches(parts)]
        loss = torch.cat([losses for losses, _ in found]).mean()
        means = {
            name: torch.cat([terms[name] for _, terms in found if name in terms]).mean()
            for name in found[-1][1]
        }
        metrics: dict[str, Any] = {"kl": means.pop("kl")}
        metrics |= {
            f"inner/{name}" if name.startswith("kl") else f"train/{name}": v for name, v in means.items()
        }
        metrics |= step_sizes(params)
        return loss, metrics

    def _minibatches(self, parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those of the batch's tasks whose turn it is: every call since `collect` takes the next, round and round."""
        turns = self.config.outer.minibatches
        rows = slice(self._losses % turns, None, turns)
        self._losses += 1
        return parts if turns == 1 else [tree_map(lambda x: x[rows], each) for each in parts]

    def _losses_and_terms(
        self, params: dict[str, Tensor], data: dict[str, Any]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Losses of all tasks, (T,), and their terms by name, (T,) each."""
        if self.config.outer.step == "trpo":  # the trust region differentiates twice
            return torch.vmap(self._task_loss, (None, 0))(params, data)
        return over_tasks(self._task_loss)(params, data)

    def _task_loss(self, params: dict[str, Tensor], data: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """One task's objective, to be minimised, and the terms it is made of, as scalars by name."""
        outer, query = self.config.outer, data["query"]
        adapted, divergence, credit = params, 0.0, 0.0
        terms: dict[str, Tensor] = {}
        value_losses = []
        for step, support in enumerate(data["support"]):
            mean, log_std = self.adaptation.distribution(adapted, support)
            log_probs = log_probability(support["actions"], mean, log_std)
            sampled, mask = support["log_probs"], support["mask"]
            kl = kl_divergence(support["mean"], support["log_std"], mean, log_std)
            terms[f"kl_{step}"] = masked_mean(kl, mask)
            divergence = divergence + terms[f"kl_{step}"]
            if step == 0 and outer.before > 0:
                gain = clipped_surrogate(log_probs, sampled, support["advantages"], mask, outer.clip)
                credit = credit + outer.before * gain
            if outer.score_terms:
                credit = credit + score_term(log_probs, sampled, data["score_weight"], mask, outer.clip)
            if self.module.value is not None:
                value_losses.append(self.adaptation.value_loss(adapted, support))
            adapted = self.adaptation.step(adapted, support, step)
        mean, log_std = self.adaptation.distribution(adapted, query)
        log_probs = log_probability(query["actions"], mean, log_std)
        sampled, advantages, mask = query["log_probs"], query["advantages"], query["mask"]
        if outer.step == "ppo":
            gain = clipped_surrogate(log_probs, sampled, advantages, mask, outer.clip)
            credit = credit - outer.inner_kl * divergence
        else:
            gain = surrogate(log_probs, sampled, advantages, mask, "lvc")
        terms["entropy"] = masked_mean(entropy(log_std), mask)
        terms["kl"] = masked_mean(kl_divergence(query["mean"], query["log_std"], mean, log_std), mask)
        terms["policy_loss"] = -gain
        loss = -gain - credit - outer.entropy * terms["entropy"]
        if self.module.value is not None:
            value_losses.append(self.adaptation.value_loss(adapted, query))
            terms["value_loss"] = torch.stack(value_losses).mean()
            loss = loss + terms["value_loss"]
        return loss, terms

    def _distance(
        self, params: dict[str, Tensor], adapted: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Any]]:
        """Half the squared distance to each task's adapted parameters: its gradient is Reptile's direction."""
        loss = sum(0.5 * F.mse_loss(params[n].expand_as(p), p, reduction="sum") for n, p in adapted.items())
        loss = loss / len(self.share)
        return loss, {"train/distance": (2 * loss.detach()).sqrt()}

    def evaluate(self, rng: np.random.Generator) -> dict[str, float]:
        """Return after 0..k inner steps on test tasks; of an agent trained on pairs, of each episode of test lifetimes.

        Args:
            rng: Tasks and trajectories follow from it.

        Returns:
            `eval/return_0` .. `eval/return_k` and `eval/gain`; or what `metarl.agents.lives.lifetime_metrics` gives.
        """
        if self.config.sampling.unit != "task":
            lifetimes = draw_lifetimes(self.env, self.evaluation_tasks, "test", rng)
            return lifetime_metrics(self.live(lifetimes, rng), lifetimes)
        tasks = draw_tasks(self.env, self.evaluation_tasks, "test", rng)
        returns = self.returns_after_adapting(tasks, rng, self.evaluation_steps).mean(0)
        metrics = {f"eval/return_{i}": float(each) for i, each in enumerate(returns)}
        return metrics | {"eval/gain": float(returns[-1] - returns[0])}

    methods = ("adaptation", "none")
    """Ways to live a lifetime: adapting after every episode, or acting by the meta-parameters throughout."""

    def live(
        self,
        lifetimes: list[list[dict]],
        rng: np.random.Generator,
        method: str = "adaptation",
        keep_actions: bool = False,
    ) -> Lives:
        """Live lifetimes side by side; see `metarl.agents.execution.live`."""
        env = self._make_env(len(lifetimes))
        start = for_each_task(dict(self.module.named_parameters()), len(lifetimes))
        try:
            return live(
                self.adaptation,
                self.module.normalizer,
                start,
                env,
                lifetimes,
                rng,
                self.config,
                adapting=method == "adaptation",
                keep_actions=keep_actions,
            )
        finally:
            env.close()

    def returns_after_adapting(
        self, tasks: list[dict], rng: np.random.Generator, inner_steps: int, trajectories: int | None = None
    ) -> np.ndarray:
        """Adapt to each task by itself, on fresh trajectories at every inner step; one that breaks down is not taken.

        Args:
            tasks: Any tasks of the world.
            rng: Trajectories follow from it.
            inner_steps: How many.
            trajectories: Per task and inner step; unset, as in training.

        Returns:
            Mean undiscounted return before adaptation and after each inner step, shape (tasks, inner_steps + 1).
        """
        env = self._make_env(len(tasks) * (trajectories or self.trajectories))
        try:
            raw = self._adapt_and_act(env, tasks, rng.spawn(len(tasks)), inner_steps, lenient=True)[0]
        finally:
            env.close()
        return torch.stack([each.returns().mean(-1) for each in raw], dim=-1).cpu().numpy()
