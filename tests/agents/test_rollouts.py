"""Rollouts against a world stepped by hand."""

from pathlib import Path

import gymnasium
import numpy as np
import torch

from metarl.agents.configs import PolicyConfig
from metarl.agents.policies import GaussianPolicy, ObservationNormalizer, log_probability
from metarl.agents.policy_adaptation import for_each_task
from metarl.agents.rollouts import draw_lifetimes, draw_pairs, draw_tasks, finite_tasks, make_world, rollout


def act(world, tasks, trajectories, seed=0, horizon=None, **options):
    env = make_world(world, len(tasks) * trajectories, horizon, **options)
    torch.manual_seed(0)
    policy = GaussianPolicy(
        env.single_observation_space.shape[0], env.single_action_space.shape[0], PolicyConfig()
    )
    params = for_each_task(dict(policy.named_parameters()), len(tasks))
    normalizer = ObservationNormalizer(env.single_observation_space.shape[0])
    rngs = np.random.default_rng(seed).spawn(len(tasks))
    return env, rollout(env, policy, params, normalizer, tasks, rngs)


def test_a_rollout_is_what_the_world_says_of_its_actions():
    tasks = [{"direction": 1.0}, {"direction": -1.0}]
    _, sampled = act("metarl/CheetahDir-v0", tasks, 3, horizon=12)
    assert sampled.obs.shape == (2, 3, 12, 17)
    assert sampled.mask.all()
    seeds = [int(s) for rng in np.random.default_rng(0).spawn(2) for s in rng.integers(2**31, size=3)]
    scalar = gymnasium.make("metarl/CheetahDir-v0", horizon=12)
    for index in range(6):
        t, b = divmod(index, 3)
        obs, _ = scalar.reset(seed=seeds[index], options={"task": tasks[t]})
        for h in range(12):
            np.testing.assert_array_equal(obs, sampled.raw_obs[t, b, h].numpy())
            obs, reward, *_ = scalar.step(sampled.actions[t, b, h].numpy())
            np.testing.assert_allclose(reward, sampled.rewards[t, b, h].item(), rtol=1e-6)


def test_a_task_that_changes_within_the_episode_changes_the_reward_from_then_on():
    """The direction is in the reward alone, so that all three rollouts act alike and move alike."""
    ahead, back = {"direction": 1.0}, {"direction": -1.0}
    course = [(0, ahead), (5, back), (9, ahead)]
    switched, one, other = (
        act("metarl/CheetahDir-v0", [tasks, back], 2, horizon=12)[1] for tasks in (course, ahead, back)
    )
    torch.testing.assert_close(switched.raw_obs, one.raw_obs, rtol=0, atol=0)
    expected = torch.cat([one.rewards[..., :5], other.rewards[..., 5:9], one.rewards[..., 9:]], -1)
    torch.testing.assert_close(switched.rewards[0], expected[0], rtol=0, atol=0)
    assert not torch.equal(switched.rewards[0], one.rewards[0])
    torch.testing.assert_close(switched.rewards[1], one.rewards[1], rtol=0, atol=0)  # the other stays


def test_an_episode_that_ends_early_is_masked_from_then_on():
    env = make_world("metarl/HopperParams-v0", 1)
    task = env.sample_tasks(1, rng=np.random.default_rng(0))[0]
    _, sampled = act("metarl/HopperParams-v0", [task], 8)
    lengths = sampled.mask.sum(-1)
    assert lengths.min() < lengths.max()  # a random hopper falls, sooner or later
    assert (sampled.mask.diff(dim=-1) <= 0).all()
    torch.testing.assert_close(sampled.returns(), (sampled.rewards * sampled.mask).sum(-1))
    assert torch.isfinite(sampled.raw_obs).all()


def test_stored_log_probabilities_are_those_of_the_policy_that_sampled():
    _, sampled = act("metarl/PointNavigation-v0", [{"goal": [0.1, 0.2]}], 2, horizon=5)
    noise = (sampled.actions - sampled.mean) / sampled.log_std.exp()
    by_hand = (-0.5 * noise**2 - sampled.log_std - 0.5 * np.log(2 * np.pi)).sum(-1)
    torch.testing.assert_close(sampled.log_probs, by_hand)
    torch.testing.assert_close(
        sampled.log_probs, log_probability(sampled.actions, sampled.mean, sampled.log_std)
    )


def test_a_task_is_sampled_alike_whatever_stands_beside_it():
    goals = [{"goal": [0.1, 0.2]}, {"goal": [-0.3, 0.4]}]
    _, both = act("metarl/PointNavigation-v0", goals, 2, horizon=6)
    _, alone = act("metarl/PointNavigation-v0", goals[:1], 2, horizon=6)
    torch.testing.assert_close(both.task(0).actions, alone.actions)
    torch.testing.assert_close(both.task(0).rewards, alone.rewards)


def test_few_tasks_are_drawn_in_balance():
    env = make_world("metarl/CheetahDir-v0", 2)
    assert len(finite_tasks(env, "train")) == 2
    for num in (1, 2, 5, 8):
        drawn = [task["direction"] for task in draw_tasks(env, num, "train", np.random.default_rng(num))]
        assert len(drawn) == num
        assert abs(drawn.count(1.0) - drawn.count(-1.0)) <= 1


class FewLifetimes:
    """Four lifetimes of three episodes: tasks 0, 1, 2; 10, 11, 12; and so on."""

    def enumerate_lifetimes(self, split):
        return [[{"number": 10 * life + episode} for episode in range(3)] for life in range(4)]

    def sample_lifetimes(self, num, split, rng):
        raise AssertionError("there are few enough to enumerate")


def test_few_lifetimes_are_drawn_in_balance_and_in_any_order():
    orders = []
    for seed in range(40):
        drawn = draw_lifetimes(FewLifetimes(), 6, "train", np.random.default_rng(seed))
        orders.append([each[0]["number"] // 10 for each in drawn])
    assert all(sorted(each[:4]) == [0, 1, 2, 3] and each[4] != each[5] for each in orders)
    assert all({order[place] for order in orders} == {0, 1, 2, 3} for place in range(6))


def test_a_pair_is_an_episodes_task_and_the_next():
    places = []
    for seed in range(10):
        support, query = draw_pairs(FewLifetimes(), 4, "train", np.random.default_rng(seed))
        assert [task["number"] + 1 for task in support] == [task["number"] for task in query]
        assert sorted(task["number"] // 10 for task in support) == [0, 1, 2, 3]
        places += [task["number"] % 10 for task in support]
    assert set(places) == {0, 1}


def test_many_tasks_are_sampled():
    env = make_world("metarl/CheetahVel-v0", 2)
    assert finite_tasks(env, "train") is None
    drawn = draw_tasks(env, 7, "test", np.random.default_rng(0))
    assert all(env.tasks.contains(task, "test") for task in drawn)


def test_a_world_of_ones_own_is_imported_by_its_module(tmp_path, monkeypatch):
    example = Path(__file__).parents[2] / "examples" / "own_world.py"
    (tmp_path / "carts.py").write_text(example.read_text().replace("own/Cart-v0", "carts/Cart-v0"))
    monkeypatch.syspath_prepend(tmp_path)
    assert make_world("carts:carts/Cart-v0", 3).num_envs == 3
