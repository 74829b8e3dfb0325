"""The command line in processes of its own: killed and resumed, and two ranks under torchrun."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from metarl import checkpoints
from metarl.configs import read_json
from metarl.runs import find
from tests.supervised import front

COMMAND = [
    *("-m", "metarl", "fewshot", "train", "prototypical", "--data", "strokes", "--device", "cpu", "--quiet"),
    *(
        "--episodes",
        "300",
        "--evaluate-every",
        "30",
        "--checkpoint-every",
        "30",
        "--validation-episodes",
        "10",
    ),
    *("--training.tasks", "2", "--training.way", "5", "--training.query", "3", "--backbone.channels", "4"),
]
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}


def run(*words):
    done = subprocess.run([sys.executable, *words], env=ENV, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done


def test_a_killed_training_goes_on_bit_for_bit(tmp_path):
    run(*COMMAND, "--out", str(tmp_path / "whole"))
    (whole,) = find(tmp_path / "whole")
    killed = _killed(tmp_path / "killed")
    assert killed.info["reason"] == "running"
    run("-m", "metarl", "fewshot", "train", "--resume", str(killed.path), "--quiet")
    mine, theirs = front.outcome(killed), front.outcome(whole)
    for found, expected in zip(mine[:2], theirs[:2], strict=True):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert mine[2:] == theirs[2:]
    assert len(read_json(killed.path / "run.json")["resumed"]) == 1


TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
STAGED = [
    *("-m", "metarl", "fewshot", "train", "maml++", "--data", "sinusoid", "--device", "cpu", "--quiet"),
    *("--shot", "5", "--query", "5", "--validation-episodes", "10", "--training.tasks", "4"),
]
"""Its training is a stage, whose tasks a stage draws."""


@pytest.mark.parametrize("command", [COMMAND, STAGED])
def test_two_ranks_train_what_one_does_and_go_on_with_it(command, tmp_path):
    short = ["--episodes", "12", "--evaluate-every", "3"]
    for name, launcher in (("one", []), ("two", TORCHRUN)):
        run(*launcher, *command, *short, "--out", str(tmp_path / name))
        (found,) = find(tmp_path / name)
        run(*launcher, *command[:4], "--resume", str(found.path), "--episodes", "16", "--quiet")
    one, two = (find(tmp_path / name)[0] for name in ("one", "two"))
    alone, together = (checkpoints.load(checkpoints.latest(each.checkpoints))[0] for each in (one, two))
    for name, tensor in alone.items():
        if name.startswith("module."):
            torch.testing.assert_close(together[name], tensor, rtol=1e-3, atol=1e-3, msg=name)
    assert two.info["reason"] == "finished"
    one, two = (each.metrics() for each in (one, two))
    assert two["step"][-1] == 16
    assert two["train/loss"] == pytest.approx(one["train/loss"], rel=1e-3)
    measure = "fewshot/accuracy" if command is COMMAND else "fewshot/mse"
    assert two[measure][-1] == pytest.approx(one[measure][-1], abs=0.03)


def _killed(out):
    """A training that is killed after its first regular checkpoint, long before its end."""
    process = subprocess.Popen(
        [sys.executable, *COMMAND, "--out", str(out)], env=ENV, stdout=subprocess.DEVNULL
    )
    while not list(out.rglob("step_000000060.json")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (found,) = find(out)
    return found
