"""Two ranks under torchrun must train the same parameters as one process, within rounding."""

import os
import subprocess
import sys

import pytest
import torch

from metarl import checkpoints, distributed
from metarl.agents import preset
from metarl.agents.building import build
from metarl.agents.experiment import Experiment
from metarl.runs import find

COMMAND = [
    *("-m", "metarl", "train"),
    *("--world", "PointNavigation-v0", "--seed", "3", "--device", "cpu", "--quiet"),
    *(
        "--evaluate-every",
        "0",
        "--sampling.tasks",
        "4",
        "--sampling.trajectories",
        "3",
        "--sampling.horizon",
        "10",
    ),
    *("--policy.hidden", "8"),
]


def trained(agent, iterations, ranks, out):
    launcher = [sys.executable]
    if ranks > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    words = [*COMMAND[:3], agent, *COMMAND[3:], "--out", str(out)]
    words += ["--steps", str(4 * 3 * 10 * 2 * (iterations - 1) + 1)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launcher, *words], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (run,) = find(out)
    return checkpoints.load(checkpoints.latest(run.checkpoints))


# Conjugate gradient on a curvature that is nearly singular makes rounding grow, so the trust region gets one iteration.
@pytest.mark.parametrize(("agent", "iterations"), [("promp", 3), ("e-maml", 1)])
def test_two_ranks_train_what_one_does(agent, iterations, tmp_path):
    alone, state = trained(agent, iterations, 1, tmp_path / "one")
    together, other_state = trained(agent, iterations, 2, tmp_path / "two")
    assert state["steps"] == other_state["steps"]
    assert alone.keys() == together.keys()
    for name, tensor in alone.items():
        if name.startswith("module."):
            torch.testing.assert_close(together[name], tensor, rtol=1e-3, atol=2e-5, msg=name)


@pytest.mark.parametrize("agent", ["ppo", "rl2", "recurrent-ppo", "self-play"])
def test_learners_of_one_process_refuse_several_ranks(agent, monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    with pytest.raises(ValueError, match=r"got 2 ranks.* without torchrun"):
        build(Experiment(world="metarl/PointNavigation-v0"), preset(agent), torch.device("cpu"))
