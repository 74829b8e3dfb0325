"""Reptile (Nichol, Achiam and Schulman 2018, "On First-Order Meta-Learning Algorithms").

Every task is trained on for a few steps of an ordinary optimiser, from theta to theta_k, and theta moves towards where
that leads: theta <- theta + e mean(theta_k - theta) over tasks (Algorithm 2), with e falling linearly to 0. There is
no derivative of the inner loop, and no query in it.

The outer gradient is theta - theta_k, that of |theta - theta_k|^2 / 2 with theta_k held constant; the outer optimiser is
plain gradient descent with step size e. So that logs can be compared, the loss shown is the queries' after adaptation.

Inner steps take minibatches: step t takes every m-th support image from number t mod m on, where m is the number of
minibatches; these are balanced where m divides the shots. The inner optimiser's averages of squared gradients are kept
from one update to the next.

Differences from the paper: Omniglot's turned drawings are classes in testing, too, where the paper tests on drawings as
they are; tasks of an update start from the same averages, and the averages after the update are the means over tasks
(one after the other in the authors' code); minibatches are not drawn at random; Conv4 pools after the nonlinearity, and
for characters its features are the spatial mean.
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from metarl import distributed
from metarl.adaptation import inner_steps
from metarl.supervised.episode_stage import episode_stage
from metarl.supervised.episodes import Episode
from metarl.supervised.inner_loop import Learner, learner, patterns_of, with_ways
from metarl.supervised.methods.config import Statistics
from metarl.supervised.methods.method import Method, Params
from metarl.supervised.presets.reptile import Config
from metarl.supervised.task_kinds import measure_of, query_loss
from metarl.tasks import over_tasks
from metarl.update_rules import RULE_PREFIX, AdamWithoutMomentum, adapted_names


def build(config: Config, image: tuple[int, ...], classes: int, way: int, shot: int) -> Method:
    """Reptile with fresh parameters.

    Args:
        config: Settings.
        image: Channels, height and width; (1,) for a regression.
        classes: Training classes; 1 for a regression.
        way: Classes of an episode in testing; others will do (see `metarl.supervised.inner_loop.with_ways`).
        shot: Support images of each class in testing.
    """
    network = learner(config.backbone, image, min(classes, config.training.way or way))
    memory = Memory(network.module) if config.keep_averages else None
    if memory is not None:
        network.module.memory = memory
    kind = partial(reptile_task, network, memory, config)

    def task(params: Params, episode: Any, statistics: Statistics) -> tuple[Tensor, Tensor]:
        return kind(config.batch, config.inner.steps, params, episode, statistics)[:2]

    def test(params: Params, episode: Any, statistics: Statistics) -> tuple[Tensor, Tensor]:
        return kind(config.test_batch, config.inner.test_steps, params, episode, statistics)[:2]

    def one(params: Params, episode: Any) -> tuple[Tensor, Any]:
        inner, mode = config.inner, config.training.statistics
        loss, scores, after = kind(config.batch, inner.steps, params, episode, mode)
        measure = measure_of(episode)
        return loss, ({measure.name: measure.of(scores.detach(), episode)}, after if memory else {})

    def loss(params: Params, episodes: Any, now: None) -> tuple[Tensor, dict[str, Tensor]]:
        losses, (metrics, after) = over_tasks(one)(params, episodes)
        if memory is not None:
            memory.take(after)
        return losses.mean(), {name: each.mean() for name, each in metrics.items()}

    return Method(network.module, task, (episode_stage(config.training, way, shot, loss),), test)


class Memory(nn.Module):
    """The inner optimiser's averages of squared gradients, from one update to the next.

    Args:
        module: Network and head.
    """

    squares: Tensor
    steps: Tensor

    def __init__(self, module: nn.Module):
        super().__init__()
        params = dict(module.named_parameters())
        self.shapes = {name: params[name].shape for name in adapted_names(params, patterns_of("all", params))}
        self.register_buffer("squares", torch.zeros(sum(shape.numel() for shape in self.shapes.values())))
        self.register_buffer("steps", torch.zeros(()))

    def entries(self) -> dict[str, Tensor]:
        """What the update rule finds among the params."""
        parts = self.squares.split([shape.numel() for shape in self.shapes.values()])
        pairs = zip(self.shapes.items(), parts, strict=True)
        averages = {f"{RULE_PREFIX}square.{name}": part.view(shape) for (name, shape), part in pairs}
        return {**averages, f"{RULE_PREFIX}steps": self.steps}

    @torch.no_grad()
    def take(self, after: Params) -> None:
        """Keep the means over tasks (and ranks) of what the rule left, each with a leading axis of tasks."""
        parts = [after[f"{RULE_PREFIX}square.{name}"].mean(0).flatten() for name in self.shapes]
        self.squares.copy_(distributed.mean_(torch.cat(parts)))
        self.steps.copy_(distributed.mean_(after[f"{RULE_PREFIX}steps"].mean(0)))


def reptile_task(
    network: Learner,
    memory: Memory | None,
    config: Config,
    batch: int,
    steps: int,
    params: Params,
    episode: Any,
    statistics: Statistics,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """One task: loss with Reptile's gradient, scores of the queries, and what the inner optimiser remembers after it.

    Args:
        network: Network and head.
        memory: What the inner optimiser remembers before it; None: nothing.
        config: Settings.
        batch: Images of an inner step.
        steps: Inner steps.
        params: theta.
        episode: The task.
        statistics: Normalisation mode.
    """
    start = with_ways({**params, **(memory.entries() if memory else {})}, episode)
    fast = start
    for fast in inner_steps(  # noqa: B007  the last is used
        start,
        lambda fast, part: network.support_loss(fast, part, statistics),
        minibatches(episode, batch, steps),
        rule=AdamWithoutMomentum(config.inner.lr),
        adapted=patterns_of(config.inner.adapted, start),
        first_order=True,
    ):
        pass
    fast = {name: each.detach() for name, each in fast.items()}
    scores = network.query_scores(fast, episode, statistics)
    value = query_loss(scores, episode).detach()
    moved = adapted_names(start, patterns_of(config.inner.adapted, start))
    distance = torch.stack([(start[name] - fast[name]).square().sum() for name in moved]).sum() / 2
    after = {name: each for name, each in fast.items() if name.startswith(RULE_PREFIX)}
    return value + (distance - distance.detach()), scores, after


def minibatches(episode: Any, size: int, steps: int) -> Iterator[Any]:
    """The episode with a part of its support for every inner step: every m-th image, m parts round and round.

    Args:
        episode: Images sorted by class; or points of a function.
        size: Images of a part, at most.
        steps: How many.
    """
    parts = math.ceil(len(episode.support) / size)
    labels = "support_labels" if isinstance(episode, Episode) else "support_targets"
    for step in range(steps):
        rows = slice(step % parts, None, parts)
        yield episode._replace(**{"support": episode.support[rows], labels: getattr(episode, labels)[rows]})
