import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(name, folder, *arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, str(ROOT / "examples" / name), *arguments]
    done = subprocess.run(words, capture_output=True, text=True, cwd=folder, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ones_own_method_learns(tmp_path):
    shown = run("own_method.py", tmp_path, "--iterations", "100")
    before, after = (float(each) for each in re.findall(r"meta-training: ([\d.]+)", shown))
    assert after < 0.7 * before


def test_an_agent_trains_in_ones_own_world(tmp_path):
    shown = run("own_world.py", tmp_path, "--steps", "6000")
    assert re.search(r"\| all +\|", shown)
    assert list(tmp_path.glob("runs/own-Cart-v0/promp/*/evaluation.json"))


def test_an_ant_plays_against_itself(tmp_path):
    shown = run("self_play.py", tmp_path, "--steps", "16000", "--matches", "2")
    assert re.search(r"beats zero-ant: \d+ % \[\d+, \d+\]", shown)
    assert list(tmp_path.glob("runs/RoboSumo-Ant-vs-Ant-v0/self-play/*/opponents/self/v0000.json"))


def test_stable_baselines3_trains_on_our_worlds(tmp_path):
    assert "return over tasks" in run("sb3_on_our_worlds.py", tmp_path, "--steps", "2048")


def test_train_and_evaluate(tmp_path):
    pytest.importorskip("matplotlib")
    script = ROOT / "examples" / "train_and_evaluate.py"
    if not _can_draw():
        pytest.skip("no OpenGL to draw with; set MUJOCO_GL")
    shown = run(script.name, tmp_path, "--steps", "4000", "--repeats", "2")
    assert "direction -1" in shown
    assert list(tmp_path.glob("runs/CheetahDir-v0/promp/*/adaptation.png"))
    assert list(tmp_path.glob("runs/CheetahDir-v0/promp/*/before-and-after.gif"))


def _can_draw():
    code = (
        "import gymnasium, metarl; env = gymnasium.make('metarl/PointNavigation-v0', render_mode='rgb_array');"
        "env.reset(seed=0); env.render()"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT).returncode == 0
