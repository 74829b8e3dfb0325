"""Small methods without kinks in float64, and their meta-gradients by finite differences."""

from dataclasses import replace
from functools import cache

import torch

from metarl.supervised.episodes import EpisodeSampler
from metarl.supervised.methods import build, preset
from metarl.supervised.methods.config import Backbone
from metarl.supervised.regression import RegressionSampler, Sinusoids
from tests.supervised import front

WAY, SHOT, QUERY = 3, 2, 2
D = torch.float64


@cache
def store():
    return front.load_once("strokes", "train").subset(range(8))


def config_of(name, data="strokes", inner=(), training=(), **changes):
    """A preset with a network of smooth layers."""
    config = preset(name, data, WAY, SHOT)
    net = Backbone(channels=4, halve="stride", activation="silu")
    if data == "sinusoid":
        net = replace(config.backbone, channels=5, activation="silu")
    if inner:
        changes["inner"] = replace(config.inner, **dict(inner))
    training = replace(config.training, **{"way": None, "shot": None, **dict(training)})
    return replace(config, backbone=net, training=training, **changes)


def made(config, name, data="strokes", seed=0):
    """The method in float64 and its params, moved off their start."""
    torch.manual_seed(seed)
    image, classes = ((1,), 1) if data == "sinusoid" else (store().image, store().num_classes)
    method = build(name, config, image, classes, WAY, SHOT)
    method.module.to(D)
    with torch.no_grad():
        for key, each in method.module.named_parameters():
            scale = 0.02 if key.startswith("rule.") else 0.1
            each += scale * torch.randn(each.shape, dtype=D)
    return method, dict(method.module.named_parameters())


def episodes(tasks, seed=1, shot=SHOT):
    """Episodes of drawings in float64 with a leading axis."""
    drawn = EpisodeSampler(store(), WAY, shot, QUERY).draw(tasks, torch.Generator().manual_seed(seed))
    return drawn._replace(support=drawn.support.to(D), query=drawn.query.to(D))


def episode(seed=1, shot=SHOT):
    """One of them."""
    many = episodes(1, seed, shot)
    return type(many)(*(each[0] for each in many))


def wave(seed=1):
    """One sine wave in float64."""
    many = RegressionSampler(Sinusoids("train"), 6, 5).draw(1, torch.Generator().manual_seed(seed))
    return type(many)(*(each[0].to(D) for each in many))


def gradients(loss, params):
    """The gradient of a loss by every parameter, zero where there is none."""
    wanted = {name: each for name, each in params.items() if each.requires_grad}
    found = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(wanted, found, strict=True))


def assert_slope(of, params, grads, directions=3, rtol=1e-6):
    """The gradient agrees with central differences of `of(params)` along random directions.

    Args:
        of: From params to a scalar.
        params: Where.
        grads: What is claimed, by name; parameters that are not named stay where they are.
        directions: How many.
        rtol: Of the slope, relative to the gradient's length.
    """
    length = torch.stack([each.square().sum() for each in grads.values()]).sum().sqrt()
    draw = torch.Generator().manual_seed(5)
    for _ in range(directions):
        along = {name: torch.randn(each.shape, dtype=D, generator=draw) for name, each in grads.items()}
        size = torch.stack([each.square().sum() for each in along.values()]).sum().sqrt()
        along = {name: each / size for name, each in along.items()}
        values = []
        for step in (1e-5, -1e-5):
            moved = {name: params[name].detach() + step * each for name, each in along.items()}
            with torch.no_grad():
                values.append(float(of({**params, **moved})))
        slope = sum(float((grads[name] * each).sum()) for name, each in along.items())
        assert abs(slope - (values[0] - values[1]) / 2e-5) < rtol * float(length)
