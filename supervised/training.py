"""How any few-shot method is trained: stages first, then episodes; judged on fixed validation episodes.

Legend: T tasks of one update, Q queries of each class, W ways.
"""

import dataclasses
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from metarl import checkpoints, distributed
from metarl.algorithms import Batch
from metarl.configs import read_json
from metarl.cuda_graphs import GraphedLoss
from metarl.meta_optimizers import GradientSteps, Loss, annealed, milestones
from metarl.names import matching
from metarl.nn import BatchNorm, low_precision
from metarl.supervised.class_store import ClassStore
from metarl.supervised.evaluation import Judged, Protocol, interval, judge, seeded
from metarl.supervised.experiment import FewShotExperiment
from metarl.supervised.methods.config import EpisodicTraining
from metarl.supervised.methods.method import Method, Params, Stage
from metarl.supervised.normalisation import estimate_running
from metarl.supervised.staged_steps import StagedSteps
from metarl.supervised.task_kinds import ACCURACY, SQUARED_ERROR, Store, measure_of, training_sampler
from metarl.tasks import over_tasks
from metarl.update_rules import RULE_PREFIX

log = logging.getLogger(__name__)

RUNNING_EPISODES = 30
"""Training episodes that the running averages of batch norm are estimated from."""
RUNNING_SEED, VALIDATION_SEED = 1, 2
"""Of episodes that are the same in every training."""


class FewShotTraining:
    """What the trainer asks for (`metarl.algorithms.Algorithm`), for any method.

    Args:
        method: On its device.
        experiment: Ways, shots and queries of validation; length of the training.
        training: Ways, shots, queries and tasks of training.
        train: Images of training classes, or functions to train on, on the method's device.
        validation: The same for validation; None, or fewer than two classes, among which every answer is right: none.
        best: Where the state that is best in validation is kept, without suffix; None: nowhere.

    Attributes:
        module: The method's module as `method`, and the number of updates done.
        updates: How many the whole training has.
    """

    def __init__(
        self,
        method: Method,
        experiment: FewShotExperiment,
        training: EpisodicTraining,
        train: Store,
        validation: Store | None,
        best: Path | None = None,
    ):
        self.method, self.experiment, self.training = method, experiment, training
        self.train, self.validation, self.best = train, validation, best
        if isinstance(validation, ClassStore) and validation.num_classes < 2:
            self.validation = None
        self.module = nn.Module()
        self.module.method = method.module
        self.module.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.updates = number_of_updates(experiment, training)
        self.stage_ends = stage_ends(method.stages, self.updates)
        self.sampler = training_sampler(train, training, experiment.way, experiment.shot)
        self._averages_first = bool(method.needs_start) or training.statistics == "running"
        self._graphed = GraphedLoss(self._at)

    def collect(self, rng: np.random.Generator) -> Batch:
        """A batch of the stage that the training is in, or T episodes."""
        done = int(self.module.updates)
        stage = sum(done >= end for end in self.stage_ends)
        draw = torch.Generator().manual_seed(int(rng.integers(2**62)))
        if done in self.stage_ends or (not done and self._averages_first):
            self.estimate_running()  # what follows may look at images by them
        if stage < len(self.method.stages):
            data = self.method.stages[stage].draw(self.train, draw, min(done / self.updates, 1 - 1e-9))
        else:
            data = distributed.part(self.sampler.draw(self.training.tasks, draw))
        self.module.updates += 1
        return Batch((stage, data), self.training.tasks)

    def loss(self, data: tuple[int, Any]) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """Mean loss, and metrics; `accuracy` (or `mse`) is that on the queries, averaged over tasks."""
        with low_precision(self.training.precision == "bfloat16"):
            return self._loss(*data)

    def _loss(self, stage: int, batch: Any) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        params = dict(self.method.module.named_parameters())
        if not self.training.cuda_graph or self.train.device.type != "cuda":
            return self._at(params, (stage, batch))
        return self._graphed(params, (stage, batch))

    def _at(self, params: Params, data: tuple[int, Any]) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """Loss and metrics at any parameters."""
        stage, batch = data
        number = {"stage": float(stage)} if self.method.stages else {}
        if stage < len(self.method.stages):
            loss, metrics = self.method.stages[stage].loss(params, batch)
            return loss, {**metrics, **number}
        task = partial(task_with_measure, self.method, statistics=self.training.statistics)
        if self.training.tasks == 1:
            loss, aux = task(params, pytree.tree_map(lambda each: each[0], batch))
            return loss, {**aux, **number}
        losses, aux = over_tasks(task)(params, batch)
        return losses.mean(), {**{name: each.mean() for name, each in aux.items()}, **number}

    def evaluate(self, rng: np.random.Generator) -> dict[str, float]:
        """Estimate running averages, judge on validation episodes, keep the state if it is among the best so far."""
        self.estimate_running()
        if self.validation is None:
            return {}
        experiment = self.experiment
        protocol = Protocol(
            way=min(experiment.way, self.validation.num_classes),
            shot=experiment.shot,
            query=experiment.query,
            episodes=experiment.validation_episodes,
            seed=VALIDATION_SEED,
        )
        mode = self.training.test_statistics
        found = judge(self.method, self.validation, protocol, [mode])[mode]
        value, margin = float(found.values.mean()), interval(found.values)
        self._keep_if_good(found)
        return {
            f"fewshot/{found.measure.name}": value,
            "fewshot/interval": margin,
            "fewshot/loss": found.loss,
        }

    @torch.no_grad()
    def estimate_running(self) -> None:
        """Set the running averages of batch norm, if there is any, from training episodes that are always the same."""
        if not any(isinstance(each, BatchNorm) for each in self.method.module.modules()):
            return
        params = dict(self.method.module.named_parameters())
        estimate_running(
            self.method.module,
            lambda episode: self.method.task(params, episode, "joint"),
            self._fixed_episodes(),
        )

    def _fixed_episodes(self) -> Iterator[Any]:
        unchanged = dataclasses.replace(self.training, augment="none")
        sampler = training_sampler(self.train, unchanged, self.experiment.way, self.experiment.shot)
        for number in range(RUNNING_EPISODES):
            episodes = sampler.draw(1, seeded(RUNNING_SEED, number))
            yield pytree.tree_map(lambda each: each[0], episodes)

    def _keep_if_good(self, found: Judged) -> None:
        if self.best is None or not distributed.is_main():
            return
        measure, value = found.measure, float(found.values.mean())
        if not math.isfinite(value):
            log.warning("validation came to %s: this state is not kept as the best", value)
            return
        updates = int(self.module.updates)
        state = {
            measure.name: value,
            "measure": measure.name,
            "interval": interval(found.values),
            "statistics": self.training.test_statistics,
            "validation_episodes": self.experiment.validation_episodes,
            "updates": updates,
            "steps": updates * self.training.tasks,
        }
        before = best_state(self.best)
        if before is None or measure.sign * (value - before[measure.name]) > 0:
            checkpoints.save(self.best, self.module.state_dict(), state)
        if self.training.kept > 1:
            name = f"{self.best.name}_{state['steps']:09d}"
            checkpoints.save(self.best.with_name(name), self.module.state_dict(), state)
            for path in kept_states(self.best)[self.training.kept :]:
                checkpoints.delete(path)


class Untrained:
    """The optimiser of a method that has nothing to train."""

    def update(self, loss: Loss) -> dict[str, float]:
        """Change nothing."""
        value, metrics = loss()
        return {name: float(each) for name, each in {**metrics, "loss": value}.items()}

    def state_dict(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over nothing."""


def optimizer_of(
    module: nn.Module, training: EpisodicTraining, updates: int, stages: Sequence[Stage] = ()
) -> GradientSteps | StagedSteps | Untrained:
    """The outer optimiser of a configuration.

    Args:
        module: Its parameters are trained.
        training: Optimiser, step size and when it decays.
        updates: Of the whole training, which milestones are shares of.
        stages: Of the method; those with an optimiser of their own must all have one.

    Raises:
        ValueError: Some stages have an optimiser of their own, and others have none.
    """
    parameters = dict(module.named_parameters())
    if not any(each.requires_grad for each in parameters.values()):
        return Untrained()
    own = [stage.optimizer for stage in stages if stage.optimizer is not None]
    if not own:
        return _steps(parameters, training, updates)
    if len(own) < len(stages):
        raise ValueError("either every stage of a method has an optimiser of its own, or none has")
    ends = stage_ends(stages, updates)
    parts = []
    for stage, settings, end, start in zip(stages, own, ends, [0, *ends], strict=False):
        chosen = {name: parameters[name] for name in matching(parameters, stage.trains, "a stage's trains")}
        parts.append(_steps(chosen, settings, max(1, end - start)))
    if ends[-1] < updates:
        return StagedSteps([*parts, _steps(parameters, training, updates - ends[-1])], ends)
    return StagedSteps(parts, ends[:-1])


def _steps(parameters: Mapping[str, Tensor], training: EpisodicTraining, updates: int) -> GradientSteps:
    return GradientSteps(
        parameters,
        training.lr,
        kind=training.optimizer,
        max_grad_norm=training.max_grad_norm,
        max_grad_value=training.max_grad_value,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
        decayed=[name for name in parameters if not name.startswith(RULE_PREFIX)],
        schedule=schedule_of(training, updates),
    )


def schedule_of(training: EpisodicTraining, updates: int) -> Callable[[int], float]:
    """From the number of updates done to a factor of the step size."""
    if training.anneal != "none":
        return annealed(training.anneal, updates, training.final_lr / training.lr)
    if training.milestones:
        return milestones([max(1, round(share * updates)) for share in training.milestones], training.decay)
    at = range(training.decay_every, updates, training.decay_every) if training.decay_every else ()
    return milestones(at, training.decay)


def number_of_updates(experiment: FewShotExperiment, training: EpisodicTraining) -> int:
    """Updates of a whole training."""
    return math.ceil(experiment.episodes / training.tasks)


def task_with_measure(
    method: Method, params: Mapping[str, Tensor], episode: Any, statistics: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of one task, and its accuracy (`mse` of a regression)."""
    loss, scores = method.task(params, episode, statistics)
    measure = measure_of(episode)
    return loss, {measure.name: measure.of(scores.detach(), episode)}


def best_state(path: Path) -> dict[str, Any] | None:
    """What is known of the state that was best in validation so far; None if there is none."""
    described = path.with_name(f"{path.name}.json")
    return read_json(described) if described.exists() else None


def kept_states(path: Path) -> list[Path]:
    """States beside the best one that a training with `kept` above 1 keeps, that one among them, the best first.

    Args:
        path: Of the best one, without suffix, as those that are found.
    """
    found = []
    for described in path.parent.glob(f"{path.name}_*.json"):
        state = read_json(described)
        value = state[state["measure"]]
        sign = next(each.sign for each in (ACCURACY, SQUARED_ERROR) if each.name == state["measure"])
        found.append((-sign * value, state["steps"], described.with_suffix("")))
    return [place for *_, place in sorted(found)]


def stage_ends(stages: Sequence[Stage], updates: int) -> list[int]:
    """After how many updates each stage is over.

    Raises:
        ValueError: The stages' shares are more than the whole training.
    """
    shares = [stage.share for stage in stages]
    if any(not 0 < share <= 1 for share in shares) or sum(shares) > 1 + 1e-9:
        raise ValueError(
            f"shares of the stages are {shares}, expected parts of the training, 1 or less in all"
        )
    return [round(sum(shares[: place + 1]) * updates) for place in range(len(shares))]
