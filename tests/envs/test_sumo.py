"""The world of sumo: what is observed, earned, and how matches begin and end, by numbers worked out by hand."""

import math

import mujoco
import numpy as np
import pytest

from metarl.envs import sumo_rules
from metarl.envs.sumo import PAIRINGS, RoboSumo
from metarl.envs.sumo_rules import Result
from metarl.envs.wrestlers import ANATOMIES, scope

SIZES = {"Ant": (120, 8), "Bug": (164, 12), "Spider": (208, 16)}


def begun(pairing="Ant-vs-Ant", num=1, seed=0, **arguments):
    world = RoboSumo(num, **{"pairing": pairing, "physics": "fast", **arguments})
    world.begin(np.arange(num), [np.random.default_rng(seed + i) for i in range(num)])
    return world


def nothing(world):
    return tuple(np.zeros((world.num, size)) for size in world.action_sizes)


def put(world, side, x, y, z, velocity=(0, 0, 0)):
    """Place a torso, upside down with its ankles bent, so that it lies on the mat at any height."""
    model, qpos = world.simulation.model, world._qpos[side]
    qpos[0] = [x, y, z, 0, 1, 0, 0, *np.zeros(qpos.shape[1] - 7)]
    for leg in range(1, len(ANATOMIES[world.names[side]].limbs) + 1):
        joint = model.joint(f"{scope(world.names[side], side)}ankle_{leg}")
        qpos[0, 6 + 2 * leg] = joint.range.mean()
    world._qvel[side][0] = 0
    world._qvel[side][0, :3] = velocity


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_sizes(pairing):
    world, names = RoboSumo(pairing=pairing), pairing.split("-vs-")
    assert world.observation_sizes == tuple(SIZES[name][0] for name in names)
    assert world.action_sizes == tuple(SIZES[name][1] for name in names)
    assert (world.horizon, world.dt) == (500, pytest.approx(0.05))
    assert [each.shape for each in world.observe()] == [(1, size) for size in world.observation_sizes]


@pytest.mark.parametrize(("pairing", "side"), [("Ant-vs-Spider", 0), ("Ant-vs-Spider", 1), ("Bug-vs-Ant", 1)])
def test_observations_by_index(pairing, side):
    """Number by number, from the simulation's own fields by name."""
    world = begun(pairing)
    for _ in range(25):
        world.advance(tuple(np.full((1, size), 0.1) for size in world.action_sizes))
    model, forces = world.simulation.model, world.simulation.bind("cfrc_ext")[0]
    qpos, qvel = world.simulation.qpos[0], world.simulation.qvel[0]
    mine, other = scope(world.names[side], side), scope(world.names[1 - side], 1 - side)
    legs = range(1, len(ANATOMIES[world.names[side]].limbs) + 1)
    joints = [model.joint(f"{mine}{joint}_{leg}") for leg in legs for joint in ("hip", "ankle")]
    bodies = [
        f"{mine}torso",
        *(f"{mine}{part}_{leg}" for leg in legs for part in ("shoulder", "thigh", "shank")),
    ]

    def pose(prefix):
        start = model.joint(f"{prefix}root").qposadr[0]
        x, y, z, *turn = qpos[start : start + 7]
        return [x, y, z - 0.5, *turn]

    start = model.joint(f"{mine}root").dofadr[0]
    expected = [
        *pose(mine),
        *(qpos[joint.qposadr[0]] for joint in joints),
        *qvel[start : start + 6],
        *(qvel[joint.dofadr[0]] for joint in joints),
        *(min(abs(value), 100.0) for body in bodies for value in forces[model.body(body).id]),
        *pose(other),
        *(min(abs(value), 100.0) for value in forces[model.body(f"{other}torso").id]),
    ]
    seen = world.observe_side(side)[0]
    np.testing.assert_array_equal(seen, expected)
    assert seen[7 + len(joints) + 6 + len(joints) : -13].max() > 0


def test_forces_are_clipped_squared_or_not():
    worlds = [begun(seed=4, force_transform=transform) for transform in ("abs", "square")]
    hardest = 0.0
    for _ in range(40):
        seen = []
        for world in worlds:
            world.advance(tuple(np.ones((1, 8)) for _ in range(2)))
            seen.append(world.observe_side(0)[0])
        plain, squared = (each[29:107] for each in seen)
        np.testing.assert_array_equal(
            np.delete(seen[0], np.r_[29:107, 114:120]), np.delete(seen[1], np.r_[29:107, 114:120])
        )
        raw = worlds[0].simulation.bind("cfrc_ext")[0, 1:14].ravel()
        np.testing.assert_array_equal(plain, np.minimum(np.abs(raw), 100))
        np.testing.assert_array_equal(squared, np.minimum(raw * raw, 100))
        hardest = max(hardest, np.abs(raw).max())
    assert hardest > 100


@pytest.mark.parametrize("physics", ["rk4", "fast"])
def test_contact_forces_are_those_of_the_last_physics_step(physics):
    """Beside a loop of mj_step; and where they equal what Gymnasium reads after a step."""
    world = begun(physics=physics)
    model, data = world.simulation.model, mujoco.MjData(world.simulation.model)
    data.qpos[:], data.qvel[:] = world.simulation.qpos[0], world.simulation.qvel[0]
    rng, apart, hardest = np.random.default_rng(0), 0.0, 0.0
    assert not world.observe_side(0)[0, 29:107].any()  # in the air
    for _ in range(30):
        actions = tuple(rng.uniform(-1, 1, (1, 8)) for _ in range(2))
        world.advance(actions)
        data.ctrl[:] = np.concatenate(actions, axis=1)[0]
        for _ in range(5):
            mujoco.mj_step(model, data)
        np.testing.assert_array_equal(world.simulation.qpos[0], data.qpos)
        np.testing.assert_array_equal(
            world.observe_side(0)[0, 29:107], np.minimum(np.abs(data.cfrc_ext[1:14].ravel()), 100)
        )
        within = data.cfrc_ext.copy()
        mujoco.mj_rnePostConstraint(model, data)
        apart = max(apart, np.abs(within - data.cfrc_ext).max())
        hardest = max(hardest, world.observe_side(0)[0, 29:107].max())
    assert hardest > 1  # on the mat
    assert apart > 1 if physics == "rk4" else apart == 0


def test_a_torso_on_the_mat_feels_its_weight():
    """So does the opponent see it; legs that point up feel nothing."""
    world = begun()
    put(world, 0, 0.5, 0.0, 0.755), put(world, 1, -1.5, 0.0, 0.755)
    for _ in range(40):
        world.advance(nothing(world))
    one, two = (each[0] for each in world.observe())
    weight = 9.81 * sum(world.simulation.model.body_mass[1:14])
    assert 23 < weight < 24
    assert one[34] == pytest.approx(weight, rel=0.01)
    assert not one[35:107].any()
    np.testing.assert_array_equal(one[29:35], two[114:120])
    np.testing.assert_array_equal(two[29:35], one[114:120])


def test_reward_by_hand():
    world = begun("Ant-vs-Bug", shaping=0.5)
    put(world, 0, 0.3, -0.4, 1.2, (-1.0, 1.5, 0)), put(world, 1, -0.9, 0.5, 1.2, (-2.0, 0.7, 0))
    actions = (np.linspace(-1, 1, 8)[None], np.full((1, 12), 0.5))
    bout = world.advance(actions)
    (x, y), (other_x, other_y) = world._qpos[0][0, :2], world._qpos[1][0, :2]
    # Ant: effort 1 + 25/49 + 9/49 + 1/49, twice; it moves toward the place where the bug is now.
    assert bout.terms["reward_control"][0] == pytest.approx([0.5 * -0.1 * 2 * 84 / 49, 0.5 * -0.1 * 3])
    way = math.hypot(other_x - 0.3, other_y + 0.4)
    speed = ((x - 0.3) / 0.05 * (other_x - 0.3) + (y + 0.4) / 0.05 * (other_y + 0.4)) / way
    assert speed > 1
    assert bout.terms["reward_approach"][0, 0] == pytest.approx(0.5 * 0.1 * speed)
    assert bout.terms["reward_approach"][0, 1] == 0  # the bug moves away
    push = [-5 * math.exp(-math.hypot(other_x, other_y)), -5 * math.exp(-math.hypot(x, y))]
    assert bout.terms["reward_push"][0] == pytest.approx(push)
    assert not any(bout.terms[f"reward_{end}"].any() for end in ("win", "lose", "draw"))
    assert (bout.terminated[0], bout.truncated[0], bout.results.tolist()) == (False, False, [[0, 0]])


@pytest.mark.parametrize(
    ("one", "two", "results", "main"),
    [
        ((0, 0, 1.2), (0, 1.5, 1.2), (Result.NONE, Result.NONE), (0, 0)),
        ((2.2, 0, 1.2), (0, 0, 1.2), (Result.LOSS, Result.WIN), (-2000, 2000)),
        ((0, 0, 1.2), (-1.0, -2.2, 1.2), (Result.WIN, Result.LOSS), (2000, -2000)),
        ((2.02, 2.02, 1.2), (0, 0, 1.2), (Result.NONE, Result.NONE), (0, 0)),  # in a corner of the square
        ((0, 0, 0.76), (0, 1.5, 1.2), (Result.LOSS, Result.WIN), (-2000, 2000)),  # 0.26 m over the mat
        ((0, 0, 0.76), (2.5, 0, 1.2), (Result.BOTH_LOST, Result.BOTH_LOST), (0, 0)),
    ],
)
def test_who_wins(one, two, results, main):
    world = begun()
    put(world, 0, *one), put(world, 1, *two)
    bout = world.advance(nothing(world))
    assert tuple(bout.results[0]) == results
    assert bout.terminated[0] == (results[0] != Result.NONE)
    assert not bout.truncated[0]
    terms = {name: tuple(bout.terms[f"reward_{name}"][0]) for name in ("win", "lose", "draw")}
    assert tuple(np.add(terms["win"], terms["lose"])) == main
    if results[0] == Result.BOTH_LOST:
        assert (terms["win"], terms["lose"]) == ((2000, 2000), (-2000, -2000))
    assert terms["draw"] == (0, 0)


def test_nobody_can_be_down_on_the_mat_by_the_released_default():
    for z, arguments in ((0.76, {"legacy_z": True}), (0.76, {"adjust_z": 0.0})):
        world = begun(**arguments)
        put(world, 0, 0, 0, z), put(world, 1, 0, 1.5, 1.2)
        assert not world.advance(nothing(world)).terminated[0]
        assert world.observe_side(0)[0, 2] == world.simulation.qpos[0, 2]


def test_a_draw():
    world = begun(horizon=2, shaping=0.0)
    assert not world.advance(nothing(world)).truncated[0]
    bout = world.advance(nothing(world))
    assert (bout.terminated[0], bout.truncated[0], bout.results.tolist()) == (False, True, [[3, 3]])
    assert sum(bout.terms.values()).tolist() == [[-1000, -1000]]


def test_who_wins_in_the_last_step_has_no_draw():
    world = begun(horizon=1)
    put(world, 0, 0, 0, 1.2), put(world, 1, 0, 2.3, 1.2)
    bout = world.advance(nothing(world))
    assert (bout.terminated[0], bout.truncated[0], bout.results.tolist()) == (True, False, [[1, 2]])
    assert not bout.terms["reward_draw"].any()


@pytest.mark.parametrize(("legacy", "last"), [(False, 500), (True, 501)])
def test_length_of_a_match(legacy, last):
    world = begun(legacy_501=legacy)
    for step in range(1, last + 1):
        bout = world.advance(nothing(world))
        assert bout.truncated[0] == (step == last)


def test_starts():
    world = begun(num=200, noise=0.1)
    places = world._places()
    phi = np.arctan2(places[:, 0, 1], places[:, 0, 0])
    assert np.abs(np.linalg.norm(places, axis=2) - 1.15).max() < 0.15
    assert np.abs(places[:, 0] + places[:, 1]).max() <= 0.2  # opposite each other
    assert np.histogram(phi, 4, (-np.pi, np.pi))[0].min() > 25
    for qpos in world._qpos:
        away = qpos[:, 2:] - [1.25, 1, 0, 0, 0, *[0] * 8]
        assert 0.099 < np.abs(away).max() <= 0.1
    assert abs(world.simulation.qvel.std() - 0.1) < 0.005
    still = begun(noise=0.0)
    assert not still.simulation.qvel.any()
    assert np.linalg.norm(still._places(), axis=2)[0] == pytest.approx([1.15, 1.15])


@pytest.mark.parametrize(("pairing", "horizon"), [("Ant-vs-Bug", 500), ("Spider-vs-Ant", 400)])
def test_what_stands_and_what_sinks(pairing, horizon):
    """Without actions ants and bugs stay on their feet, and spiders go down."""
    world = begun(pairing, 10, seed=7, horizon=horizon)
    results = np.zeros((10, 2), np.int64)
    for _ in range(horizon):
        bout = world.advance(nothing(world))
        results = np.where(results == 0, bout.results, results)
    wanted = (Result.DRAW, Result.DRAW) if pairing == "Ant-vs-Bug" else (Result.LOSS, Result.WIN)
    assert (results == wanted).all(axis=1).sum() >= 9


def test_divergence_ends_a_match_with_nothing_earned():
    world = begun(num=2)
    world.simulation.qvel[1, 3] = 1e11
    bout = world.advance(nothing(world))
    assert bout.diverged.tolist() == bout.terminated.tolist() == [False, True]
    assert bout.results.tolist() == [[0, 0], [0, 0]]
    assert not any(term[1].any() for term in bout.terms.values())
    assert np.isfinite(world.observe()[0]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pairing": "Ant-vs-Bag"}, "did you mean 'Ant-vs-Bug'"),
        ({"physics": "rk45"}, "did you mean 'rk4'"),
        ({"force_transform": "squares"}, "did you mean 'square'"),
        ({"horizon": 0}, "horizon must be at least 1"),
        ({"noise": -1.0}, "noise must not be negative"),
        ({"tatami_size": 1.0}, "at least 1.15 m"),
        ({"shaping": -0.5}, "shaping must be a weight of 0 or more"),
        ({"tatami_size": math.inf}, "at least 1.15 m.*got inf"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        RoboSumo(**arguments)


def test_what_is_seen_is_part_of_the_state():
    """Contact forces too, which the simulation computes only as it steps."""
    world, other = begun(num=2), begun(num=2, seed=9)
    world.shaping = 0.3
    while not world.observe_side(0)[:, 29:107].any(axis=1).all():
        world.advance(nothing(world))
    other.set_state(world.get_state())
    for mine, theirs in zip(world.observe(), other.observe(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    one, two = world.advance(nothing(world)), other.advance(nothing(other))
    for name, term in one.terms.items():
        np.testing.assert_array_equal(term, two.terms[name])


def test_what_moving_to_and_fro_earns():
    """Half a metre per second at the opponent in the first match, away from it in the second."""
    before = np.array([[[0.0, 0.0], [1.0, 0.0]]] * 2)
    after = before.copy()
    after[:, 0, 0] = 0.025, -0.025
    still = (np.zeros((2, 8)), np.zeros((2, 8)))
    for retreat in (0.0, 1.0):
        terms = sumo_rules.shaping(before, after, still, 0.05, 1.0, approach=6.0, retreat=retreat)
        np.testing.assert_allclose(terms["reward_approach"][:, 0], [3.0, -3.0 * retreat], atol=1e-12)
    terms = sumo_rules.shaping(before, after, still, 0.05, 0.5)
    np.testing.assert_allclose(terms["reward_approach"][:, 0], [0.025, 0.0], atol=1e-12)
