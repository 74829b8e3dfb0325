"""How well each method fits sine waves it has not seen, and how much that depends on its step size.

    python benchmarks/sine_waves.py [--updates 2000] [--methods maml cavia ...] [--seed 0]

Regression of Finn et al. (2017, section 5.1): a task is a wave seen at 10 points, and what counts is the mean squared
error at 100 others, over 600 test waves. Every method is trained for as many updates, by its preset. MAML, Meta-SGD and
CAVIA are trained with other first step sizes, too: CAVIA is said not to mind (Zintgraf et al. 2019). And beside the LSTM
meta-learner stands gradient descent from the very start that it learned, by as many steps of the best of some sizes.
"""

import argparse
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metarl import SGD, adapt
from metarl.configs import write_json
from metarl.nn import stateless
from metarl.provenance import measurement
from metarl.supervised import preset
from metarl.supervised.experiment import FewShotExperiment
from metarl.supervised.fewshot_run import FewShotRun
from metarl.supervised.methods import REGRESSION
from metarl.supervised.regression import RegressionSampler, Sinusoids
from metarl.supervised.runs import train
from metarl.training import TrainingDiverged

RESULTS = Path(__file__).parent / "results" / "sine_waves.json"
SHOT, QUERY, WAVES = 10, 100, 600
RATES = {
    "maml": (1e-3, 1e-2, 1e-1, 1.0),
    "meta-sgd": (1e-3, 1e-2, 1e-1, 1.0),
    "cavia": (1e-2, 1e-1, 1.0, 10.0),
}
"""First step sizes of the inner loop."""
DESCENTS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
"""Step sizes of plain gradient descent."""


def learned(method: str, updates: int, seed: int, lr: float) -> dict[str, Any]:
    """What a method trained by its preset, with that step size, comes to; why there is nothing if training diverges."""
    usual = preset(method, "sinusoid", 5, SHOT)
    config = replace(usual, inner=replace(usual.inner, lr=lr))
    row: dict[str, Any] = {
        "method": method,
        "lr": config.inner.lr,
        "steps": config.inner.test_steps,
        "preset": config == usual,
        "tasks": config.training.tasks,
    }
    with tempfile.TemporaryDirectory() as out:
        experiment = FewShotExperiment(
            "sinusoid",
            shot=SHOT,
            episodes=updates * config.training.tasks,
            seed=seed,
            out=out,
            evaluate_every=0,
        )
        try:
            run = train(method, experiment, config, quiet=True)
        except TrainingDiverged as error:
            return row | {"diverged": str(error).partition(". The last")[0]}
        row["minutes"] = sum(run.run.metrics()["time/iteration"]) / 60
        (found,) = run.evaluate(query=QUERY, episodes=WAVES, quiet=True).judged.values()
        row["mse"] = found.values.tolist()
        if method == "meta-lstm":
            row["descent"] = descents(run, config.inner.test_steps)
    return row


def descents(run: FewShotRun, steps: int) -> dict[str, float]:
    """Mean squared error of gradient descent from a run's start, by step size; and of the run's method, as `method`.

    Step sizes with which it diverges are left out.
    """
    method, _ = run.method()
    whole = nn.Sequential(method.module.net, method.module.head)
    start = {name: each.detach() for name, each in whole.named_parameters()}
    scores = stateless(whole)
    drawn = RegressionSampler(Sinusoids("test"), SHOT, QUERY).draw(WAVES, torch.Generator().manual_seed(0))
    waves = [type(drawn)(*(each[place] for each in drawn)) for place in range(WAVES)]

    def loss(params: dict[str, Tensor], wave: Any) -> Tensor:
        return F.mse_loss(scores(params, wave.support), wave.support_targets)

    def error(lr: float, wave: Any) -> float:
        with torch.no_grad():
            fast = adapt(start, loss, wave, rule=SGD(lr), steps=steps)
            return float(F.mse_loss(scores(fast, wave.query), wave.query_targets))

    params = {name: each.detach() for name, each in method.module.named_parameters()}
    with torch.no_grad():
        own = [float(method.tested(params, wave, "transductive")[0]) for wave in waves]
    errors = {"method": sum(own) / WAVES}
    errors |= {str(lr): sum(error(lr, wave) for wave in waves) / WAVES for lr in DESCENTS}
    return {name: each for name, each in errors.items() if math.isfinite(each)}


def main() -> None:
    """Train and judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--updates", type=int, default=2_000)
    parser.add_argument("--methods", nargs="+", default=list(REGRESSION), choices=REGRESSION)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default=str(RESULTS))
    args = parser.parse_args()
    rows = []
    for method in args.methods:
        usual = preset(method, "sinusoid", 5, SHOT).inner.lr
        for lr in sorted({usual, *RATES.get(method, ())}):
            rows.append(learned(method, args.updates, args.seed, lr))
            mean = sum(rows[-1].get("mse", [float("nan")])) / WAVES
            print(f"{method}, step size {lr:g}: {mean:.3f}", flush=True)
            settings = {"updates": args.updates, "seed": args.seed, "shot": SHOT, "waves": WAVES}
            write_json(args.out, {**measurement(), "settings": settings, "rows": rows})


if __name__ == "__main__":
    main()
