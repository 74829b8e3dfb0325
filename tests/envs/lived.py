"""What tests of lifetimes do with environments of either face."""

import gymnasium
import numpy as np

SEED = 11


def make(world, **arguments):
    return gymnasium.make(world, **arguments).unwrapped


def make_vec(world, num=3, **arguments):
    env = gymnasium.make_vec(world, num_envs=num, vectorization_mode="vector_entry_point", **arguments)
    return env.unwrapped


def actions_for(env, steps, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (steps, *env.action_space.shape)).astype(np.float32)


def assert_same(ours, theirs, path=""):
    """Equal to the last bit, through dicts and arrays of arrays."""
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), path
        for key in ours:
            assert_same(ours[key], theirs[key], f"{path}/{key}")
    elif isinstance(ours, tuple) or (isinstance(ours, np.ndarray) and ours.dtype == object):
        assert len(ours) == len(theirs), path
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(one, other, f"{path}[{index}]")
    else:
        np.testing.assert_array_equal(ours, theirs, err_msg=path, strict=isinstance(ours, np.ndarray))


def place(info):
    return info["lifetime"], info["episode_index"]


def play(env, action=None):
    """Steps to the end of an episode; the infos of the steps."""
    infos, over = [], False
    while not over:
        _, _, terminated, truncated, info = env.step(env.action_space.sample() if action is None else action)
        infos.append(info)
        over = terminated or truncated
    return infos


def life(env, episodes, action=None, **first):
    """Infos of the resets of some episodes, played to their ends."""
    infos = [env.reset(**first)[1]]
    for _ in range(episodes - 1):
        play(env, action)
        infos.append(env.reset()[1])
    return infos
