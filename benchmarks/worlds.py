"""Environment steps per second of the worlds beside their peers; does a faster integrator play the same?

    python benchmarks/worlds.py                       # speed, into benchmarks/results/worlds.json
    python benchmarks/worlds.py --check-integrator    # into benchmarks/results/integrators.json
    python benchmarks/worlds.py --docs                # the tables of docs/worlds.md, from these files

Speed: every contender takes the same random actions for short slices, in a new random order each round, so
that other load on the machine falls on all alike; ratios are taken within a round. Rates are given for wall
time and for CPU time (of all threads and processes of a contender, divided by the threads it may use). On a
busy machine only the latter is fair: the scheduler gives a contender of 64 processes a larger share than one
of two threads. It forgives the processes their idle waiting, which wall time on a quiet machine does not.
The floor is the bare physics: the same model stepped in C++ from the same states by the same threads, with no
observation and no reward. Peers that are not installed are left out (gymnasium[mujoco], stable-baselines3,
envpool).
"""

import argparse
import json
import multiprocessing
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gymnasium
import numpy as np

import metarl  # noqa: F401  registers the worlds
from metarl.provenance import measurement

ROOT = Path(__file__).resolve().parent
SIZES = (64, 512)
# Gymnasium's id, ours, and the arguments that make ours the same physics and the same ends.
BODIES = {
    "ant": (
        "Ant-v5",
        "metarl/AntDir-v0",
        {"integrator": "rk4", "healthy_height": (0.2, 1.0), "horizon": 1000},
        {"healthy_height": (0.2, 1.0), "horizon": 1000},
    ),
    "cheetah": ("HalfCheetah-v5", "metarl/CheetahDir-v0", {"horizon": 1000}, None),
}


@dataclass
class Contender:
    """Something that steps environments."""

    name: str
    num: int
    step: Callable[[np.ndarray], object]
    close: Callable[[], None]
    before: Callable[[], None] = lambda: None
    steps: int = 5


def _processes(theirs: str, sizes: tuple[int, ...]) -> list[Contender]:
    """Peers with a process for each environment; made first: what forks should have no threads."""
    found = []
    for num in sizes:
        env = gymnasium.make_vec(theirs, num_envs=num, vectorization_mode="async")
        env.reset(seed=0)
        found.append(Contender(f"gymnasium AsyncVectorEnv {num}", num, env.step, env.close))
    try:
        from stable_baselines3.common.env_util import make_vec_env
        from stable_baselines3.common.vec_env import SubprocVecEnv
    except ImportError:
        return found
    for num in sizes:
        env = make_vec_env(theirs, num, vec_env_cls=SubprocVecEnv, vec_env_kwargs={"start_method": "fork"})
        env.reset()
        found.append(Contender(f"SB3 SubprocVecEnv {num}", num, env.step, env.close))
    return found


def _envpool(theirs: str, threads: int) -> list[Contender]:
    try:
        import envpool
    except ImportError:
        return []
    found = []
    for num in SIZES:
        env = envpool.make_gymnasium(theirs, num_envs=num, num_threads=threads, seed=0)
        env.reset()
        seen = env.step(np.full((num, *env.action_space.shape), 0.1))[0]
        assert np.abs(seen).max() > 0, "EnvPool gives zero observations here"
        found.append(Contender(f"EnvPool {num}", num, env.step, env.close))
    return found


def world_and_floor(world: str, arguments: dict, label: str, threads: int) -> list[Contender]:
    """Our vector face, and the floor beneath it: the same batch of simulations, stepped bare."""
    found = []
    for num in SIZES:
        face, bare = (
            gymnasium.make_vec(
                world, num_envs=num, vectorization_mode="vector_entry_point", num_threads=threads, **arguments
            )
            for _ in range(2)
        )
        face.reset(seed=0), bare.reset(seed=0)
        found.append(Contender(f"{label} {num}", num, face.step, face.close))
        upper, lower = face.unwrapped.world.simulation, bare.unwrapped.world.simulation
        batch, ctrl, skip = lower._batch, lower._batch.bind("ctrl"), lower.frame_skip

        def step(actions, batch=batch, ctrl=ctrl, skip=skip):
            ctrl[...] = actions
            batch.step(nstep=skip)

        def before(upper=upper, lower=lower):
            lower.set_state(upper.get_state())

        found.append(Contender(f"{label} floor {num}", num, step, bare.close, before))
    return found


def contenders(body: str, threads: int, process_sizes: tuple[int, ...]) -> list[Contender]:
    """All that can be had for a body."""
    theirs, world, same, default = BODIES[body]
    found = []
    try:
        gymnasium.make(theirs).close()
        found += _processes(theirs, process_sizes)
        sync = gymnasium.make_vec(theirs, num_envs=8, vectorization_mode="sync")
        sync.reset(seed=0)
        found.append(Contender("gymnasium SyncVectorEnv 8", 8, sync.step, sync.close))
    except gymnasium.error.DependencyNotInstalled:
        pass
    found += _envpool(theirs, threads)
    found += world_and_floor(world, same, "metarl", threads)
    if default is not None:
        found += world_and_floor(world, default, "metarl default physics", threads)
    return found


def cpu_seconds() -> float:
    """CPU time of this process and its children, to the nanosecond where the kernel tells it."""
    total = 0
    for pid in (os.getpid(), *(child.pid for child in multiprocessing.active_children())):
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            total += int(path.read_text().split()[0])
    return total / 1e9


def measure(body: str, rounds: int, seconds: float, threads: int, process_sizes: tuple[int, ...]) -> dict:
    """Rates of all that can be had for a body; see `race`."""
    size = gymnasium.make(BODIES[body][1]).action_space.shape[0]
    return race(contenders(body, threads, process_sizes), size, rounds, seconds, threads)


def race(all_of_them: list[Contender], size: int, rounds: int, seconds: float, threads: int) -> dict:
    """Rates of contenders in environment steps per second, by wall and by CPU time, (rounds,) each; closes them.

    Args:
        all_of_them: Contenders, reset.
        size: Number of actions.
        rounds: Slices of each.
        seconds: CPU time of a slice.
        threads: That a contender may use.
    """
    rng = np.random.default_rng(0)
    actions = {each.num: rng.uniform(-1, 1, (32, each.num, size)).astype(np.float64) for each in all_of_them}
    rates: dict[str, dict[str, list[float]]] = {each.name: {"wall": [], "cpu": []} for each in all_of_them}

    def play(each: Contender) -> tuple[float, float]:
        each.before()
        spent, start = cpu_seconds(), time.perf_counter()
        for number in range(each.steps):
            each.step(actions[each.num][number % 32])
        return time.perf_counter() - start, (cpu_seconds() - spent) / threads

    for each in all_of_them:  # warm up: let bodies fall and lie as they do, and size the slices
        for _ in range(2):
            each.steps = max(2, round(each.steps * seconds / max(play(each)[1], 1e-3)))
    for _ in range(rounds):
        for index in rng.permutation(len(all_of_them)):
            each = all_of_them[index]
            wall, cpu = play(each)
            rates[each.name]["wall"].append(each.num * each.steps / wall)
            rates[each.name]["cpu"].append(each.num * each.steps / cpu)
    for each in all_of_them:
        each.close()
    return rates


def summary(values: list[float] | np.ndarray) -> dict:
    """Median, quartiles, and a 95 % bootstrap interval of the median."""
    values, rng = np.asarray(values), np.random.default_rng(0)
    medians = np.median(rng.choice(values, (2000, len(values))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    quarter, three_quarters = np.percentile(values, [25, 75])
    names = ("median", "quartile_1", "quartile_3", "low", "high")
    numbers = (np.median(values), quarter, three_quarters, low, high)
    return {name: float(f"{number:.4g}") for name, number in zip(names, numbers, strict=True)}


def ratios(rates: dict[str, dict[str, list[float]]]) -> dict:
    """Ours over each peer and over the floor, within rounds, by either time."""
    found = {}
    for ours in [name for name in rates if name.startswith("metarl") and "floor" not in name]:
        label, num = ours.rsplit(" ", 1)
        for other in rates:
            same_floor = other == f"{label} floor {num}"
            if same_floor or not other.startswith("metarl"):
                found[f"{ours} / {other}"] = {
                    clock: summary(np.array(rates[ours][clock]) / np.array(rates[other][clock]))
                    for clock in ("wall", "cpu")
                }
    return found


def speed(options: argparse.Namespace) -> dict:
    """Measure all bodies and print the table."""
    result = {**measurement("envpool"), "unit": "environment steps per second", "threads": options.threads}
    result.update(rounds=options.rounds, seconds=options.seconds, bodies={})
    for body in options.bodies:
        rates = measure(body, options.rounds, options.seconds, options.threads, tuple(options.processes))
        shares = ratios(rates)
        result["bodies"][body] = {
            "same_physics_as": BODIES[body][0],
            "rates": {
                name: {
                    clock: {**summary(raw), "raw": np.round(raw).tolist()} for clock, raw in clocks.items()
                }
                for name, clocks in rates.items()
            },
            "ratios": shares,
        }
        print(f"\n{body}: steps/s by wall time, by CPU time")
        for name, clocks in rates.items():
            print(f"  {name:36s} {np.median(clocks['wall']):10,.0f} {np.median(clocks['cpu']):10,.0f}")
        for name, share in shares.items():
            numbers = (
                f"{each['median']:6.2f} [{each['low']:.2f}, {each['high']:.2f}]" for each in share.values()
            )
            print(f"  {name:72s}", *numbers)
    return result


def gait(parameters: np.ndarray, elapsed: int, dt: float, size: int) -> np.ndarray:
    """Open-loop gaits: each joint a sine of its own offset, amplitude and phase at one common frequency.

    Args:
        parameters: (n, 3 A + 1).
        elapsed: Steps since the start.
        dt: Seconds per step.
        size: Number of actions A.
    """
    offset, amplitude, phase = (parameters[:, i * size : (i + 1) * size] for i in range(3))
    frequency = 1.5 + np.tanh(parameters[:, -1:])
    return np.tanh(offset + amplitude * np.sin(2 * np.pi * frequency * elapsed * dt + phase))


def returns(
    world: str, integrator: str, parameters: np.ndarray, seed: int, horizon: int, **more: float
) -> np.ndarray:
    """Return of one episode of each gait, (n,), in the first test task; of ants only the distance run."""
    only_distance = {"survive": 0.0, "control_cost": 0.0, "contact_cost": 0.0} if "Ant" in world else {}
    env = gymnasium.make_vec(
        world,
        num_envs=len(parameters),
        vectorization_mode="vector_entry_point",
        autoreset_mode="Disabled",
        integrator=integrator,
        horizon=horizon,
        **only_distance,
        **more,
    ).unwrapped
    env.reset(seed=seed, options={"task": env.tasks.enumerate("test")[0]})
    total, size = np.zeros(len(parameters)), env.single_action_space.shape[0]
    for elapsed in range(horizon):
        total += env.step(gait(parameters, elapsed, env.world.dt, size))[1]
    env.close()
    return total


def search(world: str, integrator: str, rng: np.random.Generator, horizon: int) -> np.ndarray:
    """A gait that gets somewhere, found by the cross-entropy method; returns the last population, (n, P)."""
    size = gymnasium.make(world).action_space.shape[0]
    mean, spread = np.zeros(3 * size + 1), np.ones(3 * size + 1)
    for number in range(25):
        population = mean + spread * rng.standard_normal((64, len(mean)))
        order = np.argsort(-returns(world, integrator, population, number, horizon))
        elite = population[order[:10]]
        mean, spread = elite.mean(axis=0), elite.std(axis=0) + 0.05
    return np.concatenate((mean[None], population[:31], rng.standard_normal((32, len(mean)))))


def compare(world: str, native: str, foreign: str, options: argparse.Namespace) -> dict:
    """Play gaits that were found under the native integrator under both."""
    horizon = 200
    gaits = search(world, native, np.random.default_rng(0), horizon)
    best = np.repeat(gaits[:1], options.episodes, axis=0)
    here, there = (returns(world, each, best, 1000, horizon) for each in (native, foreign))
    again = returns(world, native, best, 5000, horizon)
    means = np.array(
        [
            np.mean([returns(world, each, gaits, 100 + seed, horizon) for seed in range(8)], axis=0)
            for each in (native, foreign)
        ]
    )
    ranks = np.argsort(np.argsort(means, axis=1), axis=1)
    difference = float(there.mean() - here.mean())
    error = np.sqrt(here.var(ddof=1) / len(here) + there.var(ddof=1) / len(there))
    return {
        "found_under": native,
        "also_under": foreign,
        "return_found": float(here.mean()),
        "return_also": float(there.mean()),
        "standard_deviation": float(here.std(ddof=1)),
        "difference": difference,
        "interval_95": [difference - 1.96 * error, difference + 1.96 * error],
        "ks_distance": ks_distance(here, there),
        "ks_distance_to_itself": ks_distance(here, again),
        "ks_distance_5_percent": float(1.358 * np.sqrt(2 / len(here))),
        "gaits": len(gaits),
        "rank_correlation_of_gaits": float(np.corrcoef(ranks)[0, 1]),
        "correlation_of_gaits": float(np.corrcoef(means)[0, 1]),
    }


def converge(world: str, options: argparse.Namespace) -> list[dict]:
    """The best gaits of two integrators under ever finer time steps: which of the two is near the limit?"""
    found = []
    for native in ("rk4", "implicitfast"):
        best = np.repeat(
            search(world, native, np.random.default_rng(0), 100)[:1], options.episodes // 4, axis=0
        )
        for integrator in ("rk4", "implicitfast"):
            for skip in (5, 10, 20):
                step = 0.05 / skip
                values = returns(world, integrator, best, 1000, 100, time_step=step, frame_skip=skip)
                error = values.std(ddof=1) / np.sqrt(len(values))
                row = {"found_under": native, "integrator": integrator, "time_step": step}
                found.append({**row, "return": float(values.mean()), "standard_error": float(error)})
    return found


def ks_distance(one: np.ndarray, two: np.ndarray) -> float:
    """Largest distance between two empirical distribution functions."""
    places = np.concatenate((one, two))
    below = [np.searchsorted(np.sort(each), places, side="right") / len(each) for each in (one, two)]
    return float(np.abs(below[0] - below[1]).max())


def check_integrators(options: argparse.Namespace) -> dict:
    """Every world whose asset's integrator could be exchanged for a faster one, gaits found under either."""
    result = {**measurement("envpool"), "episodes": options.episodes, "worlds": {}}
    pairs = {
        "metarl/AntDir-v0": ("rk4", "implicitfast"),
        "metarl/CheetahDir-v0": ("euler", "implicitfast"),
        "metarl/HopperParams-v0": ("rk4", "implicitfast"),
        "metarl/WalkerParams-v0": ("rk4", "implicitfast"),
    }
    for world, (slow, fast) in pairs.items():
        found = [compare(world, *pair, options) for pair in ((slow, fast), (fast, slow))]
        result["worlds"][world] = found
        print(world, json.dumps(found, indent=1), flush=True)
    result["time_steps"] = {"metarl/AntDir-v0": converge("metarl/AntDir-v0", options)}
    print(json.dumps(result["time_steps"], indent=1), flush=True)
    return result


def speed_table(result: dict) -> str:
    """The rates and what they are of ours, by CPU time, in Markdown."""
    host = result["hardware"]
    lines = [
        f"{host['processor']}, {result['threads']} threads, commit {result['commit'][:7]}, {result['date']}; "
    ]
    lines[0] += (
        "thousands of environment steps per second by CPU time, and how many times as fast ours is with 64 "
    )
    lines[0] += "simulations (95 % bootstrap interval):"
    for body, found in result["bodies"].items():
        lines += ["", f"| {found['same_physics_as']} | steps/s (k) | ours / this |", "|---|---|---|"]
        for name, rate in found["rates"].items():
            ours = "metarl default physics 64" if "default" in name else "metarl 64"
            ratio = found["ratios"].get(f"{ours} / {name}", {}).get("cpu")
            share = f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]" if ratio else ""
            lines.append(f"| {name} | {rate['cpu']['median'] / 1000:.1f} | {share} |")
        pool = found["ratios"].get("metarl default physics 64 / EnvPool 64", {}).get("cpu")
        if pool:
            lines += [
                "",
                f"AntDir in its default physics is {pool['median']:.2f} times as fast as EnvPool's {body}.",
            ]
    return "\n".join(lines)


def integrator_table(result: dict) -> str:
    """Returns under two integrators in Markdown."""
    head = "| world | gait found under | return | also under | return | change | rank correlation |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for world, pair in result["worlds"].items():
        for each in pair:
            low, high = each["interval_95"]
            change = f"{each['difference']:+.1f} [{low:+.1f}, {high:+.1f}]"
            cells = (world, each["found_under"], f"{each['return_found']:.1f}", each["also_under"])
            more = (f"{each['return_also']:.1f}", change, f"{each['rank_correlation_of_gaits']:.3f}")
            lines.append("| " + " | ".join((*cells, *more)) + " |")
    for world, rows in result.get("time_steps", {}).items():
        lines += ["", f"The best gaits on {world} (distance run, 100 steps) under finer time steps:", ""]
        steps = sorted({row["time_step"] for row in rows}, reverse=True)
        lines.append(
            "| gait found under | integrator | " + " | ".join(f"{step:g} s" for step in steps) + " |"
        )
        lines.append("|---|---|" + "---|" * len(steps))
        for start in range(0, len(rows), len(steps)):
            row = rows[start]
            values = (
                f"{each['return']:.1f} ± {each['standard_error']:.1f}" for each in rows[start:][: len(steps)]
            )
            lines.append("| " + " | ".join((row["found_under"], row["integrator"], *values)) + " |")
    return "\n".join(lines)


def write_docs() -> None:
    """Put the tables between their markers in docs/worlds.md."""
    page = ROOT.parent / "docs" / "worlds.md"
    text = page.read_text()
    for name, file, table in (
        ("speed", "worlds.json", speed_table),
        ("integrators", "integrators.json", integrator_table),
    ):
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, rest = text.split(begin)
        made = table(json.loads((ROOT / "results" / file).read_text()))
        text = f"{before}{begin}\n{made}\n{end}{rest.split(end)[1]}"
    page.write_text(text)


def main() -> None:
    """Read the command line, measure, write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check-integrator", action="store_true", help="compare integrators instead of speed"
    )
    parser.add_argument("--docs", action="store_true", help="only write the tables of docs/worlds.md")
    parser.add_argument("--bodies", nargs="+", choices=BODIES, default=list(BODIES))
    parser.add_argument("--rounds", type=int, default=15, help="slices of each contender")
    parser.add_argument("--seconds", type=float, default=0.3, help="length of a slice")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--processes", type=int, nargs="+", default=[8, 64], help="sizes of process-based peers"
    )
    parser.add_argument(
        "--episodes", type=int, default=512, help="episodes of the best gait, each integrator"
    )
    parser.add_argument("--out", type=Path, help="where to write the result")
    options = parser.parse_args()
    if options.docs:
        return write_docs()
    result = check_integrators(options) if options.check_integrator else speed(options)
    out = options.out or ROOT / "results" / (
        "integrators.json" if options.check_integrator else "worlds.json"
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1)  # with lists of numbers on one line
    text = re.sub(r"\[[\d\s.,e+-]*\]", lambda found: re.sub(r"\s+", " ", found[0]), text)
    out.write_text(text + "\n")
    print(f"\nwritten to {out}")


if __name__ == "__main__":
    main()
