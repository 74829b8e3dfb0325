"""What is drawn (the numbers behind the lines), files written, tables."""

import sys

import numpy as np
import pytest

from metarl.plots import adaptation_curve, learning_curves, read_curves
from metarl.runs import Run

pytest.importorskip("matplotlib")


def make_runs(root, agent="promp", seeds=3, length=4, slope=1.0):
    for seed in range(seeds):
        run = Run.create(root, "metarl/Toy-v0", agent, seed, {})
        for i in range(length):
            run.log(
                {"adapt/return_0": float(seed), "adapt/return_1": slope * i + seed, "other": 1.0}, 100 * i
            )
        run.finish("finished")


def test_curves_average_over_seeds_and_default_to_before_and_after(tmp_path):
    make_runs(tmp_path)
    before, after = read_curves([tmp_path])
    assert (before.group, before.tag, before.seeds) == ("promp", "adapt/return_0", 3)
    assert after.tag == "adapt/return_1"
    np.testing.assert_allclose(before.middle, 1.0)  # seeds 0, 1, 2
    np.testing.assert_allclose(after.middle, 1 + after.steps / 100)
    assert (before.low == 0).all()
    assert (before.high == 2).all()


def test_a_run_that_ended_early_leaves_the_others_going(tmp_path):
    make_runs(tmp_path, seeds=1, length=3)
    make_runs(tmp_path, seeds=2, length=5)
    (curve,) = read_curves([tmp_path], ["adapt/return_0"])
    assert (curve.steps[0], curve.steps[-1]) == (0, 400)
    np.testing.assert_allclose(curve.middle[curve.steps <= 200], 1 / 3)
    np.testing.assert_allclose(curve.middle[curve.steps > 200], 1 / 2)


def test_agents_get_lines_of_their_own(tmp_path):
    make_runs(tmp_path, "promp")
    make_runs(tmp_path, "maml", seeds=1)
    curves = read_curves([tmp_path], ["other"])
    # The oldest come first, but runs made within one second are sorted by name.
    assert sorted((curve.group, curve.seeds) for curve in curves) == [("maml", 1), ("promp", 3)]


def test_runs_of_other_settings_get_lines_of_their_own(tmp_path):
    for seed, lr in ((1, 0.1), (2, 0.1), (1, 10.0)):
        settings = {
            "experiment": {"world": "w", "seed": seed, "out": f"o{seed}"},
            "config": {"outer": {"lr": lr}},
        }
        Run.create(tmp_path, "w", "promp", seed, settings).log({"other": lr}, 1)
    curves = read_curves([tmp_path], ["other"])
    assert {(curve.group, curve.seeds, curve.middle[0]) for curve in curves} == {
        ("promp (outer.lr 0.1)", 2, 0.1),
        ("promp (outer.lr 10.0)", 1, 10.0),
    }


def test_runs_from_scratch_and_from_another_run_get_lines_of_their_own(tmp_path):
    for seed, start in ((1, None), (2, "runs/a"), (3, "runs/b")):
        settings = {"experiment": {"world": "w", "seed": seed, "start_from": start}, "config": {}}
        Run.create(tmp_path, "w", "promp", seed, settings).log({"other": 1.0}, 1)
    assert {(curve.group, curve.seeds) for curve in read_curves([tmp_path], ["other"])} == {
        ("promp (trained from scratch)", 1),
        ("promp (trained from another run)", 2),
    }


@pytest.mark.parametrize("out", ["", "curve"])
def test_a_picture_needs_an_ending(tmp_path, out):
    make_runs(tmp_path / "runs", seeds=1)
    with pytest.raises(ValueError, match=r"expected a file such as .*\.png"):
        learning_curves([tmp_path / "runs"], tmp_path / out)


def test_pictures_are_written(tmp_path):
    make_runs(tmp_path / "runs")
    rows = [
        {"task": t, "step": s, "iqm": s, "low": s - 1, "high": s + 1} for t in ("a", "b") for s in range(3)
    ]
    for out in (
        adaptation_curve(rows, tmp_path / "new" / "a.png", title="x"),
        learning_curves([tmp_path / "runs"], tmp_path / "l.png"),
    ):
        assert out.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert b"<svg" in adaptation_curve(rows, tmp_path / "a.svg").read_bytes()


def test_mistakes_are_explained(tmp_path):
    make_runs(tmp_path)
    with pytest.raises(ValueError, match="unknown tag 'adapt/retrun_1': did you mean 'adapt/return_1'"):
        read_curves([tmp_path], ["adapt/retrun_1"])
    with pytest.raises(ValueError, match="no runs"):
        read_curves([])
    with pytest.raises(ValueError, match="nothing to draw"):
        adaptation_curve([], tmp_path / "a.png")
    with pytest.raises(ValueError, match="cannot write"):
        learning_curves([tmp_path], tmp_path / "l.nonsense")


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ValueError, match=r'pip install "metarl-suite\[plots\]"'):
        adaptation_curve([{"task": "a", "step": 0, "iqm": 0, "low": 0, "high": 0}], tmp_path / "a.png")
