"""The faces of sumo: their official checks, and that all of them are one world."""

import copy
import pickle

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from pettingzoo.test import parallel_api_test, parallel_seed_test

from metarl.envs.sumo_matches import SumoMatches
from metarl.envs.sumo_parallel import SumoParallelEnv, parallel_env

AGENTS = ("agent_0", "agent_1")
WORLD = "metarl/RoboSumo-Ant-vs-Bug-v0"


def matches(pairing="Ant-vs-Bug", num=3, **arguments):
    return SumoMatches(pairing, num, **{"physics": "fast", **arguments})


def actions_for(env, steps, seed=0):
    rng = np.random.default_rng(seed)
    sizes = env.world.action_sizes
    return [tuple(rng.uniform(-1.2, 1.2, (env.num_matches, size)) for size in sizes) for _ in range(steps)]


def row(actions, index):
    return {agent: each[index] for agent, each in zip(AGENTS, actions, strict=True)}


def assert_same(one, two):
    """Two steps of n matches are equal to the last bit."""
    for name, value in vars(one).items():
        other = getattr(two, name)
        pairs = (
            value.items()
            if isinstance(value, dict)
            else enumerate(value)
            if isinstance(value, tuple)
            else [(None, value)]
        )
        for key, each in pairs:
            np.testing.assert_array_equal(
                each, other if key is None else other[key], err_msg=name, strict=True
            )


@pytest.mark.parametrize("pairing", ["Ant-vs-Ant", "Bug-vs-Spider"])
@pytest.mark.filterwarnings("error")
def test_official_checks(pairing):
    env = parallel_env(pairing, physics="fast")
    parallel_api_test(env, num_cycles=1000)
    env.close()
    parallel_seed_test(lambda: parallel_env(pairing, physics="fast"), num_cycles=100)


@pytest.mark.parametrize("pairing", ["Ant-vs-Bug", "Spider-vs-Spider"])
@pytest.mark.parametrize("physics", ["rk4", "fast"])
def test_one_match_equals_many(pairing, physics):
    """Through ends and new beginnings, bit for bit."""
    many = matches(pairing, 3, physics=physics, horizon=12)
    single = [parallel_env(pairing, physics=physics, horizon=12) for _ in range(3)]
    seen = many.reset(seed=5)
    theirs = [env.reset(seed=5 + index)[0] for index, env in enumerate(single)]
    ends = 0
    for actions in actions_for(many, 30):
        for index, first in enumerate(theirs):
            for side, agent in enumerate(AGENTS):
                np.testing.assert_array_equal(seen[side][index], first[agent])
        step = many.step(actions)
        seen = step.observations
        for index, env in enumerate(single):
            led, reward, terminated, truncated, info = env.step(row(actions, index))
            for side, agent in enumerate(AGENTS):
                np.testing.assert_array_equal(step.next_observations[side][index], led[agent])
                assert step.rewards[index, side] == reward[agent]
                assert step.terminated[index] == terminated[agent]
                assert step.truncated[index] == truncated[agent]
                assert all(term[index, side] == info[agent][name] for name, term in step.terms.items())
            theirs[index] = led
            if not env.agents:
                ends += 1
                theirs[index] = env.reset()[0]
    assert ends >= 6


def test_number_and_threads_change_nothing():
    many, few, threads = (
        matches(num=17, num_threads=1),
        matches(num=2, num_threads=1),
        matches(num=17, num_threads=2),
    )
    for env in (many, few, threads):
        env.reset(seed=1)
    for actions in actions_for(many, 15):
        step = many.step(actions)
        assert_same(step, threads.step(actions))
        less = few.step(tuple(each[:2] for each in actions))
        np.testing.assert_array_equal(step.rewards[:2], less.rewards)
        np.testing.assert_array_equal(step.observations[1][:2], less.observations[1])


def test_seeds():
    one, two = matches(), matches()
    np.testing.assert_array_equal(one.reset(seed=4)[0], two.reset(seed=[4, 5, 6])[0])
    np.testing.assert_array_equal(one.reset(seed=np.array([4, 5, 6]))[0], two.reset(seed=4)[0])
    first = one.reset()[0]
    np.testing.assert_array_equal(first, two.reset()[0])
    assert (one.reset(seed=9)[0] != first).any(axis=1).all()
    kept = one.reset(seed=[None, 4, None], mask=np.array([False, True, False]))[1]
    np.testing.assert_array_equal(kept[[0, 2]], matches().reset(seed=9)[1][[0, 2]])
    np.testing.assert_array_equal(kept[1], two.reset(seed=4)[1][0])
    with pytest.raises(ValueError, match="expected one seed or 3"):
        one.reset(seed=[1, 2])
    with pytest.raises(ValueError, match="mask must be a boolean array of shape"):
        one.reset(mask=[1, 0, 1])


def test_autoreset_shows_where_a_step_led_and_what_comes_next():
    env = matches(horizon=4)
    env.reset(seed=0)
    for number, actions in enumerate(actions_for(env, 9), start=1):
        step = env.step(actions)
        assert step.played.all()
        over = step.terminated | step.truncated
        assert over.all() == (number % 4 == 0)
        for now, led in zip(step.observations, step.next_observations, strict=True):
            assert ((now != led).any(axis=1) == over).all()
        assert (step.results[over] == 3).all()
        assert not env.finished.any()
        assert env.elapsed.tolist() == [number % 4] * 3
        assert (np.abs(step.observations[0][over, 2] - 0.75) <= 0.1).all()


def test_without_autoreset_what_has_finished_stands_still():
    env, alone = matches(autoreset=False, horizon=6), matches(autoreset=False, horizon=6)
    env.reset(seed=0), alone.reset(seed=0)
    actions = actions_for(env, 12)
    for each in actions[:3]:
        env.step(each), alone.step(each)
    env.world._qpos[0][1, 0] = 5.0  # the ant of match 1 is out
    for number, each in enumerate(actions[3:8]):
        given = each if not number else tuple(np.insert(np.delete(a, 1, 0), 1, np.nan, axis=0) for a in each)
        step, other = env.step(given), alone.step(each)
        assert step.terminated.tolist() == [False, True, False]
        assert step.results[1].tolist() == [2, 1]
        assert step.played.tolist() == [number < 3, number == 0, number < 3]
        for mine, theirs in zip(step.observations, other.observations, strict=True):
            np.testing.assert_array_equal(mine[[0, 2]], theirs[[0, 2]])
        if not number:
            last = step.observations[0][1]
        else:
            assert not step.rewards[1].any()
            np.testing.assert_array_equal(step.observations[0][1], last)
    assert step.truncated.tolist() == [True, False, True]
    assert step.results.tolist() == [[3, 3], [2, 1], [3, 3]]
    assert not step.rewards.any()
    assert env.elapsed.tolist() == [6, 4, 6]
    env.reset(mask=env.finished)
    assert env.step(actions[8]).played.all()


@pytest.mark.parametrize("autoreset", [True, False])
def test_state_goes_back_exactly(autoreset):
    env, other = (matches(autoreset=autoreset, horizon=6) for _ in range(2))
    env.reset(seed=3)
    actions = actions_for(env, 15)
    for each in actions[:4]:
        env.step(each)
    env.world.shaping = 0.25
    state = env.get_state()
    steps = [env.step(each) for each in actions[4:]]
    for again in (env, other):
        again.set_state(copy.deepcopy(state))
        for each, step in zip(actions[4:], steps, strict=True):
            assert_same(again.step(each), step)
        assert again.world.shaping == 0.25
    with pytest.raises(ValueError, match="state of 3 matches, but there are 2"):
        matches(num=2).set_state(state)


def test_what_is_returned_belongs_to_the_caller():
    env, twin = matches(horizon=3), matches(horizon=3)
    env.reset(seed=0), twin.reset(seed=0)
    for actions in actions_for(env, 7):
        mine, other = env.step(actions), twin.step(actions)
        assert_same(mine, other)
        for each in (
            *mine.observations,
            mine.rewards,
            mine.terminated,
            mine.truncated,
            mine.results,
            mine.played,
        ):
            each[...] = 1


def test_shaping_is_annealed_and_the_end_is_not():
    full, none = matches(num=1, horizon=2), matches(num=1, horizon=2)
    full.reset(seed=0), none.reset(seed=0)
    none.world.shaping = 0.0
    actions = actions_for(full, 2)
    assert full.step(actions[0]).rewards.any()
    assert not none.step(actions[0]).rewards.any()
    one, two = full.step(actions[1]), none.step(actions[1])
    assert two.rewards.tolist() == [[-1000, -1000]]
    assert one.terms["reward_draw"].tolist() == [[-1000, -1000]]
    assert one.rewards[0, 0] != -1000


def test_divergence_is_told_and_leaves_no_bad_number():
    env = matches(autoreset=False)
    env.reset(seed=0)
    before = env.step(actions_for(env, 1)[0])
    env.world.simulation.qvel[2, 3] = 1e11
    step = env.step(actions_for(env, 1)[0])
    assert step.diverged.tolist() == step.terminated.tolist() == [False, False, True]
    assert step.results[2].tolist() == [0, 0]
    assert not step.rewards[2].any()
    np.testing.assert_array_equal(step.observations[0][2], before.observations[0][2])
    assert env.num_diverged == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"horizn": 3}, "did you mean 'horizon'"),
        ({"pairing": "metarl/RoboSumo-Ant-vs-Bus-v0"}, "did you mean 'Ant-vs-Bug'"),
        ({"render_mode": "rgb"}, "did you mean 'rgb_array'"),
        ({"approach": float("nan")}, "approach must be a finite number, got nan"),
        ({"adjust_z": "low"}, "adjust_z must be a finite number, got 'low'"),
        ({"horizon": 2.5}, "horizon must be a whole number, got 2.5"),
        ({"horizon": True}, "horizon must be a whole number, got True"),
        ({"legacy_501": 1}, "legacy_501 must be true or false, got 1"),
        ({"physics": ["rk4"]}, "physics must be a word"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        parallel_env(**arguments)


def test_wrong_actions_are_named():
    env = matches()
    with pytest.raises(ResetNeeded):
        env.step(actions_for(env, 1)[0])
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"shapes \(3, 8\) and \(3, 12\), got \(3, 8\) and \(3, 8\)"):
        env.step((np.zeros((3, 8)), np.zeros((3, 8))))
    with pytest.raises(ValueError, match="got NaN"):
        env.step((np.full((3, 8), np.nan), np.zeros((3, 12))))
    one = parallel_env()
    with pytest.raises(ResetNeeded):
        one.step({})
    one.reset()
    with pytest.raises(ValueError, match="agent_0 and agent_1, got those of \\['agent_0'\\]"):
        one.step({"agent_0": np.zeros(8)})


def test_infos_of_a_match_have_the_names_of_the_released_world():
    env = parallel_env(physics="fast", horizon=3, shaping=0.5)
    env.reset(seed=2)
    _, reward, *_, info = env.step({agent: np.full(8, 0.5) for agent in AGENTS})
    for agent in AGENTS:
        each = info[agent]
        assert each["ctrl_reward"] == each["reward_control"] == pytest.approx(-0.5 * 0.1 * 8 * 0.25)
        parts = ("ctrl_reward", "move_to_opp_reward", "push_opp_reward")
        assert each["shaping_reward"] == pytest.approx(sum(each[part] for part in parts))
        assert each["push_opp_reward"] < 0
        assert (each["main_reward"], each["win_reward"], each["lose_penalty"]) == (0, 0, 0)
        assert reward[agent] == pytest.approx(each["shaping_reward"])
        assert each["outcome"] is None
        assert "winner" not in each
    world = env._matches.world
    world._qpos[0][0, 0], world.simulation.qvel[:] = 4.0, 0.0
    _, reward, terminated, truncated, info = env.step({agent: np.zeros(8) for agent in AGENTS})
    assert terminated == {"agent_0": True, "agent_1": True}
    assert truncated == {"agent_0": False, "agent_1": False}
    assert [info[agent]["outcome"] for agent in AGENTS] == ["loss", "win"]
    assert (info["agent_0"]["lose_penalty"], info["agent_1"]["win_reward"]) == (-2000, 2000)
    assert [info[agent]["main_reward"] for agent in AGENTS] == [-2000, 2000]
    assert info["agent_1"]["winner"]
    assert "winner" not in info["agent_0"]
    assert env.agents == []
    env.reset(seed=2)
    world._qpos[0][0, 0], world._qpos[1][0, 0] = 4.0, -4.0
    info = env.step({agent: np.zeros(8) for agent in AGENTS})[4]
    assert [info[agent]["outcome"] for agent in AGENTS] == ["both_lost"] * 2
    assert all(info[agent]["winner"] and info[agent]["main_reward"] == 0 for agent in AGENTS)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_draw_is_a_truncation(legacy):
    env = parallel_env(horizon=2, legacy_501=legacy, physics="fast")
    env.reset(seed=2)
    for _ in range(2 + legacy):
        assert env.agents == list(AGENTS)
        _, _, terminated, truncated, info = env.step({agent: np.zeros(8) for agent in AGENTS})
    assert (terminated, truncated) == ({each: False for each in AGENTS}, {each: True for each in AGENTS})
    assert [info[agent]["outcome"] for agent in AGENTS] == ["draw", "draw"]
    assert info["agent_0"]["main_reward"] == -1000
    env.max_cycles = 1
    env.reset()
    assert env.step({agent: np.zeros(8) for agent in AGENTS})[3]["agent_0"]


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_copies_go_on_exactly(copier):
    env = parallel_env("Ant-vs-Bug", physics="fast")
    env.reset(seed=0)
    env.shaping = 0.5
    actions = [row(each, 0) for each in actions_for(matches(num=1), 6)]
    env.step(actions[0])
    twin = copier(env)
    assert isinstance(twin, SumoParallelEnv)
    for each in actions[1:]:
        one, two = env.step(each), twin.step(each)
        assert one[1:] == two[1:]
        np.testing.assert_array_equal(one[0]["agent_1"], two[0]["agent_1"])
