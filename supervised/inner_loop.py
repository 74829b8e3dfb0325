"""How methods that adapt by gradient steps stand on the core's inner loop: one task, from params to scores.

A learner is a network `net` with a linear head `head`. The inner loss is the support's mean cross-entropy (of a
regression: mean squared error), the meta-loss the query's after adaptation. Everything goes through
`metarl.adaptation`; what an inner step does is an update rule of `metarl.update_rules`.

Batch norm sees the support by itself in the inner loop (with "running" statistics: stored averages), and the query as
the normalisation mode says, see `metarl.supervised.normalisation.embed`.

Legend: W ways (classes), S shots, Q queries of each class, D features.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metarl.adaptation import adapt
from metarl.supervised.backbones import backbone
from metarl.supervised.episodes import Episode
from metarl.supervised.methods.config import Backbone, InnerLoop, Statistics
from metarl.supervised.methods.method import Method, Params, Task
from metarl.supervised.normalisation import embed_query, embed_support
from metarl.supervised.presets import maml
from metarl.supervised.task_kinds import query_loss, support_loss
from metarl.transforms import stateless
from metarl.update_rules import RULE_PREFIX, SGD, UpdateRule, register

HEAD = ("head.weight", "head.bias")
PER_ENTRY = {"lr": 1, "square": 0}
"""What an update rule may have for every entry of a tensor (`rule.<kind>.<name>`), and how many axes come before."""


@dataclass(frozen=True)
class Learner:
    """A network with a linear head, as pure functions of its params.

    Attributes:
        module: Holds the parameters: `net` and `head`.
        features: `features(params, inputs, statistics=.., support=..)` -> (N, D), as a backbone.
        zero_head: Whether every inner loop starts from a head of zeros.
    """

    module: nn.Module
    features: Callable[..., Tensor]
    zero_head: bool = False

    def start(self, params: Params, episode: Any) -> dict[str, Tensor]:
        """The params that the inner loop of a task starts from; see `with_ways`."""
        found = with_ways(params, episode)
        if self.zero_head:
            found |= {name: torch.zeros_like(found[name]) for name in HEAD}
        return found

    def support_loss(self, params: Params, episode: Any, statistics: Statistics) -> Tensor:
        """The inner loss of one task."""
        features = embed_support(partial(self.features, params), episode, statistics)
        return support_loss(head(params, features), episode)

    def query_scores(self, params: Params, episode: Any, statistics: Statistics) -> Tensor:
        """Class scores (W Q, W) of one task's queries, or predictions (Q, 1)."""
        return head(params, embed_query(partial(self.features, params), episode, statistics))


def learner(config: Backbone, image: tuple[int, ...], outputs: int, zero_head: bool = False) -> Learner:
    """A learner with fresh parameters.

    Args:
        config: The network.
        image: Shape of an input.
        outputs: Rows of the head: ways of a training episode, or 1 for a regression.
        zero_head: Whether every inner loop starts from a head of zeros.
    """
    module = nn.Module()
    module.net = backbone(config, image)
    module.head = nn.Linear(module.net.feature_size, outputs)
    return Learner(module, stateless(module.net, "net."), zero_head)


def learner_of(config: maml.Config, image: tuple[int, ...], classes: int, way: int) -> Learner:
    """The learner that MAML's settings, or those of a relative, ask for.

    Args:
        config: Settings.
        image: Shape of an input.
        classes: Training classes; 1 for a regression.
        way: Classes of a training episode, unless the settings say otherwise.
    """
    return learner(config.backbone, image, min(classes, config.training.way or way), config.zero_head)


def head(params: Params, features: Tensor) -> Tensor:
    """The linear head: (N, D) to (N, W)."""
    return F.linear(features, params["head.weight"], params["head.bias"])


def with_ways(params: Params, episode: Any) -> dict[str, Tensor]:
    """The params with a row of the head for each of the episode's classes.

    Where there are other classes than in training, rows are taken round and round: class w starts from row w modulo
    their number. What an update rule has for every entry of the head goes along.
    """
    rows = params["head.weight"].shape[0]
    if not isinstance(episode, Episode) or episode.way == rows:
        return dict(params)
    places = torch.arange(episode.way, device=params["head.weight"].device) % rows
    changed = dict(params)
    for name in HEAD:
        changed[name] = params[name][places]
        for kind, axis in PER_ENTRY.items():
            value = params.get(f"{RULE_PREFIX}{kind}.{name}")
            if value is not None and value.dim() == params[name].dim() + axis:
                changed[f"{RULE_PREFIX}{kind}.{name}"] = value.index_select(axis, places)
    return changed


def patterns_of(adapted: str, params: Params) -> tuple[str, ...]:
    """Name patterns of what the inner loop changes; a network without parameters leaves the head.

    Norms of backbones are known by their names.

    Args:
        adapted: As in `InnerLoop`.
        params: Of a learner.
    """
    net = [name for name in params if name.startswith("net.")]
    if adapted == "no-norms":
        return (*(name for name in net if "norm" not in name), "head.*")
    return ("net.*", "head.*") if adapted == "all" and net else ("head.*",)


def check_layers_adapt(learner: Learner, inner: InnerLoop, method: str) -> None:
    """Refuse a method that changes how layers adapt where none does.

    Raises:
        ValueError: The inner loop changes the head alone, or the network has no layers.
    """
    if inner.adapted == "head" or all(each.dim() < 2 for each in learner.module.net.parameters()):
        raise ValueError(
            f"{method} is about layers of the network, and only the head would adapt: expected inner.adapted='all' and a "
            "network with layers (--backbone.name mlp for features), or the method maml or anil"
        )


def sgd(inner: InnerLoop, head_lr: float | None = None) -> SGD:
    """The update rule with fixed step sizes, see `head_rate`."""
    return SGD(inner.lr, inner.clip, "value", head_rate(head_lr))


def head_rate(head_lr: float | None) -> dict[str, float]:
    """What update rules are told of a step size of the head's own; nothing where it has none.

    Raises:
        ValueError: The step size is not above 0.
    """
    if head_lr is None:
        return {}
    if not head_lr > 0:
        raise ValueError(
            f"head_lr={head_lr}, expected a number above 0, or None for that of all other weights"
        )
    return {"head.*": head_lr}


def adapted(
    learner: Learner, params: Params, episode: Any, statistics: Statistics, rule: UpdateRule, inner: InnerLoop
) -> dict[str, Tensor]:
    """The params after the inner loop on one task's support.

    Where only the head adapts, the network sees the support once, whatever the number of steps.

    Args:
        learner: Network and head.
        params: Of the learner, and what the rule learns. The head has a row for each class, see `with_ways`.
        episode: One task.
        statistics: Normalisation mode.
        rule: What a step does.
        inner: How many `steps`, which parameters, exact or first-order.
    """

    def loss(fast: Params, features: Tensor | None) -> Tensor:
        if features is None:
            return learner.support_loss(fast, episode, statistics)
        return support_loss(head(fast, features), episode)

    once = inner.adapted == "head" and inner.steps > 0
    features = embed_support(partial(learner.features, params), episode, statistics) if once else None
    return adapt(
        params,
        loss,
        features,
        rule=rule,
        steps=inner.steps,
        adapted=patterns_of(inner.adapted, params),
        first_order=inner.first_order,
    )


def gradient_task(learner: Learner, rule: UpdateRule, inner: InnerLoop) -> Task:
    """Inner loop on the support, meta-loss on the query."""

    def task(params: Params, episode: Any, statistics: Statistics) -> tuple[Tensor, Tensor]:
        fast = adapted(learner, learner.start(params, episode), episode, statistics, rule, inner)
        scores = learner.query_scores(fast, episode, statistics)
        return query_loss(scores, episode), scores

    return task


def in_testing(inner: InnerLoop) -> InnerLoop:
    """The inner loop of validation, testing and prediction."""
    return replace(inner, steps=inner.test_steps)


def gradient_method(learner: Learner, rule: UpdateRule, inner: InnerLoop) -> Method:
    """A method that adapts by gradient steps, with steps of their own in training and testing.

    Args:
        learner: Network and head; its module gets what the rule learns.
        rule: What a step does.
        inner: Steps, and which parameters.
    """
    start = dict(learner.module.named_parameters())
    register(learner.module, rule.init(start, max(1, inner.steps), patterns_of(inner.adapted, start)))
    return Method(
        learner.module,
        gradient_task(learner, rule, inner),
        test=gradient_task(learner, rule, in_testing(inner)),
    )
