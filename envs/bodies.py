"""Creatures and scenery, built with MjSpec on Gymnasium's own assets (MIT licence).

The assets are read as files: importing ``gymnasium.envs.mujoco`` would ask for packages that only its own
renderer needs. Scenery (floor, sky, light) never touches the physics.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import mujoco

from metarl.names import unknown

INTEGRATORS = {
    "euler": mujoco.mjtIntegrator.mjINT_EULER,
    "rk4": mujoco.mjtIntegrator.mjINT_RK4,
    "implicit": mujoco.mjtIntegrator.mjINT_IMPLICIT,
    "implicitfast": mujoco.mjtIntegrator.mjINT_IMPLICITFAST,
}


def load(asset: str, integrator: str | None = None, time_step: float | None = None) -> mujoco.MjSpec:
    """One of Gymnasium's bodies, with our scenery.

    Args:
        asset: File name, such as ``"ant.xml"``.
        integrator: ``"euler"``, ``"rk4"``, ``"implicit"`` or ``"implicitfast"``; by default the asset's own.
        time_step: Seconds for each physics step; by default the asset's own.

    Returns:
        The specification, free to be changed and compiled.

    Raises:
        ValueError: If the integrator is unknown or the time step not positive.
    """
    path = files("gymnasium").joinpath("envs", "mujoco", "assets", asset)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*settotalmass.*", category=UserWarning)
        spec = mujoco.MjSpec.from_string(path.read_text())
    set_physics(spec, integrator, time_step)
    add_scenery(spec)
    return spec


def set_physics(spec: mujoco.MjSpec, integrator: str | None, time_step: float | None) -> None:
    """Set what is not None."""
    if integrator is not None:
        if integrator not in INTEGRATORS:
            raise unknown("integrator", integrator, INTEGRATORS)
        spec.option.integrator = INTEGRATORS[integrator]
    if time_step is not None:
        if not time_step > 0:
            raise ValueError(f"time_step must be positive, got {time_step}")
        spec.option.timestep = time_step


@dataclass(frozen=True)
class Leg:
    """A leg of three capsules in a row, all in one vertical plane through the torso's centre.

    The first is part of the torso's side, the hip turns the second about the vertical, the ankle bends the third down.
    """

    name: str
    """Ends the names of its joints and motors: ``hip_<name>``, ``ankle_<name>``."""
    shoulder: tuple[float, float]
    """From the torso's centre to the hip, along x and y, m."""
    thigh: tuple[float, float]
    """From the hip to the ankle, m."""
    shank: tuple[float, float]
    """From the ankle to the foot, with the ankle at 0, m."""


def legged(
    legs: Sequence[Leg],
    *,
    density: float,
    integrator: str | None = None,
    time_step: float = 0.01,
    height: float = 0.5,
    ankle: float = math.radians(50),
) -> mujoco.MjSpec:
    """A sphere on legs that stands on a floor, with our scenery.

    Torso of radius 0.25 m, legs of radius 0.08 m; hips turn 30 degrees either way, ankles bend 30 to 70 degrees. Every
    joint has armature 1 kg m^2, damping 1 N m s/rad and a motor of 150 N m. Its floor, contacts and joints have the
    numbers of the sumo scene of Al-Shedivat et al. 2018.

    Args:
        legs: In the order of joints and motors: hip, then ankle of each.
        density: Of all parts, kg/m^3.
        integrator: As in :func:`load`.
        time_step: Seconds for each physics step.
        height: Of the torso's centre at the start, m.
        ankle: All ankles' angle at the start, rad.

    Raises:
        ValueError: If the integrator is unknown or the time step not positive.
    """
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    set_physics(spec, integrator, time_step)
    spec.default.joint.armature, spec.default.joint.damping[0] = 1.0, 1.0
    spec.default.geom.friction = [1.0, 0.5, 0.5]
    spec.default.geom.margin, spec.default.geom.density = 0.01, density
    spec.default.geom.rgba = [0.80, 0.62, 0.35, 1.0]
    plane = mujoco.mjtGeom.mjGEOM_PLANE
    spec.worldbody.add_geom(name="floor", type=plane, size=[80, 80, 80], friction=[1.0, 0.1, 0.1])
    torso = spec.worldbody.add_body(name="torso", pos=[0, 0, height])
    torso.add_freejoint(name="root")
    torso.add_geom(name="torso", type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[0.25, 0, 0])
    start = [0.0, 0.0, height, 1.0, 0.0, 0.0, 0.0]
    for leg in legs:
        _add_leg(spec, torso, leg)
        start += [0.0, ankle]
    spec.add_key(name="start", qpos=start)
    add_scenery(spec)
    return spec


def _add_leg(spec: mujoco.MjSpec, torso: mujoco.MjsBody, leg: Leg) -> None:
    hinge, (dx, dy) = mujoco.mjtJoint.mjJNT_HINGE, leg.thigh
    _capsule(torso, f"shoulder_{leg.name}", leg.shoulder)
    thigh = torso.add_body(name=f"thigh_{leg.name}", pos=[*leg.shoulder, 0])
    hip_range, ankle_range = [-math.radians(30), math.radians(30)], [math.radians(30), math.radians(70)]
    thigh.add_joint(name=f"hip_{leg.name}", type=hinge, axis=[0, 0, 1], range=hip_range)
    _capsule(thigh, f"thigh_{leg.name}", leg.thigh)
    shank = thigh.add_body(name=f"shank_{leg.name}", pos=[*leg.thigh, 0])
    shank.add_joint(name=f"ankle_{leg.name}", type=hinge, axis=[-dy, dx, 0], range=ankle_range)
    _capsule(shank, f"shank_{leg.name}", leg.shank)
    for joint in (f"hip_{leg.name}", f"ankle_{leg.name}"):
        motor = spec.add_actuator(name=joint, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        motor.gear[0] = 150
        motor.ctrlrange = [-1, 1]


def _capsule(body: mujoco.MjsBody, name: str, to: tuple[float, float]) -> None:
    body.add_geom(name=name, type=mujoco.mjtGeom.mjGEOM_CAPSULE, size=[0.08, 0, 0], fromto=[0, 0, 0, *to, 0])


def add_scenery(spec: mujoco.MjSpec) -> None:
    """Floor with a grid, sky and soft light; the geom named ``floor`` is dressed if there is one."""
    for texture in list(spec.textures):
        if texture.type == mujoco.mjtTexture.mjTEXTURE_SKYBOX:
            spec.delete(texture)
    spec.add_texture(
        name="metarl_sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.55, 0.70, 0.85],
        rgb2=[0.92, 0.95, 0.97],
        width=256,
        height=256,
    )
    spec.add_texture(
        name="metarl_floor",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=[0.40, 0.47, 0.53],
        rgb2=[0.46, 0.53, 0.59],
        mark=mujoco.mjtMark.mjMARK_EDGE,
        markrgb=[0.62, 0.68, 0.73],
        width=256,
        height=256,
    )
    material = spec.add_material(name="metarl_floor", texrepeat=[0.5, 0.5], texuniform=True, reflectance=0.04)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "metarl_floor"
    floor = spec.geom("floor")
    if floor is not None:
        floor.material = "metarl_floor"
        floor.rgba = [1, 1, 1, 1]
    for light in list(spec.lights):
        spec.delete(light)
    torso = spec.body("torso")
    (torso or spec.worldbody).add_light(
        mode=mujoco.mjtCamLight.mjCAMLIGHT_TRACK if torso else mujoco.mjtCamLight.mjCAMLIGHT_FIXED,
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=[-1.0, -1.0, 4.0],
        dir=[0.25, 0.25, -1.0],
        castshadow=torso is not None,
        diffuse=[0.55, 0.55, 0.55],
        specular=[0.1, 0.1, 0.1],
    )
    visual = spec.visual
    visual.headlight.ambient = [0.35, 0.35, 0.35]
    visual.headlight.diffuse = [0.35, 0.35, 0.35]
    visual.headlight.specular = [0.1, 0.1, 0.1]
    visual.rgba.haze = [0.92, 0.95, 0.97, 1]


def compile_quietly(spec: mujoco.MjSpec) -> mujoco.MjModel:
    """Compile, without a warning about how an asset of Gymnasium's spells its total mass."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*settotalmass.*", category=UserWarning)
        return spec.compile()
