"""Pictures: there is something in them, they show the task, and nothing is opened before the first."""

import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from gymnasium.error import DependencyNotInstalled

from metarl.envs import WORLDS, rendering
from metarl.envs.graphics import choose_backend
from metarl.envs.sumo_matches import SumoMatches
from metarl.envs.sumo_parallel import parallel_env


@pytest.fixture(scope="session", autouse=True)
def _needs_opengl():
    code = "import metarl.envs, mujoco; mujoco.Renderer(mujoco.MjModel.from_xml_string('<mujoco/>'), 8, 8)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(f"no OpenGL here to draw with: {found.stderr.strip().splitlines()[-1]}")


def picture(env, **options):
    env.reset(seed=1, options=options)
    return env.render()


@pytest.mark.parametrize("world", [name for name in sorted(WORLDS) if "Sumo" not in name])
def test_a_picture_of_every_world(world):
    env = gymnasium.make(world, render_mode="rgb_array", width=160, height=120).unwrapped
    frame = picture(env)
    assert frame.shape == (120, 160, 3)
    assert frame.dtype == np.uint8
    assert frame.std() > 5
    env.step(env.action_space.sample())
    assert (env.render() != frame).any()
    env.close(), env.close()


@pytest.mark.parametrize(
    ("world", "one", "two"),
    [
        ("PointNavigation", {"goal": [0.3, 0.3]}, {"goal": [-0.3, -0.3]}),
        ("CheetahDir", {"direction": 1.0}, {"direction": -1.0}),
        ("CheetahVel", {"velocity": 0.5}, {"velocity": 2.5}),
        ("AntDir", {"direction": 1.0}, {"direction": -1.0}),
        ("AntGoal", {"goal": [1.0, 0.0]}, {"goal": [-1.0, 0.0]}),
    ],
)
def test_the_task_is_shown(world, one, two):
    env = gymnasium.make(f"metarl/{world}-v0", render_mode="rgb_array", width=160, height=120).unwrapped
    assert (picture(env, task=one) != picture(env, task=two)).any()
    np.testing.assert_array_equal(picture(env, task=one), picture(env, task=one))
    env.close()


def test_a_match_shows_both_sides_and_the_mat():
    env = parallel_env("Ant-vs-Bug", render_mode="rgb_array", width=160, height=120)
    env.reset(seed=1)
    frame = env.render()
    assert frame.shape == (120, 160, 3)
    red, green, blue = (frame[..., channel].astype(int) for channel in range(3))
    assert (red > blue + 90).sum() > 50  # the ant
    assert (blue > red + 90).sum() > 50  # the bug
    sand = (red > blue + 30) & (red < blue + 90) & (green > blue + 20)
    assert sand.sum() > 1000  # the mat
    matches = SumoMatches("Ant-vs-Bug", 2, width=160, height=120)
    matches.reset(seed=[0, 1])
    np.testing.assert_array_equal(matches.render(1), frame)
    assert (matches.render(0) != frame).any()
    matches.close(), env.close(), env.close()


def test_a_body_is_coloured_by_its_task():
    env = gymnasium.make("metarl/HopperParams-v0", render_mode="rgb_array", width=160, height=120).unwrapped
    plain = {"mass": [1.0] * 4, "damping": [1.0] * 3, "friction": [[1.0] * 3] * 5}
    heavy = {**plain, "mass": [3.0] * 4}
    env.set_task(plain)
    assert (picture(env) != picture(env, task=heavy)).any()
    env.close()


def test_a_window_has_the_colours_of_the_task(monkeypatch):
    env = gymnasium.make("metarl/HopperParams-v0").unwrapped
    plain = {"mass": [1.0] * 4, "damping": [1.0] * 3, "friction": [[1.0] * 3] * 5}
    windows = []

    def viewer(model, data):
        windows.append(model)
        return SimpleNamespace(
            cam=SimpleNamespace(), user_scn=SimpleNamespace(ngeom=0), lock=nullcontext, sync=lambda: None
        )

    monkeypatch.setattr(rendering, "_viewer", viewer)
    screen, seen = rendering.Screen(32, 32), []
    for mass in (1.0, 3.0):
        env.reset(options={"task": {**plain, "mass": [mass] * 4}})
        screen.show(env.world, 0, "human")
        seen.append(windows[0].geom_rgba.copy())
        np.testing.assert_array_equal(seen[-1], env.world.snapshot(0)[0].geom_rgba)
    assert (seen[0] != seen[1]).any()
    env.close()


def test_a_picture_of_each_simulation():
    env = gymnasium.make_vec(
        "metarl/CheetahDir-v0",
        num_envs=2,
        vectorization_mode="vector_entry_point",
        render_mode="rgb_array",
        width=64,
        height=48,
    )
    env.reset(seed=0)
    frames = env.render()
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 2
    assert (frames[0] != frames[1]).any()
    env.close()


def test_drawing_does_not_disturb_the_physics():
    drawn, plain = (
        gymnasium.make("metarl/AntDir-v0", render_mode=mode, width=32, height=32).unwrapped
        for mode in ("rgb_array", None)
    )
    drawn.reset(seed=1), plain.reset(seed=1)
    for _ in range(4):
        drawn.render()
        np.testing.assert_array_equal(drawn.step(np.full(8, 0.3))[0], plain.step(np.full(8, 0.3))[0])
    drawn.close()


def test_no_mode_is_a_mistake():
    env = gymnasium.make("metarl/CheetahDir-v0").unwrapped
    env.reset()
    with pytest.raises(ValueError, match="render_mode='rgb_array'"):
        env.render()


def test_backend_is_chosen_only_without_a_screen(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    choose_backend()
    assert os.environ["MUJOCO_GL"] == "egl"
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    choose_backend()
    assert os.environ["MUJOCO_GL"] == "osmesa"
    monkeypatch.delenv("MUJOCO_GL")
    monkeypatch.setenv("DISPLAY", ":0")
    choose_backend()
    assert "MUJOCO_GL" not in os.environ


def test_a_window_needs_a_screen(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    env = gymnasium.make("metarl/CheetahDir-v0", render_mode="human").unwrapped
    with pytest.raises(DependencyNotInstalled, match="rgb_array"):
        env.reset()


@pytest.mark.skipif(shutil.which("xvfb-run") is None, reason="no xvfb to stand in for a screen")
def test_a_window_opens_and_closes():
    code = (
        "import gymnasium, metarl; env = gymnasium.make('metarl/AntGoal-v0', render_mode='human');"
        "env.reset(seed=0); [env.step(env.action_space.sample()) for _ in range(3)]; env.reset();"
        "print(env.unwrapped._screen._viewer.is_running()); env.close(); env.close(); print('closed')"
    )
    command = ["xvfb-run", "-a", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if "GLFW" in done.stderr:
        pytest.skip(f"no window here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "closed"]


def test_what_is_missing_is_named(monkeypatch):
    import mujoco

    def broken(*_):
        raise RuntimeError("no EGL display")

    monkeypatch.setattr(mujoco, "Renderer", broken)
    env = gymnasium.make("metarl/CheetahDir-v0", render_mode="rgb_array").unwrapped
    env.reset()
    with pytest.raises(DependencyNotInstalled, match="apt-get install libegl1 libgles2"):
        env.render()
