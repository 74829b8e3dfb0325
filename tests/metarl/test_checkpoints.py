"""Checkpoints come back bit for bit, exist whole or not at all, and say what does not fit."""

import json
import logging
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from metarl import checkpoints
from metarl.checkpoints import check_matches, complete, latest, load, load_module, prune, save

TYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)


@st.composite
def tensors(draw):
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    dtype = draw(st.sampled_from(TYPES))
    size = torch.Size(shape).numel()
    values = torch.tensor(
        draw(st.lists(st.integers(0, 1000), min_size=size, max_size=size)), dtype=torch.int64
    )
    return (values % 2 == 0 if dtype == torch.bool else values).to(dtype).reshape(shape)


names = st.text(min_size=1).filter(lambda name: name != "__metadata__")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(st.dictionaries(names, tensors(), max_size=4), st.dictionaries(st.text(), st.integers() | st.text()))
def test_round_trip(tmp_path, stored, state):
    state = {key: value for key, value in state.items() if key not in ("format", "tensors")}
    save(tmp_path / "step_1", stored, state)
    found, found_state = load(tmp_path / "step_1")
    assert found.keys() == stored.keys()
    for name, tensor in stored.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    assert state.items() <= found_state.items()
    assert found_state["format"] == checkpoints.FORMAT


def test_shared_transposed_and_non_finite_tensors(tmp_path):
    weight = torch.arange(6.0).reshape(2, 3)
    save(
        tmp_path / "a",
        {"w": weight, "t": weight.T, "part": weight[0], "inf": torch.tensor([float("inf")])},
        {},
    )
    found, _ = load(tmp_path / "a.json")  # with a suffix too
    assert torch.equal(found["t"], weight.T)
    assert torch.equal(found["part"], weight[0])
    assert found["inf"].isinf().all()


def two(tmp_path):
    for step in (10, 20):
        save(tmp_path / f"step_{step:09d}", {"x": torch.full((50,), float(step))}, {"steps": step})
    return tmp_path / "step_000000010", tmp_path / "step_000000020"


def test_latest_is_the_newest(tmp_path):
    assert latest(tmp_path) is None
    assert latest(tmp_path / "nowhere") is None
    _, newer = two(tmp_path)
    assert latest(tmp_path) == newer


@pytest.mark.parametrize("damage", ["truncated", "changed", "json_missing", "tensors_missing", "json_broken"])
def test_latest_passes_over_what_is_damaged(tmp_path, damage, caplog):
    older, newer = two(tmp_path)
    data, text = newer.with_suffix(".safetensors"), newer.with_suffix(".json")
    if damage == "truncated":
        data.write_bytes(data.read_bytes()[:-3])
    elif damage == "changed":
        data.write_bytes(data.read_bytes()[:-1] + b"\x01")
    elif damage == "json_missing":
        text.unlink()
    elif damage == "tensors_missing":
        data.unlink()
    else:
        text.write_text(text.read_text()[:-20])
    with caplog.at_level(logging.WARNING):
        assert latest(tmp_path) == older
    with pytest.raises(ValueError, match="step_000000020"):
        load(newer)
    if damage in ("truncated", "changed", "json_broken"):
        assert "step_000000020" in caplog.text


@pytest.mark.parametrize("full_at", [".safetensors", ".json"])
def test_a_full_disk_leaves_what_was_there_even_under_the_same_name(full_at, tmp_path, monkeypatch):
    _, newer = two(tmp_path)
    before, real = load(newer), checkpoints.write_beside

    def fail(path, data):
        if path.suffix == full_at:
            raise OSError("disk full")
        return real(path, data)

    monkeypatch.setattr(checkpoints, "write_beside", fail)
    with pytest.raises(OSError, match="disk full"):
        save(newer, {"x": torch.zeros(2)}, {})
    assert latest(tmp_path) == newer
    after = load(newer)
    assert after[1] == before[1]
    assert all(torch.equal(after[0][name], each) for name, each in before[0].items())
    assert not list(tmp_path.glob(".*"))


def test_an_old_description_does_not_vouch_for_new_tensors(tmp_path, monkeypatch):
    older, newer = two(tmp_path)
    real = Path.replace

    def interrupted(self, target):
        if target.suffix == ".json":
            raise OSError("power cut")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(OSError, match="power cut"):
        save(newer, {"x": torch.zeros(2)}, {})
    assert complete(tmp_path) == [older]


def test_steps_are_ordered_as_numbers(tmp_path):
    for step in (999_999_000, 1_000_000_000):
        save(tmp_path / f"step_{step:09d}", {}, {})
    assert latest(tmp_path).name == "step_1000000000"
    prune(tmp_path, 1)
    assert [each.name for each in complete(tmp_path)] == ["step_1000000000"]


def test_newer_format_is_refused(tmp_path):
    older, _ = two(tmp_path)
    text = older.with_suffix(".json")
    text.write_text(json.dumps(json.loads(text.read_text()) | {"format": checkpoints.FORMAT + 1}))
    with pytest.raises(ValueError, match="install a newer metarl"):
        load(older)
    checkpoints.delete(tmp_path / "step_000000020")
    with pytest.raises(ValueError, match="install a newer metarl"):
        latest(tmp_path)


def test_prune_keeps_the_newest(tmp_path):
    for step in range(5):
        save(tmp_path / f"step_{step:09d}", {}, {})
    prune(tmp_path, None)
    assert len(complete(tmp_path)) == 5
    prune(tmp_path, 2)
    assert [each.name for each in complete(tmp_path)] == ["step_000000003", "step_000000004"]
    assert len(list(tmp_path.iterdir())) == 4
    with pytest.raises(ValueError, match="keep=0"):
        prune(tmp_path, 0)


def test_what_differs_is_listed_and_nothing_is_loaded():
    module = nn.Linear(2, 3)
    before = module.weight.detach().clone()
    stored = {"weight": torch.zeros(3, 4), "extra": torch.zeros(1)}
    with pytest.raises(ValueError) as raised:
        load_module(module, stored)
    text = str(raised.value)
    assert "'weight' has shape (3, 4) there, (3, 2) here" in text
    assert "'bias' is missing from the checkpoint" in text
    assert "'extra' is only in the checkpoint" in text
    assert torch.equal(module.weight, before)
    with pytest.raises(ValueError, match=r"torch.float64 there, torch.float32 here"):
        check_matches({"a": torch.zeros(1)}, {"a": torch.zeros(1, dtype=torch.float64)}, "x")


def test_state_must_be_json(tmp_path):
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        save(tmp_path / "a", {}, {"x": object()})
    assert list(tmp_path.iterdir()) == []
