"""Control steps and matches per second of sumo, many at once and one by one, beside the bare physics.

    python benchmarks/robosumo.py                              # into benchmarks/results/robosumo.json
    python benchmarks/robosumo.py --pairings Ant-vs-Ant --physics rk4 --rounds 5

As in benchmarks/worlds.py: random actions, slices in random order, ratios within rounds, by CPU time and by wall time.
The floor is the same model stepped in C++ from the same states by the same threads, with nothing observed, judged or
begun anew. Random wrestlers hop out of the ring early, so the beginnings of matches weigh more here than in play. Matches
per second are those of full length: control steps per second over 500.
"""

import argparse
import os
from pathlib import Path

import numpy as np
from worlds import Contender, race, summary

from metarl.configs import write_json
from metarl.envs.sumo import PAIRINGS, PHYSICS
from metarl.envs.sumo_matches import SumoMatches
from metarl.envs.sumo_parallel import AGENTS, parallel_env
from metarl.provenance import measurement

LENGTH = 500


def floor(world, bare: SumoMatches) -> Contender:
    """The physics of a world, stepped bare."""
    batch, skip = bare.world.simulation._batch, bare.world.simulation.frame_skip
    ctrl = batch.bind("ctrl")

    def step(actions):
        ctrl[...] = actions
        batch.step(nstep=skip)

    def before():
        bare.world.simulation.set_state(world.simulation.get_state())

    return Contender(f"floor {bare.num_matches}", bare.num_matches, step, bare.close, before)


def many(pairing: str, physics: str, num: int, threads: int) -> list[Contender]:
    """Matches at once, and their floor."""
    env, bare = (SumoMatches(pairing, num, physics=physics, num_threads=threads) for _ in range(2))
    env.reset(seed=0), bare.reset(seed=0)
    split = env.world.action_sizes[0]
    face = Contender(
        f"matches {num}", num, lambda actions: env.step((actions[:, :split], actions[:, split:])), env.close
    )
    return [face, floor(env.world, bare)]


def alone(pairing: str, physics: str) -> list[Contender]:
    """One match as a PettingZoo environment, and its floor."""
    env, bare = (
        parallel_env(pairing, physics=physics),
        SumoMatches(pairing, 1, physics=physics, num_threads=1),
    )
    env.reset(seed=0), bare.reset(seed=0)
    split = env.action_space(AGENTS[0]).shape[0]

    def step(actions):
        env.step({AGENTS[0]: actions[0, :split], AGENTS[1]: actions[0, split:]})
        if not env.agents:
            env.reset()

    return [Contender("parallel_env 1", 1, step, env.close), floor(env._matches.world, bare)]


def measure(pairing: str, physics: str, options: argparse.Namespace) -> dict:
    """Rates of a pairing, many matches with all threads and one with one, and their shares of the floor."""
    size = sum(SumoMatches(pairing).world.action_sizes)
    rates = {}
    for num in options.sizes:
        found = many(pairing, physics, num, options.threads)
        rates.update(race(found, size, options.rounds, options.seconds, options.threads))
    rates.update(race(alone(pairing, physics), size, options.rounds, options.seconds, 1))
    result: dict = {"rates": {}, "shares_of_the_floor": {}}
    for name, clocks in rates.items():
        result["rates"][name] = {clock: summary(raw) for clock, raw in clocks.items()}
        result["rates"][name]["matches"] = float(f"{np.median(clocks['cpu']) / LENGTH:.4g}")
        if "floor" not in name:
            below = rates[f"floor {name.split()[-1]}"]
            result["shares_of_the_floor"][name] = {
                clock: summary(np.array(clocks[clock]) / np.array(below[clock])) for clock in clocks
            }
    return result


def main() -> None:
    """Read the command line, measure, write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairings", nargs="+", choices=PAIRINGS, default=list(PAIRINGS))
    parser.add_argument("--physics", nargs="+", choices=PHYSICS, default=list(PHYSICS))
    parser.add_argument("--sizes", type=int, nargs="+", default=[64], help="matches at once")
    parser.add_argument("--rounds", type=int, default=15, help="slices of each contender")
    parser.add_argument("--seconds", type=float, default=0.3, help="length of a slice")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "robosumo.json")
    options = parser.parse_args()
    result = {**measurement("pettingzoo"), "unit": "control steps per second", "threads": options.threads}
    result.update(rounds=options.rounds, seconds=options.seconds, pairings={})
    for pairing in options.pairings:
        for physics in options.physics:
            found = measure(pairing, physics, options)
            result["pairings"].setdefault(pairing, {})[physics] = found
            for name, share in found["shares_of_the_floor"].items():
                rate, part = found["rates"][name], share["cpu"]
                print(
                    f"{pairing:18s} {physics:5s} {name:15s} {rate['cpu']['median']:8,.0f} steps/s "
                    f"{rate['matches']:6.2f} matches/s {part['median']:5.2f} [{part['low']:.2f}, {part['high']:.2f}]",
                    flush=True,
                )
    write_json(options.out, result)
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
