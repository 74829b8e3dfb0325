"""Worlds in other processes, and what an import costs."""

import json
import subprocess
import sys

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode


def make_cheetah():
    import gymnasium

    import metarl  # noqa: F401  a spawned process knows no ids yet

    return gymnasium.make("metarl/CheetahDir-v0", horizon=4)


def test_spawned_workers_equal_the_vector_face():
    workers = AsyncVectorEnv([make_cheetah] * 2, context="spawn", autoreset_mode=AutoresetMode.SAME_STEP)
    ours = gymnasium.make_vec(
        "metarl/CheetahDir-v0", num_envs=2, vectorization_mode="vector_entry_point", horizon=4
    )
    try:
        np.testing.assert_array_equal(workers.reset(seed=1)[0], ours.reset(seed=1)[0])
        rng = np.random.default_rng(0)
        for _ in range(6):
            actions = rng.uniform(-1, 1, (2, 6)).astype(np.float32)
            one, two = workers.step(actions), ours.step(actions)
            for mine, other in zip(one[:4], two[:4], strict=True):
                np.testing.assert_array_equal(mine, other)
    finally:
        workers.close()


def test_import_is_light():
    code = "import sys, json, metarl.envs; print(json.dumps(sorted(sys.modules)))"
    names = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    heavy = {"torch", "mujoco", "stable_baselines3", "matplotlib", "glfw"}
    assert not heavy & set(names)


def test_making_a_world_imports_no_torch():
    code = (
        "import sys, gymnasium, metarl; gymnasium.make('metarl/CheetahDir-v0').reset();"
        "print(any(name in sys.modules for name in ('torch', 'stable_baselines3', 'gymnasium.envs.mujoco')))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"


def test_specifications_are_plain():
    import pickle

    from metarl.envs import WORLDS

    for world in WORLDS:
        spec = gymnasium.spec(world)
        assert pickle.loads(pickle.dumps(spec)).kwargs == spec.kwargs
        assert gymnasium.make(spec).unwrapped.spec.id == world
