"""Creatures and scenery, built with MjSpec on Gymnasium's own assets (MIT licence).

The assets are read as files: importing ``gymnasium.envs.mujoco`` would ask for packages that only its own
renderer needs. Scenery (floor, sky, light) never touches the physics.
"""

import warnings
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
    if integrator is not None:
        if integrator not in INTEGRATORS:
            raise unknown("integrator", integrator, INTEGRATORS)
        spec.option.integrator = INTEGRATORS[integrator]
    if time_step is not None:
        if not time_step > 0:
            raise ValueError(f"time_step must be positive, got {time_step}")
        spec.option.timestep = time_step
    add_scenery(spec)
    return spec


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
