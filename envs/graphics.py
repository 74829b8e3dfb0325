"""Which OpenGL to draw with. To be chosen before mujoco is imported, which settles on one at its import."""

import os
import sys

HELP = (
    "Drawing needs OpenGL. Without a screen `apt-get install libegl1 libgles2` and set MUJOCO_GL=egl, or "
    "`apt-get install libosmesa6` and set MUJOCO_GL=osmesa, before mujoco is imported."
)


def has_screen() -> bool:
    """Whether windows can be opened, as far as the environment tells."""
    return not sys.platform.startswith("linux") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )


def choose_backend() -> None:
    """Draw off screen through EGL where there is no screen and nothing else was asked for."""
    if not has_screen():
        os.environ.setdefault("MUJOCO_GL", "egl")
