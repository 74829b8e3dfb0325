"""Dataclasses to JSON and back, and what is said about mistakes."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metarl.configs import from_dict, read_json, to_dict, write_json


@dataclass(frozen=True)
class Plain:
    lr: float = 0.1


@dataclass(frozen=True)
class Learned:
    lr: float = 0.1
    per: Literal["step", "tensor"] = "step"


@dataclass(frozen=True)
class Whole:
    name: str
    steps: int = 1
    ratio: float = 1.0
    fast: bool = False
    hidden: tuple[int, ...] = (64, 64)
    span: tuple[float, str] = (0.5, "a")
    seeds: list[int] = field(default_factory=list)
    clip: float | None = None
    rule: Plain | Learned = field(default_factory=Plain)
    inner: Learned = field(default_factory=Learned)
    maybe: Plain | None = None
    scores: dict[str, float] = field(default_factory=dict)
    rules: tuple[Plain | Learned, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    out: Path = Path("runs")


finite = st.floats(allow_nan=False)
plain = st.builds(Plain, finite)
learned = st.builds(Learned, finite, st.sampled_from(["step", "tensor"]))
wholes = st.builds(
    Whole,
    name=st.text(),
    steps=st.integers(),
    ratio=finite,
    fast=st.booleans(),
    hidden=st.lists(st.integers()).map(tuple),
    span=st.tuples(finite, st.text()),
    seeds=st.lists(st.integers()),
    clip=st.none() | finite,
    rule=plain | learned,
    inner=learned,
    maybe=st.none() | plain,
    scores=st.dictionaries(st.text(), finite),
    rules=st.lists(plain | learned).map(tuple),
    options=st.dictionaries(st.text(), st.integers() | st.text() | st.none() | st.lists(st.booleans())),
)


@given(wholes)
def test_round_trip_through_json_is_exact(config):
    assert from_dict(Whole, json.loads(json.dumps(to_dict(config)))) == config


def test_written_form():
    found = to_dict(Whole("x", rule=Learned(0.2, "tensor"), maybe=Plain(3.0)))
    assert found["rule"] == {"type": "Learned", "lr": 0.2, "per": "tensor"}
    assert found["maybe"] == {"lr": 3.0}  # one dataclass only: no need to say which
    assert found["hidden"] == [64, 64]


def test_what_is_left_out_takes_its_default_and_whole_numbers_are_floats():
    config = from_dict(Whole, {"name": "x", "ratio": 2, "steps": 1e6, "inner": {"lr": 1}})
    assert config == Whole("x", steps=1_000_000, ratio=2.0, inner=Learned(1.0))
    assert isinstance(config.ratio, float)
    assert isinstance(config.steps, int)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "x", "stepps": 1}, "unknown field 'stepps' of Whole: did you mean 'steps'"),
        ({"name": "x", "inner": {"lrr": 1}}, "unknown field 'inner.lrr' of Learned: did you mean 'lr'"),
        ({}, "no value for name"),
        (
            {"name": "x", "inner": {"per": "stepp"}},
            "inner.per: got 'stepp', expected one of .*did you mean 'step'",
        ),
        ({"name": "x", "ratio": "0.1"}, "ratio: got '0.1' \\(str\\), expected float"),
        ({"name": "x", "steps": 1.5}, "steps: got 1.5"),
        ({"name": "x", "steps": True}, "steps: got True"),
        ({"name": "x", "steps": float("inf")}, "steps: got inf .*expected int"),
        ({"name": "x", "steps": float("nan")}, "steps: got nan .*expected int"),
        ({"name": "x", "ratio": float("nan")}, "ratio: got nan .*expected float"),
        ({"name": "x", "fast": 1}, "fast: got 1"),
        ({"name": "x", "span": [1.0]}, "span: got 1 values, expected 2"),
        ({"name": "x", "hidden": [1, "a"]}, "hidden\\[1\\]: got 'a'"),
        ({"name": "x", "rule": {"type": "Plane", "lr": 1.0}}, "rule: got type 'Plane', did you mean 'Plain'"),
        ({"name": "x", "rule": {"lr": 1.0}}, "rule: got type None"),
        ({"name": "x", "maybe": {"le": 1.0}}, "unknown field 'maybe.le' of Plain"),
        ({"name": "x", "clip": "no"}, "clip: got 'no'"),
        ({"name": "x", "inner": 3}, "inner: got 3, expected a mapping"),
    ],
)
def test_mistakes_are_named_with_their_place(values, message):
    with pytest.raises(ValueError, match=message):
        from_dict(Whole, values)


def test_what_json_cannot_say_is_refused():
    with pytest.raises(ValueError, match=r"options\.a: a complex"):
        to_dict(Whole("x", options={"a": 1j}))
    with pytest.raises(ValueError, match="expected an instance"):
        to_dict(Whole)


def test_files(tmp_path):
    write_json(tmp_path / "a.json", Plain(0.5))
    assert read_json(tmp_path / "a.json") == {"lr": 0.5}
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]
    with pytest.raises(ValueError, match="no such file"):
        read_json(tmp_path / "b.json")
    (tmp_path / "c.json").write_text('{"a": 1,')
    with pytest.raises(ValueError, match=r"c\.json is not readable JSON.*line 1"):
        read_json(tmp_path / "c.json")
