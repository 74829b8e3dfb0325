"""A trained meta-policy by hand: which inner step it takes next."""

from dataclasses import replace

import numpy as np
import torch

from metarl.agents import preset
from metarl.agents.agent import Agent
from metarl.agents.meta_parameters import MetaParameters
from metarl.agents.rollouts import make_world

WORLD, TASK = "metarl/PointNavigation-v0", {"goal": [0.3, -0.2]}


def test_each_adaptation_takes_the_next_inner_step():
    config = preset("meta-sgd")
    config = replace(
        config,
        policy=replace(config.policy, hidden=(4,)),
        inner=replace(config.inner, steps=2, step_sizes="step"),
    )
    torch.manual_seed(0)
    module = MetaParameters(2, 2, 5, config)
    with torch.no_grad():
        dict(module.named_parameters())["rule.lr"].copy_(torch.tensor([0.1, 0.0]))
    start = Agent(module, config)
    env = make_world(WORLD, 3, 5)
    once = start.adapt(start.sample(env, TASK))
    twice = once.adapt(once.sample(env, TASK, seed=1))
    assert [each.inner_steps for each in (start, once, twice)] == [0, 1, 2]
    obs = np.array([0.5, -0.5])
    before, after, later = (each.predict(obs, deterministic=True)[0] for each in (start, once, twice))
    assert (before != after).all()
    np.testing.assert_array_equal(later, after)
