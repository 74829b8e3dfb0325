"""Many MuJoCo simulations of one model, stepped together in C++ threads."""

import os
from typing import Any

import mujoco
import numpy as np
from mujoco.batch import Batch, SimulationError

# MuJoCo itself calls a position, velocity or acceleration beyond this bad (mjMAXVAL).
LARGEST = 1e10
BAD = slice(int(mujoco.mjtWarning.mjWARN_BADQPOS), int(mujoco.mjtWarning.mjWARN_BADQACC) + 1)


def available_threads() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Simulation:
    """``num`` simulations of a model; one call is one control step of all of them.

    The arrays are live views: what is written into ``qpos`` and ``qvel`` is the state at the next call.

    Attributes:
        num: Number of simulations.
        qpos: Positions, (num, nq).
        qvel: Velocities, (num, nv).
        dt: Seconds per control step.
    """

    def __init__(self, model: mujoco.MjModel, num: int, *, frame_skip: int, num_threads: int | None = None):
        """Make the simulations, all in the model's initial state: its first keyframe if it has one.

        Args:
            model: The compiled model; it is copied.
            num: Number of simulations.
            frame_skip: Physics steps per control step.
            num_threads: C++ threads; by default as many as there are cores, and simulations to give them.

        Raises:
            ValueError: If a number is not positive.
        """
        for name, value in (("num_envs", num), ("frame_skip", frame_skip), ("num_threads", num_threads)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.model, self.num, self.frame_skip = model, num, frame_skip
        self.dt = frame_skip * model.opt.timestep
        self._batch = Batch(model, num, nthread=min(num, num_threads or available_threads()))
        self.qpos, self.qvel, self._ctrl = (self._batch.bind(name) for name in ("qpos", "qvel", "ctrl"))
        # Positions and velocities lie side by side in a state row: one block to look for bad numbers in.
        self._motion = self._batch.state[:, 1 : 1 + model.nq + model.nv]
        self._warnings = self._batch.warning[:, BAD, 1]
        if model.nkey:
            self.qpos[...] = model.key_qpos[0]
        self._initial = self._batch.state[0].copy()
        self._pristine: dict[str, np.ndarray] = {}

    def bind(self, field: str) -> np.ndarray:
        """Live (num, ...) array of an mjData field; derived ones are those of the last physics step."""
        return self._batch.bind(field)

    def reset(self, ids: np.ndarray) -> None:
        """Put simulations back into the model's initial state; model parameters stay as they are."""
        self._batch.state[ids] = self._initial
        self._batch.warning[ids] = 0

    def forward(self, ids: np.ndarray) -> None:
        """Bring derived fields up to date after writing a state. Ids sorted and unique."""
        self._batch.forward(ids)

    def step(self, ctrl: np.ndarray, ids: np.ndarray | None = None) -> np.ndarray | None:
        """One control step.

        MuJoCo resets a simulation that diverges, silently, and goes on: it is found here by its warnings and
        by looking for bad numbers, and put into the initial state: no bad number is ever left behind.

        Args:
            ctrl: Controls, (num, nu).
            ids: Simulations to step, sorted and unique; all by default.

        Returns:
            Mask (num,) of those that diverged, or None if none did.
        """
        self._ctrl[...] = ctrl
        failed = None
        try:
            self._batch.step(ids, nstep=self.frame_skip)
        except SimulationError as error:
            failed = error.ids
        well = failed is None and not self._warnings.any()
        # Written so that a NaN, for which every comparison is false, is found as well.
        if well and self._motion.max() < LARGEST and self._motion.min() > -LARGEST:
            return None
        diverged = self._warnings.any(axis=1) | ~(np.abs(self._motion) < LARGEST).all(axis=1)
        if failed is not None:
            diverged[failed] = True
        self.reset(np.flatnonzero(diverged))
        return diverged

    def scale(self, field: str, ids: np.ndarray, factors: np.ndarray) -> None:
        """Set a model field of some simulations to the model's own values times factors.

        Call :meth:`refresh` once all fields are set.

        Args:
            field: Name of an mjModel field, such as ``"body_mass"``.
            ids: The simulations.
            factors: (len(ids), ...) broadcast against the field.
        """
        if field not in self._pristine:
            self._pristine[field] = np.array(getattr(self.model, field))
        self._batch.expand(field)[ids] = self._pristine[field] * factors

    def refresh(self, ids: np.ndarray) -> None:
        """Recompute what MuJoCo derives from masses, inertias and sizes. Ids sorted and unique."""
        self._batch.set_const(ids)

    def get_state(self) -> np.ndarray:
        """Copy of the whole state, (num, nstate): stepping on from it repeats every number exactly."""
        return self._batch.state.copy()

    def set_state(self, state: np.ndarray) -> None:
        """Put back what :meth:`get_state` gave; model parameters are the caller's to restore."""
        self._batch.state[...] = state
        self._batch.warning[...] = 0

    def snapshot(self, index: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Model and data of one simulation with everything derived computed, for drawing."""
        model = self._batch.get_model(index)
        data = self._batch.get_data(index)
        mujoco.mj_forward(model, data)
        return model, data

    def __getstate__(self) -> Any:
        raise TypeError("simulations cannot be pickled: save get_state() and build them anew")
