"""Two ranks train what one does; a dead rank ends the other with a clear error."""

import os
import signal
import socket
import subprocess
import sys

import pytest
import torch

from metarl import checkpoints, distributed
from metarl.runs import find
from tests.metarl import toy


def start_ranks(root, ranks, *words, script=toy.__file__):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    env |= {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(
            [sys.executable, script, str(root), *words],
            env=env | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]
    try:
        return [(process.communicate(timeout=60), process.returncode) for process in processes]
    finally:
        for process in processes:
            process.kill()


@pytest.mark.parametrize("optimizer", ["adam", "trust"])
def test_two_ranks_give_the_parameters_of_one(optimizer, tmp_path):
    trained = []
    for ranks in (1, 2):
        for (_, errors), code in start_ranks(tmp_path / str(ranks), ranks, "--optimizer", optimizer):
            assert code == 0, errors
        (run,) = find(tmp_path / str(ranks))  # one folder: rank 0 writes
        trained.append((checkpoints.load(checkpoints.latest(run.checkpoints))[0], run.metrics()))
    (alone, one), (together, two) = trained
    assert alone.keys() == together.keys()
    for name, tensor in alone.items():
        torch.testing.assert_close(together[name], tensor, rtol=2e-5, atol=2e-6, msg=name)
    assert not torch.equal(alone["module.start"], toy.Quadratic().module.start)
    assert one["train/loss"] == pytest.approx(two["train/loss"], rel=1e-4)
    assert one["step"] == two["step"]


def test_a_dead_rank_ends_the_other_with_a_clear_error(tmp_path):
    words = ("--at", "3", "--rank", "1", "--signal", str(int(signal.SIGKILL)))
    ((_, errors), code), (_, killed) = start_ranks(tmp_path, 2, *words)
    assert killed == -signal.SIGKILL
    assert code not in (0, None)
    assert "lost contact with another rank" in errors
    (run,) = find(tmp_path)
    assert run.info["reason"] == "failed"
    assert "lost contact" in run.info["message"]


def test_a_stop_asked_of_one_rank_stops_both(tmp_path):
    words = ("--at", "5", "--rank", "1", "--signal", str(int(signal.SIGTERM)))
    for (_, errors), code in start_ranks(tmp_path, 2, *words):
        assert code == 0, errors
    (run,) = find(tmp_path)
    assert run.info["reason"] == "stopped"
    assert len(run.metrics()["step"]) == 5


DRIFT = """
import torch
from metarl import distributed
distributed.start("cpu", timeout=20)
tensors = {"same": torch.arange(3), "apart": torch.tensor([1.0, distributed.rank()])}
assert distributed.share(6) == range(3 * distributed.rank(), 3 * distributed.rank() + 3)
assert distributed.mean_metrics({"a": float(distributed.rank())}) == {"a": 0.5}
gradient = torch.full((2,), float(distributed.rank()))
parameter = torch.zeros(2, requires_grad=True)
distributed.mean_gradients_([gradient, parameter])
assert gradient.tolist() == [0.5, 0.5] and parameter.grad.tolist() == [0.0, 0.0]
try:
    distributed.share(3)
except ValueError as error:
    assert "use 2 or 4 tasks" in str(error)
else:
    raise SystemExit("an uneven share was accepted")
try:
    distributed.check_equal(tensors)
except RuntimeError as error:
    assert "drifted apart in apart" in str(error), error
else:
    raise SystemExit("drift was not seen")
distributed.end()
"""


def test_shares_means_and_drift_on_two_ranks(tmp_path):
    script = tmp_path / "drift.py"
    script.write_text(DRIFT)
    for (_, errors), code in start_ranks(tmp_path, 2, script=str(script)):
        assert code == 0, errors


def test_one_rank_is_the_identity():
    tensor = torch.tensor([1.0, 2.0])
    assert distributed.mean_(tensor) is tensor
    assert tensor.tolist() == [1.0, 2.0]
    assert distributed.share(5) == range(5)
    assert distributed.is_main()


def test_ranks_that_have_not_met_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"distributed\.start"):
        distributed.check_started()


def test_on_a_gpu_tensors_of_the_cpu_travel_too(monkeypatch):
    asked = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda backend, **options: asked.append(backend)
    )
    assert distributed.start("cuda")
    assert distributed.start("cpu")
    assert asked == ["cpu:gloo,cuda:nccl", "gloo"]


def test_a_part_of_a_batch_is_this_ranks_share_of_every_tensor(monkeypatch):
    batch = {"x": torch.arange(6).view(6, 1), "y": (torch.arange(4), "text", None)}
    assert distributed.part(batch) is batch
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    mine = distributed.part(batch)
    assert (mine["x"].tolist(), mine["y"][0].tolist(), mine["y"][1:]) == (
        [[3], [4], [5]],
        [2, 3],
        ("text", None),
    )
    with pytest.raises(ValueError, match="3 tasks cannot be split evenly over 2 ranks"):
        distributed.part(torch.arange(3))
