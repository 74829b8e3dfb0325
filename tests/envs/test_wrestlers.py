"""The bodies of sumo and their mat: golden masses, sizes, joints, and what two kinds of physics share."""

import math

import numpy as np
import pytest

from metarl.envs.wrestlers import ANATOMIES, scene, scope

# Compiled from the released files: all of a wrestler, and its torso alone, kg.
MASSES = {"Ant": (2.368, 0.851), "Bug": (2.310, 0.654), "Spider": (2.829, 2.553)}
SIZES = {("Ant", "Ant"): (30, 28, 16), ("Bug", "Bug"): (38, 36, 24), ("Spider", "Spider"): (46, 44, 32)}


def compiled(one, two, integrator="rk4", **arguments):
    return scene((one, two), integrator=integrator, **arguments).compile()


def of(model, prefix):
    return [i for i in range(model.nbody) if model.body(i).name.startswith(prefix)]


@pytest.mark.parametrize("one", MASSES)
@pytest.mark.parametrize("two", MASSES)
def test_golden_masses(one, two):
    model = compiled(one, two)
    for side, name in enumerate((one, two)):
        whole, torso = MASSES[name]
        assert model.body_mass[of(model, scope(name, side))].sum() == pytest.approx(whole, abs=5e-4)
        assert model.body(f"{name.lower()}{side}/torso").mass[0] == pytest.approx(torso, abs=5e-4)


def test_the_density_of_a_spider_is_that_of_its_torso_only():
    model = compiled("Spider", "Spider")
    length = math.sqrt(0.056**2 + 0.209**2 + 0.125**2)
    shoulder = 5 * math.pi * 0.04**2 * (length + 4 / 3 * 0.04)
    assert model.body("spider0/shoulder_1").mass[0] == pytest.approx(shoulder, rel=1e-9)


@pytest.mark.parametrize("pair", SIZES)
def test_sizes(pair):
    model = compiled(*pair)
    assert (model.nq, model.nv, model.nu) == SIZES[pair]
    assert model.opt.timestep == 0.01


@pytest.mark.parametrize(
    ("name", "radius", "hip"), [("Ant", 0.08, 30), ("Bug", 0.08, 30), ("Spider", 0.04, 20)]
)
def test_joints_and_motors(name, radius, hip):
    model = compiled("Ant", name)
    prefix, legs = scope(name, 1), len(ANATOMIES[name].limbs)
    names = [f"{prefix}{joint}_{leg}" for leg in range(1, legs + 1) for joint in ("hip", "ankle")]
    assert [model.actuator(8 + i).name for i in range(2 * legs)] == names
    first = model.joint(f"{prefix}root").id
    assert [model.joint(first + 1 + i).name for i in range(2 * legs)] == names
    assert (model.actuator_gear[:, 0] == 150).all()
    assert (model.actuator_ctrlrange == [-1, 1]).all()
    for leg in range(1, legs + 1):
        joint, mirror = (
            model.joint(f"{prefix}ankle_{leg}"),
            1 if model.body(f"{prefix}thigh_{leg}").pos[0] > 0 else -1,
        )
        low, high = (-45, 35) if name == "Spider" else (30, 70)
        np.testing.assert_allclose(np.degrees(joint.range), sorted((mirror * low, mirror * high)))
        np.testing.assert_allclose(np.degrees(model.joint(f"{prefix}hip_{leg}").range), [-hip, hip])
        assert model.geom(f"{prefix}shank_{leg}").size[0] == radius
        assert joint.axis[1] > 0
    hinges = model.jnt_type == 3
    assert (model.jnt_limited == hinges).all()
    assert set(model.dof_armature[model.jnt_dofadr[hinges]]) == {1.0}
    assert set(model.dof_damping[model.jnt_dofadr[hinges]]) == {1.0}
    for free in model.jnt_dofadr[~hinges]:
        assert not model.dof_armature[free : free + 6].any()


def test_bending_an_ankle_of_an_ant_or_a_bug_lowers_the_foot():
    """On both sides, by the signs of the ranges."""
    import mujoco

    for name in ("Ant", "Bug"):
        model = compiled(name, "Ant")
        data = mujoco.MjData(model)
        for leg in range(1, len(ANATOMIES[name].limbs) + 1):
            joint = model.joint(f"{scope(name, 0)}ankle_{leg}")
            data.qpos[joint.qposadr[0]] = joint.range.mean()
        mujoco.mj_kinematics(model, data)
        for leg in range(1, len(ANATOMIES[name].limbs) + 1):
            assert data.body(f"{scope(name, 0)}shank_{leg}").xipos[2] < 0.75 - 0.1


def test_the_mat():
    model = compiled("Ant", "Bug", mat=3.0)
    mat, border = model.geom("mat"), [model.geom(f"border_{i}") for i in range(4)]
    np.testing.assert_allclose(mat.size, [3.3, 3.3, 0.25])
    assert mat.pos[2] + mat.size[2] == 0.5
    assert {tuple(np.round(np.abs(each.pos), 9)) for each in border} == {(0, 3, 0.5), (3, 0, 0.5)}
    assert {tuple(each.size[:2]) for each in border} == {(0.03, 3.0)}
    assert model.geom("floor").pos[2] == -0.025
    np.testing.assert_allclose(mat.friction, [1, 0.1, 0.1])
    leg = model.geom("bug1/shank_6")
    np.testing.assert_allclose(leg.friction, [1, 0.5, 0.5])
    assert (leg.condim[0], leg.margin[0]) == (3, 0.01)


def test_two_kinds_of_physics_differ_in_the_integrator_only():
    one, two = (compiled("Ant", "Spider", integrator) for integrator in ("rk4", "implicitfast"))
    assert one.opt.integrator != two.opt.integrator
    two.opt.integrator = one.opt.integrator
    compared = 0
    for name in dir(one):
        value = getattr(one, name)
        if not name.startswith("_") and isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, getattr(two, name), err_msg=name)
            compared += 1
    assert compared > 200
    for name in ("timestep", "iterations", "solver", "cone", "impratio", "tolerance", "disableflags"):
        assert getattr(one.opt, name) == getattr(two.opt, name)


def test_sides_are_told_apart_by_colour():
    model = compiled("Ant", "Ant")
    one, two = (model.geom(f"ant{side}/shank_1").rgba[:3] for side in (0, 1))
    assert np.abs(one - two).max() > 0.4


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="mat must be positive, got 0"):
        compiled("Ant", "Ant", mat=0.0)
    with pytest.raises(ValueError, match="did you mean 'rk4'"):
        compiled("Ant", "Ant", integrator="rk5")
