"""Pictures of a simulation, off screen or in a window; nothing is made before the first is asked for."""

import threading
from typing import Any

import mujoco
import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

from metarl.envs import graphics
from metarl.envs.world import Mark, View, World

GEOMS = {
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
    "arrow": mujoco.mjtGeom.mjGEOM_ARROW,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "box": mujoco.mjtGeom.mjGEOM_BOX,
}


class Screen:
    """Draws simulations of a world.

    Args:
        width: Pixels.
        height: Pixels.
    """

    def __init__(self, width: int, height: int):
        if not (1 <= width <= 2048 and 1 <= height <= 2048):
            raise ValueError(f"a picture is 1 to 2048 pixels wide and high, got {width} x {height}")
        self.width, self.height = width, height
        self._renderer: Any = None
        self._viewer: Any = None
        self._threads: list[threading.Thread] = []
        self._shown: tuple[Any, Any] | None = None

    def show(self, world: World, index: int, mode: str | None) -> NDArray[np.uint8] | None:
        """Draw simulation ``index``.

        Returns:
            (height, width, 3) in the mode ``"rgb_array"``; None in the mode ``"human"``, which draws in a
            window.

        Raises:
            gymnasium.error.DependencyNotInstalled: If there is no OpenGL to draw with.
            ValueError: If no mode was chosen.
        """
        if mode is None:
            raise ValueError("nothing to draw in: make the world with render_mode='rgb_array' or 'human'")
        if mode == "human":
            self._show_window(world, index)
            return None
        model, data = world.snapshot(index)
        if self._renderer is None:
            self._renderer = _renderer(model, self.height, self.width)
        renderer = self._renderer
        _copy_colours(model, renderer.model)
        renderer.update_scene(data, _camera(model, world.view))
        _add_marks(renderer.scene, world.marks(index))
        return renderer.render().copy()

    def _show_window(self, world: World, index: int) -> None:
        model, data = world.snapshot(index)
        if self._viewer is None:
            self._shown = (model, data)
            before = set(threading.enumerate())
            self._viewer = _viewer(model, data)
            self._threads = [each for each in threading.enumerate() if each not in before]
            camera = _camera(model, world.view)
            for name in ("type", "trackbodyid", "distance", "azimuth", "elevation", "lookat"):
                setattr(self._viewer.cam, name, getattr(camera, name))
        with self._viewer.lock():
            _copy_colours(model, self._shown[0])
            _copy_state(model, data, *self._shown)
            self._viewer.user_scn.ngeom = 0
            _add_marks(self._viewer.user_scn, world.marks(index))
        self._viewer.sync()

    def close(self) -> None:
        """Free the renderer and the window; harmless when repeated."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
        if self._viewer is not None:
            self._viewer.close()
            for thread in self._threads:  # a window that outlives the interpreter takes it down
                thread.join(timeout=5)
            self._viewer, self._threads = None, []


def _copy_colours(model: Any, to_model: Any) -> None:
    """A world may colour its bodies by task."""
    to_model.geom_rgba[:] = model.geom_rgba


def _copy_state(model: Any, data: Any, to_model: Any, to_data: Any) -> None:
    """Show another moment in the model and data a window was opened on."""
    size = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION)
    state = np.empty(size)
    mujoco.mj_getState(model, data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
    mujoco.mj_setState(to_model, to_data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
    mujoco.mj_forward(to_model, to_data)


def _renderer(model: Any, height: int, width: int) -> Any:
    model.vis.global_.offwidth, model.vis.global_.offheight = width, height
    try:
        return mujoco.Renderer(model, height, width)
    except (
        Exception
    ) as error:  # each OpenGL fails in its own way, some with bare RuntimeError or AttributeError
        raise DependencyNotInstalled(f"{graphics.HELP} ({type(error).__name__}: {error})") from error


def _viewer(model: Any, data: Any) -> Any:
    if not graphics.has_screen():  # asked beforehand, as the viewer would end the whole process
        raise DependencyNotInstalled(
            "a window needs a screen (DISPLAY); use render_mode='rgb_array' without one"
        )
    try:
        from mujoco import viewer

        return viewer.launch_passive(model, data, show_left_ui=False, show_right_ui=False)
    except ImportError as error:
        message = f"a window needs glfw (pip install glfw); use render_mode='rgb_array' without it ({error})"
        raise DependencyNotInstalled(message) from error


def _camera(model: Any, view: View) -> Any:
    camera = mujoco.MjvCamera()
    camera.distance, camera.azimuth, camera.elevation = view.distance, view.azimuth, view.elevation
    if view.track is None:
        camera.type = mujoco.mjtCamera.mjCAMERA_FREE
        camera.lookat[:] = 0
    else:
        camera.type = mujoco.mjtCamera.mjCAMERA_TRACKING
        camera.trackbodyid = model.body(view.track).id
    return camera


def _add_marks(scene: Any, marks: list[Mark]) -> None:
    for mark in marks:
        if scene.ngeom >= scene.maxgeom:
            return
        turn = np.eye(3)
        if mark.kind == "arrow":  # an arrow points along its own z axis
            ahead = np.array([np.cos(mark.heading), np.sin(mark.heading), 0.0])
            side = np.array([-np.sin(mark.heading), np.cos(mark.heading), 0.0])
            turn = np.stack([side, np.cross(ahead, side), ahead], axis=1)
        mujoco.mjv_initGeom(
            scene.geoms[scene.ngeom],
            type=GEOMS[mark.kind],
            size=np.array(mark.size),
            pos=np.array(mark.position),
            mat=turn.flatten(),
            rgba=np.array(mark.color, dtype=np.float32),
        )
        scene.ngeom += 1
