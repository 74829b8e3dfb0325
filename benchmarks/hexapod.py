"""The hexapod's physics: does a faster integrator play the same, and how fast is the world beside its own floor?

    python benchmarks/hexapod.py RUN [RUN ...]      # into benchmarks/results/hexapod.json

Returns: the policies of some runs (agent `ppo`), each trained under the physics its run says, act in every task of the
list under each of the settings, from the same starts. Given is the mean difference to RK4 at 0.01 s over those starts,
with a 95 % interval. Throughput: as in benchmarks/worlds.py, random actions, ratios within rounds; the floor is the bare
physics of the same setting.
"""

import argparse

import numpy as np
import torch
from worlds import race, summary, world_and_floor

from metarl.agents.experiments import open_run
from metarl.agents.rollouts import make_world
from metarl.configs import write_json
from metarl.provenance import measurement

WORLD = "metarl/HexapodLegFailure-v0"
PHYSICS = {
    "rk4, 0.01 s": {"integrator": "rk4", "time_step": 0.01, "frame_skip": 5},
    "implicitfast, 0.005 s": {"integrator": "implicitfast", "time_step": 0.005, "frame_skip": 10},
    "implicitfast, 0.01 s": {"integrator": "implicitfast", "time_step": 0.01, "frame_skip": 5},
    "euler, 0.01 s": {"integrator": "euler", "time_step": 0.01, "frame_skip": 5},
    "rk4, 0.005 s": {"integrator": "rk4", "time_step": 0.005, "frame_skip": 10},
}
REFERENCE = "rk4, 0.01 s"


def returns(model, tasks: list[dict], physics: dict) -> tuple[np.ndarray, np.ndarray]:
    """Return and speed (m/s) of one episode in each task, the same starts and noise whatever the physics."""
    env = make_world(WORLD, len(tasks), **physics)
    torch.manual_seed(0)
    obs, _ = env.reset(seed=0, options={"tasks": tasks})
    total, speed = np.zeros(len(tasks)), np.zeros(len(tasks))
    for _ in range(env.horizon):
        obs, reward, _, _, info = env.step(model.predict(obs)[0])
        total += reward
        speed += info["forward_velocity"] / env.horizon
    env.close()
    return total, speed


def interval(differences: np.ndarray) -> list[float]:
    """95 % interval of their mean (normal approximation)."""
    error = 1.96 * differences.std(ddof=1) / np.sqrt(len(differences))
    return [float(differences.mean() - error), float(differences.mean() + error)]


def compare(path: str, repeats: int) -> dict:
    """One run's policy under every setting."""
    run = open_run(path)
    model = run.agent
    env = make_world(WORLD, 1)
    tasks = [
        task for lifetime in env.enumerate_lifetimes("all") for task in lifetime[::2] for _ in range(repeats)
    ]
    env.close()
    whole = np.array([task["torque"] == 1.0 for task in tasks])
    found = {name: returns(model, tasks, physics) for name, physics in PHYSICS.items()}
    return {
        "run": {"seed": run.experiment.seed, "physics": run.experiment.world_options},
        "episodes": len(tasks),
        "settings": {
            name: {
                "return": float(total.mean()),
                "speed_with_all_legs": float(speed[whole].mean()),
                "difference": float((total - found[REFERENCE][0]).mean()),
                "interval_95": interval(total - found[REFERENCE][0]),
            }
            for name, (total, speed) in found.items()
        },
    }


def throughput(rounds: int, threads: int) -> dict:
    """Steps per second of the world and of its floor under the main settings, and their ratio."""
    found = [
        each
        for name in list(PHYSICS)[:3]
        for each in world_and_floor(WORLD, PHYSICS[name], f"metarl {name}", threads)
    ]
    rates = {name: np.array(clocks["cpu"]) for name, clocks in race(found, 12, rounds, 0.2, threads).items()}
    result = {name: summary(values) for name, values in rates.items()}
    for name in [name for name in rates if "floor" not in name]:
        label, num = name.rsplit(" ", 1)
        result[f"{name} / floor"] = summary(rates[name] / rates[f"{label} floor {num}"])
    return result


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--repeats", type=int, default=8, help="starts in each task")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default="benchmarks/results/hexapod.json")
    args = parser.parse_args()
    policies = [compare(path, args.repeats) for path in args.runs]
    for policy in policies:
        print(policy["run"])
        for name, row in policy["settings"].items():
            low, high = row["interval_95"]
            print(
                f"  {name:24s} return {row['return']:7.1f}  difference [{low:6.1f}, {high:6.1f}]  "
                f"{row['speed_with_all_legs']:.2f} m/s"
            )
    speeds = throughput(args.rounds, args.threads)
    for name, row in speeds.items():
        print(f"  {name:44s} {row['median']:9.4g} [{row['low']:.4g}, {row['high']:.4g}]")
    write_json(
        args.out,
        {
            **measurement(),
            "policies": policies,
            "unit": "environment steps per second of CPU time and thread",
            "throughput": speeds,
        },
    )


if __name__ == "__main__":
    main()
