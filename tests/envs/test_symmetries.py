"""Symmetries of sumo, shown by the physics itself."""

import numpy as np
import pytest

from metarl.envs.sumo_matches import SumoMatches
from metarl.envs.symmetries import symmetries

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
