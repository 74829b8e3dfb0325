"""The one training loop: collect, meta-loss, step, evaluate, log, checkpoint.

An algorithm brings four things (`Algorithm`), an optimiser turns its loss into steps
(`metarl.meta_optimizers`), a `Schedule` says how long and how often, a `Run` keeps the results. Agents and
few-shot methods, one process or several, a fresh start or a resumed one: all go through `train`.

Randomness is a function of (seed, iteration, purpose), never of what was drawn before. So a run that was
killed and resumed gives the same numbers as one that was not, and no state of a generator is ever stored.
"""

import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from metarl import checkpoints, devices, distributed, provenance
from metarl.algorithms import Algorithm, Batch, MetaOptimizer
from metarl.interrupts import StopRequest
from metarl.meta_optimizers import NonFinite
from metarl.progress import Progress, duration
from metarl.runs import Run
from metarl.schedule import Schedule

__all__ = [
    "Algorithm",
    "Batch",
    "MetaOptimizer",
    "Position",
    "Schedule",
    "TrainingDiverged",
    "check_finite",
    "ending_noted",
    "generator",
    "train",
]

PURPOSES = {"collect": 0, "learn": 1, "evaluate": 2}
Purpose = Literal["collect", "learn", "evaluate"]


class TrainingDiverged(RuntimeError):
    """Training met a number that is not finite, and stopped before it could be saved.

    Attributes:
        iteration: The iteration (from 1) it happened in.
        quantity: What was not finite.
        checkpoint: The last good checkpoint, without suffix.
    """

    def __init__(self, iteration: int, quantity: str, checkpoint: Path):
        super().__init__(
            f"training diverged in iteration {iteration}: {quantity} is not finite. The last good checkpoint "
            f"is {checkpoint}. A smaller step size or a bound on the gradient's norm may help"
        )
        self.iteration, self.quantity, self.checkpoint = iteration, quantity, checkpoint


@dataclass(frozen=True)
class Position:
    """How far a training has come."""

    iteration: int = 0
    """Iterations done."""
    steps: int = 0
    """Environment steps (or episodes) done."""
    elapsed: float = 0.0
    """Seconds spent, not counting pauses between resumptions."""


def generator(seed: int, iteration: int, purpose: Purpose) -> np.random.Generator:
    """The generator for one purpose in one iteration; torch's generators are seeded along with it.

    Args:
        seed: Of the run.
        iteration: From 1; 0 stands for what happens before the first.
        purpose: `collect`, `learn` or `evaluate`: independent streams.
    """
    sequence = np.random.SeedSequence([seed, iteration, PURPOSES[purpose]])
    torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))
    return np.random.default_rng(sequence)


def train(
    algorithm: Algorithm,
    optimizer: MetaOptimizer,
    schedule: Schedule,
    run: Run,
    *,
    quiet: bool = False,
    unit: str = "steps",
) -> Run:
    """Train until the schedule is done, Ctrl-C or SIGTERM asks to stop, or something fails.

    A run that has a checkpoint is resumed from its newest whole one. The reason of the end stands in
    `run.info["reason"]`: finished, stopped, failed or diverged.

    Args:
        algorithm: What to train.
        optimizer: Holds the module's parameters.
        schedule: How long and how often.
        run: Where everything is kept. Under torchrun call `distributed.start` before making it.
        quiet: Show nothing.
        unit: What the schedule's steps are called.

    Returns:
        The run, closed.

    Raises:
        TrainingDiverged: a loss, gradient, parameter, buffer or action became infinite or no number.
        ValueError: the checkpoint does not fit the module, the optimiser or the seed; or there are only damaged ones, or
            another process trains here.
        KeyboardInterrupt: a second Ctrl-C.
    """
    distributed.check_started()
    device = _placed(algorithm.module, schedule.device)
    title = f"{run.info.get('agent', '')} on {run.info.get('world', '')}, seed {schedule.seed}"
    window = max(20, 2 * schedule.evaluate_every)
    quiet = quiet or not distributed.is_main()
    with (
        run.locked(),
        Progress(title, schedule.steps, quiet=quiet, window=window, unit=unit) as progress,
        StopRequest(progress.note) as stop,
    ):
        begun = False
        try:
            loop = _Loop(algorithm, optimizer, schedule, run, device)
            begun = True
            progress.start(loop.position.steps)
            stopped = loop.run_until_done(stop, progress)
            run.finish("stopped" if stopped else "finished")
        except TrainingDiverged as error:
            run.finish("diverged", str(error))
            raise
        except KeyboardInterrupt:
            run.finish("stopped", "aborted at once; the last checkpoint is valid")
            progress.say(f"aborted; the last checkpoint is valid. Go on with: {run.resume_command}")
            raise
        except BaseException as error:
            if begun or run.info.get("ended") is None:  # one that had ended and is refused stays as it was
                run.finish("failed", f"{type(error).__name__}: {error}")
            raise
        progress.say(_farewell(run, loop.position, stopped, unit))
    return run


@contextmanager
def ending_noted(run: Run) -> Iterator[None]:
    """What ends a run between the making of its folder and its training stands in `run.json`, too."""
    try:
        yield
    except BaseException as error:
        if run.info.get("ended") is None:
            aborted = isinstance(error, KeyboardInterrupt)
            run.finish(
                "stopped" if aborted else "failed", f"{type(error).__name__} before training began: {error}"
            )
            if aborted and distributed.is_main():
                print(f"stopped before training began. Start it with: {run.resume_command}", file=sys.stderr)
        raise


class _Loop:
    """The loop's own state: where it stands and what it saved last."""

    def __init__(
        self,
        algorithm: Algorithm,
        optimizer: MetaOptimizer,
        schedule: Schedule,
        run: Run,
        device: torch.device,
    ):
        self.algorithm, self.optimizer, self.schedule = algorithm, optimizer, schedule
        self.run, self.device = run, device
        self.saved, self.position = self._restore()

    def run_until_done(self, stop: StopRequest, progress: Progress) -> bool:
        """Iterate; returns whether it was asked to stop before the end."""
        while self.position.steps < self.schedule.steps:
            with self._finite():
                metrics = self._iterate()
            self.run.log(metrics, self.position.steps)
            progress.update(self.position.steps, metrics)
            stopping = distributed.any_true(stop.requested, self.device)
            if stopping or self._due(self.schedule.checkpoint_every):
                self.saved = self._save()
            if stopping:
                return self.position.steps < self.schedule.steps
        return False

    @contextmanager
    def _finite(self) -> Iterator[None]:
        """A number that is not finite, wherever in an iteration, ends the training."""
        iteration = self.position.iteration + 1
        try:
            yield
        except NonFinite as error:
            raise TrainingDiverged(iteration, error.quantity, self.saved) from error

    def _due(self, every: int) -> bool:
        """Whether what is done each `every` iterations is due; always at the end."""
        done = self.position.steps >= self.schedule.steps
        return done or (every > 0 and self.position.iteration % every == 0)

    def _iterate(self) -> dict[str, float]:
        """One iteration: collect, learn, and evaluate if it is due."""
        seed, iteration = self.schedule.seed, self.position.iteration + 1
        clock = [time.perf_counter()]
        batch = self.algorithm.collect(generator(seed, iteration, "collect"))
        clock.append(time.perf_counter())
        generator(seed, iteration, "learn")
        learned = self.optimizer.update(lambda: self.algorithm.loss(batch.data))
        check_finite(self.algorithm.module)
        clock.append(time.perf_counter())
        self.position = Position(iteration, self.position.steps + batch.steps, self.position.elapsed)
        metrics = _tagged("rollout", batch.metrics) | _tagged("train", {"iteration": iteration, **learned})
        if self.schedule.evaluate_every and self._due(self.schedule.evaluate_every):
            metrics |= _tagged("eval", self.algorithm.evaluate(generator(seed, iteration, "evaluate")))
        metrics = distributed.mean_metrics(metrics)
        clock.append(time.perf_counter())
        self.position = Position(iteration, self.position.steps, self.position.elapsed + clock[-1] - clock[0])
        return metrics | self._times(clock, batch.steps)

    def _times(self, clock: list[float], steps: int) -> dict[str, float]:
        start, collected, learned, end = clock
        return {
            "time/fps": steps / (learned - start),
            "time/iteration": end - start,
            "time/collect_share": (collected - start) / (end - start),
            "time/learn_share": (learned - collected) / (end - start),
            "time/time_elapsed": self.position.elapsed,
        }

    def _tensors(self) -> dict[str, Tensor]:
        module = {f"module.{name}": each for name, each in self.algorithm.module.state_dict().items()}
        return module | {f"optimizer.{name}": each for name, each in self.optimizer.state_dict().items()}

    def _save(self) -> Path:
        """Write a checkpoint of where the loop stands; returns its path without suffix."""
        tensors = self._tensors()
        distributed.check_equal(tensors)
        path = self.run.checkpoints / f"step_{self.position.steps:09d}"
        if distributed.is_main():
            self.run.sync()  # the rows that the checkpoint counts must be on the disk before it
            state = {
                "iteration": self.position.iteration,
                "steps": self.position.steps,
                "elapsed": self.position.elapsed,
                "seed": self.schedule.seed,
                "rows": self.run.rows,
                "config": self.run.config,
                "versions": provenance.versions(),
            }
            checkpoints.save(path, tensors, state)
            checkpoints.prune(self.run.checkpoints, self.schedule.keep)
        return path

    def _newest(self) -> tuple[Path | None, str]:
        """The checkpoint to go on from, and what speaks against going on."""
        folder = self.run.checkpoints
        try:
            path = checkpoints.latest(folder)
        except checkpoints.NewerFormat as error:
            return None, str(error)
        if path is None and (checkpoints.complete(folder) or self.run.rows):
            return None, (
                f"{self.run.path} was trained, but none of its checkpoints can be read (see the warnings above): "
                "there is nothing to go on from, and a new start would erase what was logged. Train anew without "
                "--resume"
            )
        return path, ""

    def _restore(self) -> tuple[Path, Position]:
        """Go to the newest checkpoint; if there is none, save the start as one."""
        path, trouble = distributed.from_main(self._newest() if distributed.is_main() else (None, ""))
        if trouble:
            raise ValueError(trouble)
        if path is None:
            distributed.copy_from_main_(self.algorithm.module.state_dict().values())
            self.position = Position()
            return self._save(), self.position
        tensors, state = checkpoints.load(path)
        if state["seed"] != self.schedule.seed:
            had, has = state["seed"], self.schedule.seed
            raise ValueError(f"{self.run.path} was trained with seed {had}; it cannot go on with seed {has}")
        checkpoints.load_module(self.algorithm.module, checkpoints.under("module", tensors))
        self.optimizer.load_state_dict(checkpoints.under("optimizer", tensors))
        self.run.rewind(state["rows"], state["steps"])
        return path, Position(state["iteration"], state["steps"], state["elapsed"])


@torch.no_grad()
def check_finite(module: nn.Module) -> None:
    """Make sure that every parameter and buffer is finite.

    Raises:
        NonFinite: naming those that are not.
    """
    floats = {name: each for name, each in module.state_dict().items() if each.is_floating_point()}
    named = {name: each for name, each in floats.items() if each.numel()}
    if not bool(torch.isfinite(nn.utils.get_total_norm(named.values(), math.inf))):  # NaN where there is one
        bad = [name for name, each in named.items() if not torch.isfinite(each).all()]
        raise NonFinite(f"parameter or buffer {', '.join(bad)}")


def _placed(module: nn.Module, device: str) -> torch.device:
    """The device a module is on, after moving it where the schedule says (`auto`: where it is)."""
    if device != "auto":
        module.to(devices.resolve(device))
    return next((each.device for each in module.state_dict().values()), torch.device("cpu"))


def _tagged(group: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics under their tags: names without a slash go into `group`."""
    return {name if "/" in name else f"{group}/{name}": value for name, value in metrics.items()}


def _farewell(run: Run, position: Position, stopped: bool, unit: str) -> str:
    so_far = f"{position.steps:,} {unit} in {duration(position.elapsed)}; everything is in {run.path}"
    return f"stopped after {so_far}\ngo on with: {run.resume_command}" if stopped else f"finished {so_far}"
