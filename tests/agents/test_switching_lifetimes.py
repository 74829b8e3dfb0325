"""Agents in lifetimes whose task changes within the episode: trained, judged and filmed."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest

from metarl import cli
from metarl.agents import preset
from metarl.agents.experiment import Experiment
from metarl.agents.experiments import train
from metarl.agents.lifetime_evaluation import read
from metarl.agents.lifetimes import choose_lifetime, lifetime_text
from metarl.agents.lives import episode_seeds, label
from metarl.agents.meta_policy_gradient import MetaPolicyGradientTraining
from metarl.agents.recordings import lifetime_captions
from metarl.agents.rollouts import draw_lifetimes

WORLD = "metarl/CheetahVel-v0"
SWITCH = {"schedule": "switch", "every": 4, "per_episode": 2, "episodes": 3}
COURSES = [
    [(0, {"velocity": 0.5}), (4, {"velocity": 2.0}), (8, {"velocity": 0.5})],
    [(0, {"velocity": 1.5}), (4, {"velocity": 0.25}), (8, {"velocity": 1.5})],
]
pytestmark = [
    pytest.mark.filterwarnings("ignore:importance weights"),
    pytest.mark.filterwarnings("ignore:You have specified a mini-batch size"),
]


def continuous(**sampling):
    config = preset("continuous-adaptation")
    settings = {"tasks": 2, "trajectories": 2, "horizon": 10} | sampling
    return replace(
        config,
        sampling=replace(config.sampling, **settings),
        policy=replace(config.policy, hidden=(4,)),
    )


def small(agent):
    if agent == "continuous-adaptation":
        return continuous()
    smaller = {"environments": 2, "horizon": 10, "batch_size": 10, "epochs": 1, "hidden": (4,)}
    if agent == "recurrent-ppo":
        smaller |= {"memory": 4}
    return replace(preset(agent), **smaller)


@pytest.mark.parametrize(
    ("agent", "methods"),
    [
        ("continuous-adaptation", ["continuous-adaptation", "continuous-adaptation, not adapting"]),
        ("ppo", ["ppo", "ppo, tracking"]),
        ("recurrent-ppo", ["recurrent-ppo"]),
    ],
)
def test_from_training_to_the_judgement(agent, methods, tmp_path, capsys):
    experiment = Experiment(
        world=WORLD, steps=20, out=str(tmp_path), evaluation_tasks=2, world_options={"lifetime": SWITCH}
    )
    run = train(agent, experiment, small(agent), quiet=True)
    logged = run.run.metrics()
    assert {"lifetime/return_1", "lifetime/return_3"} <= logged.keys()
    assert cli.main(["evaluate", str(run.path), "--lifetimes", "3"]) == 0
    assert "episode 1" in capsys.readouterr().out
    scores = read(run.path / "lifetimes.json").scores
    assert list(scores) == methods
    for each in scores.values():
        assert each.shape == (1, 3, 3)
        assert np.isfinite(each).all()
    if len(methods) == 2:
        one, other = scores.values()
        np.testing.assert_array_equal(one[..., 0], other[..., 0])
        assert (one[..., 1:] != other[..., 1:]).any()


@pytest.mark.parametrize("method", ["adaptation", "none"])
def test_what_is_lived_is_what_the_scalar_world_says_of_its_actions(method):
    training = MetaPolicyGradientTraining(WORLD, continuous())
    lives = training.live([COURSES], np.random.default_rng(3), method, keep_actions=True)
    seeds = episode_seeds(np.random.default_rng(3), 1, 2)[:, 0]
    env = gymnasium.make(WORLD, horizon=10).unwrapped
    for episode, course in enumerate(COURSES):
        env.reset(seed=int(seeds[episode]), options={"task": course[0][1]})
        total = 0.0
        for step, action in enumerate(lives.actions[0, episode]):
            env.world.apply(np.arange(1), [course[step // 4][1]])  # by hand, as if there were no courses
            total += env.step(action)[1]
        assert total == pytest.approx(lives.returns[0, episode], rel=1e-5)


def test_whole_lifetimes_are_trained_on():
    config = continuous(trajectories=1)
    config = replace(
        config,
        sampling=replace(config.sampling, unit="lifetime"),
        outer=replace(config.outer, score_terms=False),
        inner=replace(config.inner, estimator="lvc"),
    )
    training = MetaPolicyGradientTraining(WORLD, config, world_options={"lifetime": SWITCH})
    loss, _ = training.loss(training.collect(np.random.default_rng(0)).data)
    assert loss.isfinite()


def test_one_episode_is_too_few_to_adapt_in():
    lifetime = {"schedule": "switch", "every": 4}
    training = MetaPolicyGradientTraining(WORLD, continuous(), world_options={"lifetime": lifetime})
    with pytest.raises(ValueError, match=r"have 1 episode.*expected 2 or more"):
        training.collect(np.random.default_rng(0))
    lifetimes = draw_lifetimes(training.env, 2, "test", np.random.default_rng(0))
    assert training.live(lifetimes, np.random.default_rng(0)).returns.shape == (
        2,
        1,
    )  # to be judged it will do


def test_names_and_captions_tell_the_task_at_hand():
    assert label(COURSES) == ""
    assert lifetime_text(COURSES) == "velocity 0.5 to velocity 1.5"
    failing = [[(0, {"legs": [1, 2], "torque": 1.0}), (4, {"legs": [1, 2], "torque": 0.5})]]
    assert label(failing) == lifetime_text(failing) == "legs 1 2"
    assert lifetime_captions(failing, "ours") == [
        [(0, "ours   episode 1 of 1\nlegs 1 2, torque 1"), (4, "ours   episode 1 of 1\nlegs 1 2, torque 0.5")]
    ]


def test_a_lifetime_is_filmed(monkeypatch):
    from metarl.agents import recordings

    real, told = gymnasium.make, []

    def make(world, render_mode=None, **options):
        env = real(world, **options)
        env.render = lambda: np.full((8, 8, 3), 128, np.uint8)
        return env

    monkeypatch.setattr(recordings.gymnasium, "make", make)
    monkeypatch.setattr(recordings, "caption", lambda picture, text, size: told.append(text) or picture)
    monkeypatch.setattr(recordings, "write_video", lambda out, frames, fps: list(frames))
    training = MetaPolicyGradientTraining(WORLD, continuous(), world_options={"lifetime": SWITCH})
    lifetime = choose_lifetime(training.env, None, np.random.default_rng(0))
    recordings.record_lifetime(training, lifetime, WORLD, "x.gif", method="none")
    assert len(told) == 3 * 11
    now = [text.splitlines()[1].split(", ")[1] for text in told[:11]]
    one, other = (f"velocity {task['velocity']:.3g}" for _, task in lifetime[0][:2])
    assert one != other
    assert now == [one] * 5 + [other] * 4 + [one] * 2  # the first picture is from before the first step
