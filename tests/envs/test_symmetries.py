"""Symmetries of sumo, shown by the physics itself."""

import numpy as np
import pytest

from metarl.envs.crew import Crew
from metarl.envs.opponents import OpponentPolicy
from metarl.envs.sumo_matches import SumoMatches
from metarl.envs.sumo_single import RoboSumoSingle
from metarl.envs.symmetries import Canonical, symmetries

NUMBERS = {"Ant": 8, "Bug": 4, "Spider": 2}


@pytest.mark.parametrize("one", NUMBERS)
@pytest.mark.parametrize("other", NUMBERS)
def test_a_pairing_has_the_symmetries_of_both(one, other):
    found = symmetries(one, other)
    assert len(found) == min(NUMBERS[one], NUMBERS[other])
    x = np.arange(found[0].observation.places.size)
    assert (found[0].observation(x) == x).all()
    assert len({str(each.plane) for each in found}) == len(found)


@pytest.mark.parametrize("body", NUMBERS)
def test_what_happens_to_the_turned_is_what_happens_turned(body):
    matches = SumoMatches(f"{body}-vs-{body}", 1, autoreset=False)
    rng = np.random.default_rng(0)
    size = matches.world.action_sizes[0]
    seen = matches.reset(3)
    for _ in range(25):  # until both have landed
        seen = matches.step(
            (rng.uniform(-0.3, 0.3, (1, size)), rng.uniform(-0.3, 0.3, (1, size)))
        ).observations
    assert not matches.finished.any()
    assert seen[0][:, 13 + 2 * size :].any(), "nobody is in contact"
    start = matches.get_state()
    actions = tuple(rng.uniform(-1, 1, (1, size)) for _ in range(2))
    wanted = matches.step(actions)
    for each in symmetries(body, body)[1:]:
        matches.set_state(start)
        for side, obs in enumerate(seen):
            turned = each.observation(obs)[0]
            matches.world._qpos[side][0] = turned[: 7 + size]
            matches.world._qpos[side][0, 2] -= matches.world.adjust_z
            matches.world._qvel[side][0] = turned[7 + size : 13 + 2 * size]
        matches.world.simulation.forward(np.arange(1))
        step = matches.step(tuple(each.action(action) for action in actions))
        for side in (0, 1):
            np.testing.assert_allclose(
                step.observations[side], each.observation(wanted.observations[side]), atol=2e-3
            )
        np.testing.assert_allclose(step.rewards, wanted.rewards, atol=1e-3)


@pytest.mark.parametrize(("body", "sector"), [("Ant", (0, 45)), ("Bug", (0, 90)), ("Spider", (-90, 90))])
def test_in_its_frame_a_wrestler_sees_its_opponent_on_one_side(body, sector):
    world = RoboSumoSingle(100, pairing=f"{body}-vs-{body}", canonical=True)
    begin(world)
    seen = world.observe()
    place = 22 * (world.action_size // 2) + 19
    x, y = (seen[:, place : place + 2] - seen[:, :2]).T
    angles = np.degrees(np.arctan2(y, x))
    assert sector[0] <= angles.min() < sector[0] + 10
    assert sector[1] - 10 < angles.max() <= sector[1]


def begin(world: RoboSumoSingle) -> None:
    ids = np.arange(world.num)
    world.apply(ids, [{"opponent": "zero", "version": 0}] * world.num)
    world.begin(ids, [np.random.default_rng(each) for each in ids])


@pytest.mark.parametrize("body", NUMBERS)
def test_a_world_in_the_frame_is_the_same_world(body):
    plain, turned = (RoboSumoSingle(6, pairing=f"{body}-vs-Ant", canonical=each) for each in (False, True))
    frame, rng = Canonical(body), np.random.default_rng(0)
    begin(plain), begin(turned)
    for _ in range(15):
        wanted, chosen = frame.see(plain.observe())
        np.testing.assert_array_equal(turned.observe(), wanted)
        actions = rng.uniform(-1, 1, (6, plain.action_size))
        one, two = turned.advance(actions, None), plain.advance(frame.act(actions, chosen), None)
        for name, term in one.terms.items():
            np.testing.assert_array_equal(term, two.terms[name])


@pytest.mark.parametrize("body", NUMBERS)
def test_a_policy_in_the_frame_acts_alike_in_every_symmetry(body):
    rng = np.random.default_rng(1)
    found = symmetries(body, body)
    size, actions = found[0].observation.places.size, found[0].action.places.size
    arrays = {
        "obs_mean": rng.normal(size=size),
        "obs_std": np.ones(size),
        "obs_clip": np.array(5.0),
        "log_std": np.full(actions, -1.0),
        "layers.0.weight": 0.1 * rng.normal(size=(actions, size)),
        "layers.0.bias": np.zeros(actions),
    }
    obs = rng.normal(size=(7, size))
    for frame, alike in (({"canonical": np.ones(())}, True), ({}, False)):
        policy = OpponentPolicy({**arrays, **frame})
        crew = Crew(7, actions, 10, body)
        crew.assign(np.arange(7), [policy] * 7)
        crew._noise[...] = 0
        first = crew.act(obs)
        for each in found[1:]:
            got, wanted = crew.act(each.observation(obs)), each.action(first)
            assert np.allclose(got, wanted, atol=1e-5) == alike
