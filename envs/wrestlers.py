"""The three wrestlers of the sumo world and their mat, built with MjSpec from published numbers."""

import math
from dataclasses import dataclass

import mujoco

from metarl.envs.bodies import add_scenery, set_physics

Vector = tuple[float, float, float]

CAPSULE, SPHERE = mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_SPHERE
TORSO_RADIUS = 0.25
MAT_TOP = 0.5
COLORS = ((0.84, 0.33, 0.12), (0.10, 0.42, 0.72))
"""Red, green, blue of the two sides."""


@dataclass(frozen=True)
class Limb:
    """A leg of three capsules in a row: one fixed to the torso, one that the hip turns, one that the ankle bends."""

    shoulder: Vector
    """From the torso's centre to the hip, m."""
    thigh: Vector
    """From the hip to the ankle, m."""
    shank: Vector
    """From the ankle to the foot, with the ankle at 0, m."""
    axis: tuple[float, float]
    """Axis of the ankle in the plane of the floor."""
    ankle: tuple[float, float]
    """Range of the ankle, degrees."""


@dataclass(frozen=True)
class Anatomy:
    """A sphere on legs."""

    limbs: tuple[Limb, ...]
    """In the order of bodies, joints and motors: hip, then ankle of each."""
    radius: float
    """Of the legs, m."""
    hip: float
    """How far hips turn either way, degrees."""
    density: float
    """Of the torso, kg/m^3."""
    leg_density: float
    """Of the legs, kg/m^3."""

    @property
    def num_bodies(self) -> int:
        """The torso, and three bodies for each leg."""
        return 1 + 3 * len(self.limbs)

    @property
    def action_size(self) -> int:
        """A hip and an ankle for each leg."""
        return 2 * len(self.limbs)

    @property
    def observation_size(self) -> int:
        """Numbers that a wrestler with this body observes, see :class:`metarl.envs.sumo.RoboSumo`."""
        return 13 + 2 * self.action_size + 6 * self.num_bodies + 13


def _ankle(x: float, low: float, high: float) -> tuple[float, float]:
    """Range on the side of the sign of x: ankle axes point to +y on both sides, so that angles are mirrored."""
    return (low, high) if x > 0 else (-high, -low)


def _flat(x: int, y: int, *lengths: tuple[float, float]) -> Limb:
    """Limb of an ant or a bug on the side of the signs of x and y (0 for the middle), its parts at these places."""
    shoulder, thigh, shank = ((a * x, b * y, 0.0) for a, b in lengths)
    return Limb(shoulder, thigh, shank, axis=(-float(x * y), 1.0), ankle=_ankle(x, 30, 70))


def _high(x: int, shoulder: tuple, thigh: tuple, shank: tuple, axis: tuple) -> Limb:
    """Limb of a spider: it rises over the torso's middle and falls to the floor from there."""
    parts = ((x * a, b, z) for (a, b), z in ((shoulder, 0.125), (thigh, 0.113), (shank, -0.6)))
    return Limb(*parts, axis=(x * axis[0], axis[1]), ankle=_ankle(x, -45, 35))


def _ant() -> Anatomy:
    sides = ((-1, 1), (1, 1), (-1, -1), (1, -1))
    parts = ((0.2, 0.2), (0.2, 0.2), (0.4, 0.4))
    return Anatomy(tuple(_flat(x, y, *parts) for x, y in sides), 0.08, 30, 13.0, 13.0)


def _bug() -> Anatomy:
    corner, middle = ((0.18, 0.215), (0.18, 0.215), (0.324, 0.387)), ((0.2, 0), (0.275, 0), (0.55, 0))
    sides = ((1, 1), (-1, 1), (-1, 0), (1, 0), (-1, -1), (1, -1))
    return Anatomy(tuple(_flat(x, y, *(corner if y else middle)) for x, y in sides), 0.08, 30, 10.0, 10.0)


def _spider() -> Anatomy:
    left = (
        ((0.056, 0.209), (0.050, 0.188), (0.112, 0.418), (-0.97, 0.26)),
        ((0.188, 0.108), (0.170, 0.097), (0.376, 0.216), (-0.50, 0.87)),
        ((0.209, -0.056), (0.188, -0.050), (0.418, -0.112), (0.26, 0.97)),
        ((0.108, -0.188), (0.097, -0.170), (0.216, -0.376), (0.87, 0.50)),
    )
    limbs = tuple(_high(x, *parts) for parts in left for x in (-1, 1))
    return Anatomy(limbs, 0.04, 20, 39.0, leg_density=5.0)


ANATOMIES = {"Ant": _ant(), "Bug": _bug(), "Spider": _spider()}
"""Of the sumo world of Al-Shedivat et al. 2018; densities as calibrated there (appendix D.3)."""


def scope(name: str, side: int) -> str:
    """What the names of a wrestler's parts begin with, such as ``"ant0/"``."""
    return f"{name.lower()}{side}/"


def scene(
    names: tuple[str, str], *, integrator: str, time_step: float = 0.01, mat: float = 2.0
) -> mujoco.MjSpec:
    """Two wrestlers over a square mat, one beside the other; where a match starts is not for the body to say.

    Each torso carries an accelerometer. What it measures is of no use, but its being there makes MuJoCo compute contact
    forces (``cfrc_ext``) within each physics step, which it otherwise leaves at zero.

    Args:
        names: Names of two anatomies.
        integrator: As in :func:`metarl.envs.bodies.load`.
        time_step: Seconds for each physics step.
        mat: Half the side of the square within the border, m; the mat itself goes on for 0.3 m.

    Raises:
        ValueError: If a number is not positive or the integrator unknown.
    """
    if not (math.isfinite(mat) and mat > 0):
        raise ValueError(f"mat must be positive, got {mat}")
    spec = mujoco.MjSpec()
    set_physics(spec, integrator, time_step)
    spec.default.joint.armature, spec.default.joint.damping[0] = 1.0, 1.0
    _add_mat(spec, mat)
    for side, name in enumerate(names):
        _add_wrestler(spec, ANATOMIES[name], scope(name, side), COLORS[side])
    add_scenery(spec)
    for light in spec.lights:
        light.castshadow = True
    return spec


def _add_mat(spec: mujoco.MjSpec, half: float) -> None:
    """Floor, mat and border; they have a friction of their own."""
    plane, box, cylinder = (
        getattr(mujoco.mjtGeom, f"mjGEOM_{kind}") for kind in ("PLANE", "BOX", "CYLINDER")
    )
    friction = [1.0, 0.1, 0.1]
    world = spec.worldbody
    world.add_geom(name="floor", type=plane, size=[20, 20, 0.125], pos=[0, 0, -0.025], friction=friction)
    wide, middle = half + 0.3, MAT_TOP / 2
    world.add_geom(
        name="mat",
        type=box,
        size=[wide, wide, middle],
        pos=[0, 0, middle],
        friction=friction,
        rgba=[0.80, 0.74, 0.55, 1],
    )
    corners = [(-half, -half), (half, -half), (half, half), (-half, half)]
    for number, (start, end) in enumerate(zip(corners, corners[1:] + corners[:1], strict=True)):
        world.add_geom(
            name=f"border_{number}",
            type=cylinder,
            size=[0.03, 0, 0],
            fromto=[*start, MAT_TOP, *end, MAT_TOP],
            rgba=[0.18, 0.20, 0.30, 1],
        )


def _add_wrestler(spec: mujoco.MjSpec, anatomy: Anatomy, prefix: str, color: Vector) -> None:
    torso = spec.worldbody.add_body(name=f"{prefix}torso", pos=[0, 0, 0.75])
    torso.add_freejoint(name=f"{prefix}root")
    dark = [0.75 * part for part in color]
    torso.add_geom(
        name=f"{prefix}torso", type=SPHERE, size=[TORSO_RADIUS, 0, 0], **_matter(anatomy.density, dark)
    )
    torso.add_site(name=f"{prefix}imu")
    spec.add_sensor(
        name=f"{prefix}acceleration",
        type=mujoco.mjtSensor.mjSENS_ACCELEROMETER,
        objtype=mujoco.mjtObj.mjOBJ_SITE,
        objname=f"{prefix}imu",
    )
    for number, limb in enumerate(anatomy.limbs, start=1):
        _add_limb(spec, torso, anatomy, limb, prefix, number, color)


def _add_limb(spec, torso, anatomy: Anatomy, limb: Limb, prefix: str, number: int, color: Vector) -> None:
    hinge, matter = mujoco.mjtJoint.mjJNT_HINGE, _matter(anatomy.leg_density, color)
    hip, ankle = f"{prefix}hip_{number}", f"{prefix}ankle_{number}"
    body, place = torso, (0.0, 0.0, 0.0)
    for part in ("shoulder", "thigh", "shank"):
        name, along = f"{prefix}{part}_{number}", getattr(limb, part)
        body = body.add_body(name=name, pos=place)
        size, ends = [anatomy.radius, 0, 0], [0, 0, 0, *along]
        body.add_geom(name=name, type=CAPSULE, size=size, fromto=ends, **matter)
        if part == "thigh":
            body.add_joint(name=hip, type=hinge, axis=[0, 0, 1], range=[-anatomy.hip, anatomy.hip])
        elif part == "shank":
            body.add_joint(name=ankle, type=hinge, axis=[*limb.axis, 0], range=limb.ankle)
        place = along
    for joint in (hip, ankle):
        motor = spec.add_actuator(name=joint, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        motor.gear[0] = 150
        motor.ctrlrange = [-1, 1]


def _matter(density: float, color) -> dict:
    """Of a wrestler's geoms."""
    return dict(density=density, friction=[1.0, 0.5, 0.5], margin=0.01, rgba=[*color, 1.0])
