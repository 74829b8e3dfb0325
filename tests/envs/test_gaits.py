"""Gaits by hand."""

import numpy as np
import pytest

from metarl.envs.contestants import contestant, several
from metarl.envs.contests import play
from metarl.envs.gaits import GAITS
from metarl.envs.sumo import RoboSumo
from metarl.envs.sumo_rules import Result
from metarl.envs.zoo import GAIT_NAMES


@pytest.mark.parametrize("name", GAITS)
def test_it_walks_up_to_one_that_stands_and_pushes_it_out(name):
    found = play(contestant(name), contestant("zero-ant"), num=8)
    assert found.count(Result.WIN) >= 6


@pytest.mark.parametrize("name", GAITS)
def test_what_is_done_follows_from_what_is_seen_alone(name):
    gait = GAITS[name]
    world = RoboSumo(3, pairing=f"{gait.body}-vs-Ant")
    world.begin(np.arange(3), [np.random.default_rng(i) for i in range(3)])
    seen = world.observe_side(0)
    assert seen.shape == (3, gait.observation_size)
    acts = gait(seen)
    assert acts.shape == (3, gait.action_size)
    assert np.abs(acts).max() <= 1
    np.testing.assert_array_equal(acts[1:2], gait(seen[1:2]))


@pytest.mark.parametrize("name", GAITS)
def test_it_is_the_same_after_a_turn_of_the_whole_mat(name):
    gait = GAITS[name]
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(5, gait.observation_size))
    seen[:, 3:7] /= np.linalg.norm(seen[:, 3:7], axis=1, keepdims=True)
    angle = 2.0
    turned = seen.copy()
    cos, sin = np.cos(angle), np.sin(angle)
    for place in (slice(0, 2), slice(-13, -11)):
        turned[:, place] = seen[:, place] @ np.array([[cos, sin], [-sin, cos]])
    w, x, y, z = seen[:, 3:7].T
    c, s = np.cos(angle / 2), np.sin(angle / 2)
    turned[:, 3:7] = np.stack([c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w], axis=1)
    np.testing.assert_allclose(gait(turned), gait(seen), atol=1e-9)


def test_gaits_are_wrestlers_that_are_told_apart():
    assert list(GAITS) == list(GAIT_NAMES)
    names = [*GAITS, "zero-spider"]
    assert len({each.digest for each in several(names)}) == len(names)
