"""The wrestlers that come with the package: chosen from runs of self-play, and played against one another.

    python benchmarks/sumo_ladders.py ship ant ant@1 RUN@4 RUN@9      # these versions become ant@1, ant@2 ...
    python benchmarks/sumo_ladders.py play [--rounds 200] [--table-rounds 100]

`play` lets every version meet wrestlers that stand still and its own lower versions, under both physics, and plays a
table of the first, the middle and the newest version of every body. A table that was stopped goes on.
"""

import argparse
import shutil
from pathlib import Path
from typing import Any

from metarl.checkpoints import complete
from metarl.configs import read_json, write_json
from metarl.envs.contestants import OWN_VERSIONS, Contestant, contestant
from metarl.envs.contests import pairs, play
from metarl.envs.gaits import GAITS
from metarl.envs.opponent_tasks import read_pool
from metarl.envs.sumo import DEFAULT_PHYSICS
from metarl.envs.sumo_rules import Result
from metarl.envs.zoo import ZOO_FOLDER
from metarl.files import write_atomically
from metarl.progress import Progress
from metarl.provenance import measurement
from metarl.runs import Run

RESULTS = Path(__file__).parent / "results" / "sumo_ladders.json"
STANDING = ("zero-ant", "zero-bug")
"""A spider that stands still sinks by itself, so it is no test."""
TRAINED_WITH = "fast"
HORIZON = 500
"""Steps of a match, and so of a rollout of self-play."""
SOME = 3
"""Under the other physics the newest version meets every third of its lower ones."""
LETTERS = {Result.WIN: "W", Result.LOSS: "L", Result.DRAW: "D", Result.BOTH_LOST: "B", Result.NONE: "-"}
"""How a match ended for the first: won, lost, drawn, both lost, physics broke down."""
Meeting = tuple[Contestant, Contestant, str, bool, int]
"""Two wrestlers, the physics, whether they act without noise, and how many matches."""
KEYS = ("one", "two", "physics", "deterministic")
"""What tells contests apart, beside the number of matches."""


def ship(name: str, versions: list[str]) -> None:
    """Make versions of runs of self-play, or of wrestlers of the package, those of one, with how they were trained."""
    found = [of_package(version) or of_run(version) for version in versions]
    folder = ZOO_FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for place, (arrays, described) in enumerate(found, 1):
        target = folder / f"v{place:04d}"
        write_atomically(target.with_suffix(".safetensors"), arrays)
        write_json(target.with_suffix(".json"), {**described, "version": place})
        print(f"{name}@{place}: {described['steps']:,} steps")


def of_package(version: str) -> tuple[bytes, dict[str, Any]] | None:
    """A wrestler of the package, such as `ant@3`, and what is known of it; None if there is none of that name."""
    name, _, number = version.rpartition("@")
    if not number.isdigit():
        return None
    path = ZOO_FOLDER / name / f"v{int(number):04d}.safetensors"
    return (path.read_bytes(), read_json(path.with_suffix(".json"))) if name and path.is_file() else None


def of_run(version: str) -> tuple[bytes, dict[str, Any]]:
    """A version of a run of self-play, and what is known of it."""
    path, _, number = version.rpartition("@")
    if not number.isdigit():
        raise SystemExit(
            f"'{version}' names no version: expected RUN@NUMBER or one of the package, such as ant@7"
        )
    run = Run.open(path)
    experiment = run.config["experiment"]
    source = run.path / OWN_VERSIONS / f"v{int(number):04d}.safetensors"
    commands, steps = trained(run, int(number))
    return source.read_bytes(), read_json(source.with_suffix(".json")) | {
        "world": experiment["world"],
        "steps": steps,
        "seed": experiment["seed"],
        "physics": experiment["world_options"].get("physics", DEFAULT_PHYSICS),
        "commands": commands,
        "commit": run.info["git"][0]["commit"],
        "config": {"experiment": experiment, "agent": run.config["config"]},
        "scores": {},
    }


def trained(run: Run, version: int | None = None) -> tuple[list[str], int]:
    """The commands that led to a version of a run (the last one if it is unset), and the environment steps of all."""
    config, experiment = run.config["config"], run.config["experiment"]
    if version is None:
        steps = int(complete(run.checkpoints)[-1].name.removeprefix("step_"))
    else:
        learner = config["ppo" if config["body"] == "mlp" else "recurrent"]
        rollout = (learner["horizon"] or HORIZON) * learner.get("episodes", 1)
        steps = version * config["snapshot_every"] * learner["environments"] * rollout
    commands, start = [run.info["command"]], experiment["start_from"]
    if start is None:
        return commands, steps
    if start in GAITS:
        return [f"python benchmarks/gait_search.py {GAITS[start].body.lower()}", *commands], steps
    if not Path(start).is_dir() and (package := of_package(start)) is not None:
        before, more = package[1]["commands"], package[1]["steps"]
    else:
        before, more = trained(Run.open(start))
    return [*before, *commands], more + steps


def ladder(name: str) -> list[Contestant]:
    """All versions of a wrestler, in the order of training."""
    return [contestant(f"{name}@{version}") for version in sorted(read_pool(ZOO_FOLDER)[name])]


def wanted(names: list[str], rounds: int, table_rounds: int) -> list[Meeting]:
    """Who is to meet whom, under which physics, with noise or without, how often."""
    found, chosen, newest = [], [], []
    for name in names:
        steps = ladder(name)
        standing = [contestant(other) for other in STANDING]
        for calm in (False, True):
            found += [(each, other, TRAINED_WITH, calm, rounds) for each in steps for other in standing]
            found += [(steps[-1], each, TRAINED_WITH, calm, rounds) for each in steps[:-1]]
        found += [(steps[-1], other, "rk4", False, rounds) for other in [*standing, *steps[:-1:SOME]]]
        chosen += [steps[0], steps[len(steps) // 2], steps[-1]]
        newest.append(steps[-1])
    found += [(one, two, TRAINED_WITH, False, table_rounds) for one, two in pairs(chosen)]
    return [*found, *((one, two, "rk4", False, table_rounds) for one, two in pairs(newest))]


def play_all(rounds: int, table_rounds: int) -> None:
    """Play what has not been played; write every contest as soon as it has ended."""
    names = sorted(read_pool(ZOO_FOLDER))
    files = [file for name in names for file in sorted((ZOO_FOLDER / name).glob("v*.json"))]
    digests = {
        f"{file.parent.name}@{int(file.stem[1:])}": read_json(file)["tensors"]["sha256"] for file in files
    }
    stored: dict[str, Any] = read_json(RESULTS) if RESULTS.exists() else {}
    before = stored.get("wrestlers", {})
    changed = {name for name in {*before, *digests} if before.get(name) != digests.get(name)}
    kept = [each for each in stored.get("contests", []) if not changed & {each["one"], each["two"]}]
    stored = {**measurement(), "wrestlers": digests, "contests": kept}
    done = {(*(each[key] for key in KEYS), len(each["results"])) for each in stored["contests"]}
    todo = wanted(names, rounds, table_rounds)
    with Progress("contests", len(todo), unit="contests") as progress:
        progress.start(0)
        for number, (one, two, physics, calm, count) in enumerate(todo, 1):
            meeting = (one.name, two.name, physics, calm)
            if (*meeting, count) not in done:
                letters = "".join(LETTERS[each] for each in play(one, two, count, 0, physics, calm).results)
                stored["contests"].append({**dict(zip(KEYS, meeting, strict=True)), "results": letters})
                write_json(RESULTS, stored)
            progress.update(number, {})
    for file in files:
        note_scores(file, stored["contests"])


def note_scores(file: Path, contests: list[dict[str, Any]]) -> None:
    """Put what a version won against those that stand still beside it, for who lists the wrestlers."""
    name = f"{file.parent.name}@{int(file.stem[1:])}"
    scores = {
        each["two"]: {
            "wins": each["results"].count("W") / len(each["results"]),
            "matches": len(each["results"]),
        }
        for each in contests
        if each["one"] == name
        and each["two"] in STANDING
        and each["physics"] == TRAINED_WITH
        and not each["deterministic"]
    }
    write_json(file, {**read_json(file), "scores": scores})


def main() -> None:
    """Ship or play."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    shipping = verbs.add_parser("ship")
    shipping.add_argument("name")
    shipping.add_argument("versions", nargs="+", metavar="RUN@VERSION|NAME@VERSION")
    playing = verbs.add_parser("play")
    playing.add_argument("--rounds", type=int, default=200)
    playing.add_argument("--table-rounds", type=int, default=100)
    options = parser.parse_args()
    if options.verb == "ship":
        ship(options.name, options.versions)
    else:
        play_all(options.rounds, options.table_rounds)


if __name__ == "__main__":
    main()
