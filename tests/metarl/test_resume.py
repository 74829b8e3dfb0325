"""Killed and resumed gives the same numbers as never killed; signals end a run in good order."""

import os
import signal
import subprocess
import sys

import pytest
import torch

from metarl import checkpoints
from metarl.metrics_csv import read_rows
from metarl.runs import find
from tests.metarl import toy


def start(root, *words):
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    command = [sys.executable, toy.__file__, str(root), *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=90)


def outcome(root):
    """Final tensors, and the rows of metrics.csv as text without the columns of time."""
    (run,) = find(root)
    tensors, _ = checkpoints.load(checkpoints.latest(run.checkpoints))
    columns, rows = read_rows(run.path / "metrics.csv")
    kept = [name for name in columns if not name.startswith("time/")]
    return run, tensors, [kept] + [[row.get(name, "") for name in kept] for row in rows]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    done = start(root)
    assert done.returncode == 0, done.stderr
    return outcome(root)


def assert_same(found, expected):
    assert found[0].info["reason"] == expected[0].info["reason"] == "finished"
    assert found[1].keys() == expected[1].keys()
    for name, tensor in expected[1].items():
        assert torch.equal(found[1][name], tensor), name
    assert found[2] == expected[2]


# 3: before the first regular checkpoint; 7: two iterations (and a new column) after one; 9: right after one
@pytest.mark.parametrize("iteration", [3, 7, 9])
def test_kill_and_resume_is_bit_for_bit_the_uninterrupted_run(iteration, uninterrupted, tmp_path):
    killed = start(tmp_path, "--at", str(iteration), "--signal", str(int(signal.SIGKILL)))
    assert killed.returncode == -signal.SIGKILL
    (run,) = find(tmp_path)
    assert run.info["reason"] == "running"
    assert run.info["ended"] is None
    resumed = start(tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert_same(outcome(tmp_path), uninterrupted)
    info = find(tmp_path)[0].info
    (again,) = info["resumed"]
    assert again["time"] >= info["started"]
    assert {key: again[key] for key in ("versions", "hardware", "ranks")} == {
        key: info[key] for key in ("versions", "hardware", "ranks")
    }
    assert [each["commit"] for each in again["git"]] == [each["commit"] for each in info["git"]]


def test_tensorboard_curves_do_not_go_back_over_themselves(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    start(tmp_path, "--at", "7", "--signal", str(int(signal.SIGKILL)))
    start(tmp_path)
    (run,) = find(tmp_path)
    board = EventAccumulator(str(run.path))
    board.Reload()
    points = board.Scalars("train/loss")
    assert [point.step for point in points] == [40 * i for i in range(1, 13)]
    assert [point.value for point in points] == pytest.approx(run.metrics()["train/loss"], rel=1e-6)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_after_the_iteration_saves_and_says_how_to_go_on(number, uninterrupted, tmp_path):
    done = start(tmp_path, "--at", "6", "--signal", str(int(number)))
    assert done.returncode == 0, done.stderr
    run, _, rows = outcome(tmp_path)
    assert run.info["reason"] == "stopped"
    assert len(rows) == 1 + 6
    assert checkpoints.latest(run.checkpoints).name == "step_000000240"
    assert f"metarl train --resume {run.path}" in done.stdout
    assert "stopping after this iteration" in done.stderr
    start(tmp_path)
    assert_same(outcome(tmp_path), uninterrupted)


def test_a_second_interrupt_aborts_at_once_and_leaves_the_last_checkpoint(uninterrupted, tmp_path):
    done = start(tmp_path, "--at", "6", "--signal", str(int(signal.SIGINT)), "--twice")
    assert done.returncode != 0
    run, _, rows = outcome(tmp_path)
    assert run.info["reason"] == "stopped"
    assert len(rows) == 1 + 5
    assert checkpoints.latest(run.checkpoints).name == "step_000000160"
    start(tmp_path)
    assert_same(outcome(tmp_path), uninterrupted)


def test_a_run_without_a_checkpoint_that_can_be_read_is_left_as_it_is(tmp_path):
    start(tmp_path)
    (run,) = find(tmp_path)
    for path in run.checkpoints.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-9])
    before = (run.path / "metrics.csv").read_text()
    resumed = start(tmp_path)
    assert resumed.returncode != 0
    assert "none of its checkpoints can be read" in resumed.stderr
    assert (run.path / "metrics.csv").read_text() == before


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    start(tmp_path)
    (run,) = find(tmp_path)
    with run.locked():
        other = start(tmp_path, "--iterations", "14")
    assert other.returncode != 0
    assert "another process is training in" in other.stderr
    assert start(tmp_path, "--iterations", "14").returncode == 0
