"""A small agent with an LSTM, for the tests of policies with memory."""

import dataclasses

import torch

from metarl.agents import preset
from metarl.agents.configs import PolicyConfig
from metarl.agents.meta_policy_gradient import MetaPolicyGradientTraining

POINT = "metarl/PointNavigation-v0"
HEXAPOD = "metarl/HexapodLegFailure-v0"


def lstm_policy(**changes):
    return PolicyConfig(**({"body": "lstm", "hidden": (6, 5), "unroll": 4} | changes))


def training(agent="continuous-adaptation", world=POINT, horizon=10, policy=None, **sampling):
    config = preset(agent)
    size = config.policy.context_size
    config = dataclasses.replace(
        config,
        policy=policy or lstm_policy(context_size=size),
        sampling=dataclasses.replace(
            config.sampling,
            **({"tasks": 2, "trajectories": 3, "horizon": horizon, "unit": "task"} | sampling),
        ),
    )
    torch.manual_seed(0)
    return MetaPolicyGradientTraining(world, config)
