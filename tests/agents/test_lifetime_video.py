"""Films of lifetimes: the replay is what was lived, captions tell it, choosing which lifetime and how long."""

import subprocess
import sys
from dataclasses import replace

import gymnasium
import numpy as np
import pytest

from metarl.agents import preset, recordings
from metarl.agents.lifetimes import choose_lifetime
from metarl.agents.lives import Lives, episode_seeds
from metarl.agents.meta_policy_gradient import MetaPolicyGradientTraining
from metarl.agents.recordings import lifetime_captions, record_lifetime, replayed
from tests.agents.test_lifetime_evaluation import Env

WORLD, HEXAPOD = "metarl/PointNavigation-v0", "metarl/HexapodLegFailure-v0"
LIFETIME = [{"goal": [x, 0.2]} for x in (0.5, 0.0, -0.5)]
FADING = [{"legs": [1, 2], "torque": torque} for torque in (1.0, 2 / 3, 0.0)]


def small(world):
    config = preset("promp")
    sampling = replace(config.sampling, tasks=1, trajectories=2, horizon=12)
    return MetaPolicyGradientTraining(world, replace(config, sampling=sampling))


@pytest.fixture(scope="module")
def agent():
    return small(WORLD)


@pytest.fixture(scope="module")
def walker():
    """In a world of which the physics is MuJoCo's and the start is drawn."""
    return small(HEXAPOD)


@pytest.fixture
def blind(monkeypatch):
    """The scalar world without OpenGL: its pictures are blank."""
    real = gymnasium.make

    def make(world, render_mode=None, **options):
        env = real(world, **options)
        env.render = lambda: np.full((96, 240, 3), 128, np.uint8)
        return env

    monkeypatch.setattr(recordings.gymnasium, "make", make)
    return make


@pytest.fixture
def written(monkeypatch):
    """What was written instead of a video: frames and frames per second."""
    found = []
    monkeypatch.setattr(
        recordings, "write_video", lambda out, frames, fps: found.append((list(frames), fps)) or out
    )
    return found


def test_a_replay_is_what_was_lived(walker, blind):
    lives = walker.live([FADING], np.random.default_rng(4), "adaptation", keep_actions=True)
    seeds = episode_seeds(np.random.default_rng(4), 1, 3)[:, 0].tolist()
    env = blind(HEXAPOD, horizon=12)
    shown = list(replayed(env, FADING, seeds, lives))
    assert [episode for _, episode, _, _ in shown] == [0] * 13 + [1] * 13 + [2] * 13
    np.testing.assert_allclose([shown[i][3] for i in (12, 25, 38)], lives.returns[0], rtol=1e-5)
    assert [shown[i][3] for i in (0, 13, 26)] == [0.0, 0.0, 0.0]
    limited = list(replayed(env, FADING, seeds, lives, limit=4))
    assert [total for *_, total in limited[:5]] == [total for *_, total in shown[:5]]
    assert len(limited) == 15


@pytest.mark.parametrize("wrong", ["seed", "task", "action"])
def test_a_replay_that_differs_is_noticed(walker, blind, wrong):
    lives = walker.live([FADING], np.random.default_rng(4), "none", keep_actions=True)
    seeds = episode_seeds(np.random.default_rng(4), 1, 3)[:, 0].tolist()
    lifetime = FADING
    if wrong == "seed":
        seeds[2] += 1
    elif wrong == "task":
        lifetime = [*FADING[:2], {"legs": [1, 2], "torque": 0.5}]
    else:
        lives = Lives(lives.returns, actions=-lives.actions)
    with pytest.raises(AssertionError, match="replayed"):
        list(replayed(blind(HEXAPOD, horizon=12), lifetime, seeds, lives))


def test_the_film_has_every_episode_with_its_caption(agent, blind, written, monkeypatch):
    told = []
    monkeypatch.setattr(recordings, "caption", lambda picture, text, size: told.append(text) or picture)
    record_lifetime(agent, LIFETIME, WORLD, "x.gif", method="none", title="promp, not adapting", seed=4)
    ((frames, fps),) = written
    assert len(frames) == len(told) == 39
    lives = agent.live([LIFETIME], np.random.default_rng(4), "none")
    first, second = (f"{value:.0f}" for value in lives.returns[0, :2])
    assert told[12].splitlines() == [
        "promp, not adapting   episode 1 of 3",
        "goal 0.5 0.2 to goal -0.5 0.2, goal 0.5 0.2",
        f"return so far {first}",
    ]
    assert told[26].splitlines()[2] == f"return so far 0   earlier: {first} {second}"
    record_lifetime(agent, LIFETIME, WORLD, "x.gif", method="none", seconds=3 / fps, seed=4)
    assert len(written[1][0]) == 3 * 4


def test_captions_name_the_pair_and_the_torque():
    assert lifetime_captions(FADING, "ours", lambda task: "back")[1] == [
        (0, "ours   episode 2 of 3\nlegs 1 2: back, torque 0.667")
    ]
    assert lifetime_captions([{"direction": 1.0}] * 2)[0] == [(0, "episode 1 of 2\ndirection 1")]


def test_a_lifetime_is_chosen_by_what_its_tasks_share():
    rng = np.random.default_rng(0)
    assert choose_lifetime(Env(), None, rng)[0]["legs"] == [1, 2]
    assert choose_lifetime(Env(), {"legs": [3, 4]}, rng)[0]["legs"] == [3, 4]
    with pytest.raises(ValueError, match=r"no lifetime has the task .* legs 1 2, legs 3 4"):
        choose_lifetime(Env(), {"legs": [1, 6]}, rng)
    with pytest.raises(ValueError, match="cannot be chosen"):
        choose_lifetime(Env(finite=False), {"goal": [0, 0]}, rng)
    assert len(choose_lifetime(Env(finite=False), None, rng)) == 3


def test_a_video_with_real_pictures(agent, tmp_path):
    code = "import metarl.envs, mujoco; mujoco.Renderer(mujoco.MjModel.from_xml_string('<mujoco/>'), 8, 8)"
    if subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode:
        pytest.skip("no OpenGL here to draw with")
    out = record_lifetime(agent, LIFETIME, WORLD, tmp_path / "l.gif", method="adaptation", seconds=0.3)
    assert out.read_bytes()[:6] == b"GIF89a"
