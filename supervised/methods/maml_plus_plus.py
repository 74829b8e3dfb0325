"""MAML++ (Antoniou, Edwards and Storkey 2019, "How to Train Your MAML"): six changes of MAML, each with a switch.

    multi_step_share: the loss is sum_t w_t L_query(theta_t) over inner steps t; the weights w_t begin equal and move to
        the last step.
    first_order_share: first-order gradients in the beginning.
    per_step_statistics: batch norm has stored averages for every inner step.
    per_step_affine: batch norm has scale and shift for every inner step; these do not adapt.
    learned_rates: every tensor has a learned step size for every inner step.
    training.anneal: the outer step size falls along half a cosine.

The query after step t is seen with what step t has, and so is everything after the last trained step. With all switches
off it is MAML.

Differences from the paper: those of `metarl.supervised.methods.maml`; averages of batch norm are estimated before every
validation, and are used with `training.test_statistics` "running" only: without it batch norm goes by the batch, as it
always does in the authors' code, which stores averages and never uses them. Testing uses the best state in validation;
the paper's ensemble of the five best, which are kept, is `metarl fewshot evaluate RUN --ensemble 5`.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from metarl.adaptation import inner_steps
from metarl.nn import BatchNorm
from metarl.supervised.episode_stage import episode_stage
from metarl.supervised.inner_loop import Learner, head_rate, in_testing, learner_of, patterns_of, sgd
from metarl.supervised.methods.config import InnerLoop, Statistics
from metarl.supervised.methods.method import Method, Params
from metarl.supervised.presets.maml_plus_plus import Config
from metarl.supervised.task_kinds import measure_of, query_loss
from metarl.tasks import over_tasks
from metarl.update_rules import LearnedSGD, UpdateRule, adapted_names, register

LEAST_WEIGHT = 0.03
"""What the weight of a step before the last falls to, as a part of an equal one (the authors' code)."""


class StepNorms(nn.Module):
    """What the batch norms of a network have at every inner step.

    Args:
        net: The network. Where scale and shift are of every step, its own no longer train.
        steps: Inner steps.
        affine: Whether scale and shift are of every step.
        statistics: Whether averages are.
    """

    def __init__(self, net: nn.Module, steps: int, affine: bool, statistics: bool):
        super().__init__()
        norms = {name: each for name, each in net.named_modules() if isinstance(each, BatchNorm)}
        self.names, self.affine, self.statistics = list(norms), affine, statistics
        self.layers = nn.ModuleList(
            nn.ModuleList(BatchNorm(each.channels, each.eps, affine) for each in norms.values())
            for _ in range(steps)
        )
        for each in norms.values() if affine else ():
            each.weight.requires_grad_(False)
            each.bias.requires_grad_(False)

    def at(self, params: Params, step: int) -> dict[str, Tensor]:
        """The params (and averages) of the network as an inner step has them; the last one's beyond."""
        step = min(step, len(self.layers) - 1)
        found = dict(params)
        for place, name in enumerate(self.names):
            if self.affine:
                for key in ("weight", "bias"):
                    found[f"net.{name}.{key}"] = params[f"norms.layers.{step}.{place}.{key}"]
            if self.statistics:
                buffers = self.layers[step][place].named_buffers()
                found |= {f"net.{name}.{key}": value for key, value in buffers}
        return found

    @torch.no_grad()
    def start_as(self, net: nn.Module) -> None:
        """Give every step the scale and shift that the norms of a network have."""
        for step in self.layers if self.affine else ():
            for name, each in zip(self.names, step, strict=True):
                norm = net.get_submodule(name)
                each.weight.copy_(norm.weight)
                each.bias.copy_(norm.bias)


def build(config: Config, image: tuple[int, ...], classes: int, way: int, shot: int) -> Method:
    """MAML++ with fresh parameters.

    Args:
        config: Settings.
        image: Channels, height and width; (1,) for a regression.
        classes: Training classes; 1 for a regression.
        way: Classes of an episode in testing; others will do (see `metarl.supervised.inner_loop.with_ways`).
        shot: Support images of each class in testing.
    """
    inner = config.inner
    network = learner_of(config, image, classes, way)
    module = network.module
    module.norms = StepNorms(module.net, inner.steps, config.per_step_affine, config.per_step_statistics)
    rule = _rule(config, module)

    def one(params: Params, episode: Any, weights: Tensor | None, first_order: bool) -> tuple[Tensor, Any]:
        mode = config.training.statistics
        loss, scores = weighted_task(
            network, rule, inner, params, episode, mode, weights, inner.first_order or first_order
        )
        measure = measure_of(episode)
        return loss, {measure.name: measure.of(scores.detach(), episode)}

    def loss(
        params: Params, episodes: Any, now: tuple[Tensor | None, bool]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        weights, first_order = now
        losses, metrics = over_tasks(partial(one, weights=weights, first_order=first_order))(params, episodes)
        return losses.mean(), {name: each.mean() for name, each in metrics.items()}

    task, test = (partial(_last, network, rule, each) for each in (inner, in_testing(inner)))
    norms = module.norms
    return Method(
        module,
        task,
        (episode_stage(config.training, way, shot, loss, schedule=partial(schedule, config)),),
        test,
        backbone=partial(norms.at, step=inner.steps),
        started=partial(norms.start_as, module.net),
    )


def schedule(config: Config, progress: float) -> tuple[Tensor | None, bool]:
    """What a share of the training says of its updates.

    Returns:
        Weights of the inner steps, float64, or None where the last one alone counts; whether inner gradients are
        constants.
    """
    early = progress < config.multi_step_share
    weights = step_weights(config.inner.steps, progress, config.multi_step_share) if early else None
    told = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    return told, progress < config.first_order_share


def step_weights(steps: int, progress: float, share: float) -> list[float]:
    """How much the query's loss after each inner step counts.

    Args:
        steps: Inner steps.
        progress: How much of the training is done, in [0, 1).
        share: Of the training, after which the last step alone counts; 0 for always.

    Returns:
        Weights that add up to 1.
    """
    if progress >= share:
        return [0.0] * (steps - 1) + [1.0]
    early = max(1 - progress / share, LEAST_WEIGHT) / steps
    return [early] * (steps - 1) + [1 - (steps - 1) * early]


def weighted_task(
    network: Learner,
    rule: UpdateRule,
    inner: InnerLoop,
    params: Params,
    episode: Any,
    statistics: Statistics,
    weights: Tensor | None,
    first_order: bool,
) -> tuple[Tensor, Tensor]:
    """Loss of one task over its inner steps, and scores after the last step.

    Args:
        network: Network and head, with `norms`.
        rule: What a step does.
        inner: How many steps.
        params: Everything that is learned.
        episode: The task.
        statistics: Normalisation mode.
        weights: Of each step's loss; None: the last step alone counts.
        first_order: Whether inner gradients are constants.
    """
    norms: StepNorms = network.module.norms
    start = network.start(params, episode)

    def support_loss(fast: Params, step: int) -> Tensor:
        return network.support_loss(norms.at(fast, step), episode, statistics)

    def answer(fast: Params, step: int) -> Tensor:
        return network.query_scores(norms.at(fast, step), episode, statistics)

    if not inner.steps:
        scores = answer(start, 0)
        return query_loss(scores, episode), scores
    adapted = _adapted(start, norms, inner)
    total: Any = 0.0
    steps = inner_steps(
        start, support_loss, range(inner.steps), rule=rule, adapted=adapted, first_order=first_order
    )
    for step, fast in zip(range(inner.steps), steps, strict=False):
        if weights is not None or step == inner.steps - 1:
            scores = answer(fast, step)
            loss = query_loss(scores, episode)
            total = total + (loss if weights is None else weights[step].to(loss) * loss)
    return total, scores


def _last(
    network: Learner, rule: UpdateRule, inner: InnerLoop, params: Params, episode: Any, statistics: Statistics
) -> tuple[Tensor, Tensor]:
    """The task with the loss after the last step."""
    return weighted_task(network, rule, inner, params, episode, statistics, None, inner.first_order)


def _adapted(params: Params, norms: StepNorms, inner: InnerLoop) -> tuple[str, ...]:
    """Names that the inner loop changes: not those of norms that have scale and shift of every step."""
    fixed = norms.affine and norms.names and inner.adapted == "all"
    return adapted_names(params, patterns_of("no-norms" if fixed else inner.adapted, params))


def _rule(config: Config, module: nn.Module) -> UpdateRule:
    """The update rule; step sizes that it learns become parameters of the module."""
    inner = config.inner
    if not config.learned_rates:
        return sgd(inner, config.head_lr)
    head = head_rate(config.head_lr)
    rule = LearnedSGD(inner.lr, per="tensor", clip=inner.clip, clip_by="value", lr_for=head)
    params = dict(module.named_parameters())
    register(module, rule.init(params, inner.steps, _adapted(params, module.norms, inner)))
    return rule
