"""Worlds: what changes, and how.

Importing this registers the ids with Gymnasium, chooses which OpenGL to draw with where there is no screen,
and does nothing more: MuJoCo is imported when a world is made.
"""

from itertools import product

from gymnasium.envs.registration import register, registry

from metarl.envs import graphics

_WRESTLERS = {"Ant": "An ant", "Bug": "A bug", "Spider": "A spider"}

WORLDS: dict[str, str] = {
    "metarl/PointNavigation-v0": "A point in the plane must find a goal that only its distance tells of.",
    "metarl/CheetahDir-v0": "A planar cheetah must run forward or backward; only the reward tells which.",
    "metarl/CheetahVel-v0": "A planar cheetah must run at a speed that only the reward tells.",
    "metarl/AntDir-v0": "A four-legged ant must run forward or backward; only the reward tells which.",
    "metarl/AntGoal-v0": "A four-legged ant must go to a place that only its distance tells of.",
    "metarl/HopperParams-v0": "A hopper must run in a body whose masses, damping and friction change.",
    "metarl/WalkerParams-v0": "A walker must run in a body whose masses, damping and friction change.",
    "metarl/HexapodLegFailure-v0": "A six-legged walker must run while two of its legs lose their strength.",
    **{
        f"metarl/RoboSumo-{one}-vs-{two}-v0": f"{first} must push {second.lower()} out of the ring, or down."
        for (one, first), (two, second) in product(_WRESTLERS.items(), repeat=2)
    },
}
"""What there is to make with ``gymnasium.make`` and ``gymnasium.make_vec``: id -> one line."""

_PLACES = {
    "metarl/PointNavigation-v0": "point:PointNavigation",
    "metarl/CheetahDir-v0": "cheetah:CheetahDir",
    "metarl/CheetahVel-v0": "cheetah:CheetahVel",
    "metarl/AntDir-v0": "ant:AntDir",
    "metarl/AntGoal-v0": "ant:AntGoal",
    "metarl/HopperParams-v0": "walkers:HopperParams",
    "metarl/WalkerParams-v0": "walkers:WalkerParams",
    "metarl/HexapodLegFailure-v0": "hexapod:HexapodLegFailure",
}
_SUMO = "sumo_single:RoboSumoSingle"


def _register() -> None:
    arguments = {world: {"world": place} for world, place in _PLACES.items()}
    for one, two in product(_WRESTLERS, repeat=2):
        pairing = f"{one}-vs-{two}"
        arguments[f"metarl/RoboSumo-{pairing}-v0"] = {"world": _SUMO, "pairing": pairing}
    for world, kwargs in arguments.items():
        if world not in registry:
            register(
                world,
                entry_point="metarl.envs.scalar:WorldEnv",
                vector_entry_point="metarl.envs.vector:WorldVectorEnv",
                kwargs=kwargs,
            )


graphics.choose_backend()
_register()
