"""A world of one's own: a cart on a line that must find an unknown place, written with numpy and Gymnasium.

What the suite asks of a world: a `gymnasium.vector.VectorEnv` class, registered as `vector_entry_point`, with
`sample_tasks(num, split, rng)`, `reset(options={"tasks": [...]})`, `horizon` and `num_diverged`, which takes
`autoreset_mode` as an argument.

Run: python examples/own_world.py [--steps 200000]    (about half a minute)
"""

import argparse

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

import metarl


class Cart(VectorEnv):
    """Carts that must reach a place between -1 and 1, which they do not see; test tasks lie on the left."""

    def __init__(self, num_envs: int = 1, horizon: int = 30, autoreset_mode=AutoresetMode.SAME_STEP):
        self.num_envs, self.horizon = num_envs, horizon
        self.single_observation_space = Box(-np.inf, np.inf, (2,), np.float64)
        self.single_action_space = Box(-1, 1, (1,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.metadata = {"autoreset_mode": AutoresetMode(autoreset_mode), "render_modes": []}
        self.num_diverged = 0  # simulations whose physics blew up; these cannot
        self._place = np.zeros(num_envs)

    def sample_tasks(self, num, split="train", rng=None):
        """Plain dicts. Training and test tasks never overlap."""
        rng = np.random.default_rng(rng)
        low, high = {"train": (-0.5, 1.0), "test": (-1.0, -0.5), "all": (-1.0, 1.0)}[split]
        return [{"place": float(place)} for place in rng.uniform(low, high, num)]

    def reset(self, *, seed=None, options=None):
        """All carts back to the middle, with the tasks that are given."""
        if options and "tasks" in options:
            self._place = np.array([task["place"] for task in options["tasks"]])
        self._position, self._velocity = np.zeros(self.num_envs), np.zeros(self.num_envs)
        self._steps = 0
        return self._observe(), {}

    def step(self, actions):
        """All episodes are equally long, so all end together."""
        push = np.clip(np.asarray(actions, float)[:, 0], -1, 1)
        self._velocity = 0.8 * self._velocity + 0.2 * push
        self._position = self._position + 0.2 * self._velocity
        self._steps += 1
        reward = -np.abs(self._position - self._place)
        truncated = np.full(self.num_envs, self._steps >= self.horizon)
        obs, info = self._observe(), {}
        if truncated.all() and self.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP:
            info = {"final_obs": obs}
            obs, _ = self.reset()
        return obs, reward, np.zeros(self.num_envs, bool), truncated, info

    def _observe(self):
        return np.stack([self._position, self._velocity], axis=-1)


gymnasium.register("own/Cart-v0", vector_entry_point=Cart)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200_000, help="environment steps to train for")
    parser.add_argument("--out", default="runs", help="folder for the run")
    args = parser.parse_args()
    sampling = {"tasks": 20, "trajectories": 10}
    run = metarl.train("promp", world="own/Cart-v0", steps=args.steps, out=args.out, sampling=sampling)
    print(run.evaluate(split="test", tasks=10, repeats=5).table())
