"""Worlds: what changes, and how.

Importing this registers the ids with Gymnasium and nothing more: MuJoCo is imported when a world is made.
"""

from gymnasium.envs.registration import register, registry

WORLDS: dict[str, str] = {
    "metarl/PointNavigation-v0": "A point in the plane must find a goal that only its distance tells of.",
    "metarl/CheetahDir-v0": "A planar cheetah must run forward or backward; only the reward tells which.",
    "metarl/CheetahVel-v0": "A planar cheetah must run at a speed that only the reward tells.",
}
"""What there is to make with ``gymnasium.make`` and ``gymnasium.make_vec``: id -> one line."""

_PLACES = {
    "metarl/PointNavigation-v0": "point:PointNavigation",
    "metarl/CheetahDir-v0": "cheetah:CheetahDir",
    "metarl/CheetahVel-v0": "cheetah:CheetahVel",
}


def _register() -> None:
    for world, place in _PLACES.items():
        if world not in registry:
            register(
                world,
                entry_point="metarl.envs.faces:WorldEnv",
                vector_entry_point="metarl.envs.faces:WorldVectorEnv",
                kwargs={"world": place},
            )


_register()
