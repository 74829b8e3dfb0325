"""What TensorBoard's first page shows of an agent: its adaptation before everything else.

A layout is plain data: category -> chart -> patterns of the tags that the chart draws. A chart has the same
patterns for all agents that have it, so that runs of several agents share it.
"""

import re
from collections.abc import Sequence
from typing import Any

from metarl.agents.configs import MetaPolicyGradient

Layout = dict[str, dict[str, list[str]]]
FIRST = "adaptation"
"""The category that stands at the top of the page."""
TRAINING: Layout = {
    "training": {
        "return of the episodes collected": [r"rollout/ep_rew_mean$"],
        "length of the episodes collected": [r"rollout/ep_len_mean$"],
        "loss": [r"train/loss$"],
        "parts of the loss": [r"train/(policy_loss|policy_gradient_loss|value_loss|entropy_loss|distance)$"],
        "norm of the gradient": [r"train/grad_norm$"],
        "KL of the outer step, nats": [r"train/(kl|approx_kl)$"],
        "spread of the policy": [r"train/(std|entropy)$"],
    },
    "time": {
        "environment steps per second": [r"time/fps$"],
        "seconds of an iteration": [r"time/iteration$"],
        "share of collecting and of learning": [r"time/(collect|learn)_share$"],
    },
}
"""What every agent has."""


def training_layout(config: Any, groups: Sequence[str] | None) -> Layout:
    """The page of a training run.

    Args:
        config: The agent's configuration.
        groups: What kinds of lifetimes the world has, as they stand in the tags (see
            `metarl.agents.lifetimes.lifetime_groups`); empty if they are many, None if it has no lifetimes.
    """
    inner = config.inner if isinstance(config, MetaPolicyGradient) else None
    lifelong = config.sampling.unit != "task" if inner is not None else groups is not None
    first: dict[str, list[str]] = {}
    if lifelong:
        first |= {"lifetimes: return of each episode, test tasks": [r"lifetime/return_\d+$"]}
        first |= {
            f"lifetimes, {group}: return of each episode": [rf"lifetime/{re.escape(group)}/return_\d+$"]
            for group in groups or ()
        }
    if inner is not None:
        first |= {"return before and after inner steps, training tasks": [r"adapt/return_\d+$"]}
    if not lifelong:
        first |= {"return before and after inner steps, test tasks": [r"eval/return_\d+$"]}
    if inner is not None and inner.step_sizes != "fixed":
        first |= {"learned step sizes": [r"inner/(context_)?step_size_\d+$"]}
    if inner is not None and lifelong:
        first |= {
            "lifetimes: effective sample size, in episodes": [r"lifetime/effective_sample_size_\d+$"],
            "lifetimes: inner KL, nats": [r"lifetime/inner_kl_\d+$"],
        }
    if inner is not None:
        first |= {
            "inner KL in training, nats": [r"inner/kl_\d+$"],
            "gain by adaptation": [r"(adapt|eval)/gain$"],
        }
    if lifelong:
        first |= {"lifetimes: speed, m/s": [r"lifetime/speed_\d+$"]}
    return {FIRST: first, **TRAINING}


def lifetimes_layout(groups: Sequence[str], measures: Sequence[str]) -> Layout:
    """The page of an evaluation: a line for each method, the episode of the lifetime as the x axis.

    Args:
        groups: What kinds of lifetimes there are, as they stand in the tags; empty if they were drawn.
        measures: What else is known of each episode.
    """
    charts = {"evaluated lifetimes: return by episode": [r"lifetime/return$"]}
    charts |= {
        f"evaluated lifetimes, {group}: return by episode": [rf"lifetime/{re.escape(group)}/return$"]
        for group in groups
    }
    charts |= {
        f"evaluated lifetimes: {name.replace('_', ' ')} by episode": [rf"lifetime/{re.escape(name)}$"]
        for name in measures
    }
    return {FIRST: charts}
