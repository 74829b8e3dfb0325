"""`metarl match`, `metarl tournament` and `metarl zoo`: who wins at sumo."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from metarl.commands.flags import parse, wants_help
from metarl.configs import read_json, write_json
from metarl.names import unknown

WRESTLERS = (
    "Wrestlers: NAME or NAME@VERSION of a --pool, RUN or RUN@VERSION of self-play, a file v0001.safetensors, or "
    "zero-ant, zero-bug, zero-spider, which stand still, or gait-ant, gait-bug, gait-spider, which walk by hand."
)
ZOO_HELP = """usage: metarl zoo import PATH [--out FOLDER]

Make a pool of opponents of the policies of the original RoboSumo, from your own clone of openai/robosumo."""
Physics = Literal["fast", "rk4"]


@dataclass(frozen=True)
class Match:
    """Who meets whom."""

    one: Annotated[str, Positional, arg(metavar="A")]
    """The first wrestler."""
    two: Annotated[str, Positional, arg(metavar="B")]
    """The second."""
    rounds: int = 100
    """How many matches."""
    seed: int = 0
    """Of starts and actions."""
    physics: Physics = "fast"
    """`implicitfast` integration, or rk4, the original's."""
    deterministic: bool = False
    """Both act by the means of their policies, instead of with their noise."""
    pool: str = "zoo"
    """Folder of a pool of opponents, NAME/v0001.safetensors; zoo: those that come with the package."""
    out: str | None = None
    """Film all rounds into this video, .mp4 or .gif."""


@dataclass(frozen=True)
class Tournament:
    """Who takes part."""

    wrestlers: Annotated[tuple[str, ...], Positional, arg(metavar="WRESTLER...")] = ()
    """Two or more; without any, all versions of all wrestlers of the --pool."""
    rounds: int = 100
    """Matches of every pair."""
    seed: int = 0
    """Of starts and actions."""
    physics: Physics = "fast"
    """`implicitfast` integration, or rk4, the original's."""
    deterministic: bool = False
    """Both act by the means of their policies, instead of with their noise."""
    pool: str = "zoo"
    """Folder of a pool of opponents, NAME/v0001.safetensors; zoo: those that come with the package."""
    out: str = "tournament.json"
    """Results; a tournament that was stopped goes on from them."""


@dataclass(frozen=True)
class Import:
    """A clone of the original repository, as a pool of opponents."""

    path: Annotated[str, Positional, arg(metavar="PATH")]
    """Folder that openai/robosumo was cloned into."""
    out: str = "opponents"
    """Folder of the pool; the wrestlers are then NAME@VERSION with --pool, and opponents of the worlds by
    --world-options opponents=FOLDER."""


def match(arguments: list[str]) -> int:
    """Play, and print who won how often."""
    purpose = f"Let two wrestlers meet, again and again. {WRESTLERS}"
    options = parse(Match, "metarl match", arguments, purpose)
    from metarl.envs.contestants import contestant
    from metarl.envs.contests import play

    if options.rounds < 1:
        raise ValueError(f"--rounds {options.rounds}, expected 1 or more")
    one, two = (contestant(each, options.pool) for each in (options.one, options.two))
    if options.out is not None:
        print(_film(options, one, two))
        return 0
    print(summary(play(one, two, options.rounds, options.seed, options.physics, options.deterministic)))
    return 0


def summary(contest: Any) -> str:
    """How matches ended, in words."""
    from metarl.envs.sumo_rules import Result

    total, (low, high) = len(contest.results), contest.interval
    rest = contest.count(Result.BOTH_LOST) + contest.count(Result.NONE)
    ended = [
        f"won {contest.count(Result.WIN)}",
        f"lost {contest.count(Result.LOSS)}",
        f"drew {contest.count(Result.DRAW)}",
        *([f"{rest} without a winner"] if rest else []),
    ]
    matches = "1 match" if total == 1 else f"{total} matches"
    return (
        f"{contest.one} against {contest.two}, {matches}: {', '.join(ended)}; "
        f"wins {100 * contest.wins:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
    )


def _film(options: Match, one: Any, two: Any) -> Path:
    from metarl import videos
    from metarl.envs.contests import film
    from metarl.progress import Progress

    out = videos.check_suffix(str(options.out))

    def frames() -> Any:
        pictures = film(
            one, two, options.rounds, options.seed, options.physics, options.deterministic, every=2
        )
        with Progress("match", options.rounds, unit="rounds") as progress:
            progress.start(0)
            for picture, number, score in pictures:
                if number - 1 > progress.step:
                    progress.update(number - 1, {})
                text = f"{one.name} {score[0]} : {score[1]} {two.name}, round {number} of {options.rounds}"
                yield videos.caption(picture, text)
            progress.update(options.rounds, {})

    return videos.write_video(out, frames(), 10)


def tournament(arguments: list[str]) -> int:
    """Everyone against everyone else: a table of wins and the ratings."""
    purpose = f"Everyone against everyone else, with ratings. {WRESTLERS}"
    options = parse(Tournament, "metarl tournament", arguments, purpose)
    from metarl.envs.contestants import several
    from metarl.envs.contests import pairs, play
    from metarl.envs.ratings import rating_model
    from metarl.progress import Progress

    if options.rounds < 1:
        raise ValueError(f"--rounds {options.rounds}, expected 1 or more")
    if options.seed < 0:
        raise ValueError(f"--seed {options.seed}, expected 0 or more")
    chosen = several(options.wrestlers, options.pool)
    names = [each.name for each in chosen]
    rating_model()  # says at once if it cannot be had, not after all matches
    digests = {each.name: each.digest for each in chosen}
    protocol = {
        "rounds": options.rounds,
        "seed": options.seed,
        "physics": options.physics,
        "deterministic": options.deterministic,
    }
    done, contests = _resumed(options.out, protocol, digests), []
    content = {"protocol": protocol, "wrestlers": digests, "results": done}
    write_json(options.out, content)  # says at once if it cannot be written
    every = pairs(chosen)
    with Progress("tournament", len(every), unit="pairs") as progress:
        progress.start(0)
        for number, (one, two) in enumerate(every, 1):
            results = _played(done, one.name, two.name)
            if results is None:
                settings = options.rounds, options.seed, options.physics, options.deterministic
                results = list(play(one, two, *settings).results)
                done[f"{one.name} {two.name}"] = results
                write_json(options.out, content)
            contests.append(_contest(one.name, two.name, results))
            progress.update(number, {})
    print(table(names, contests))
    print(f"\nresults: {options.out}")
    return 0


def _played(done: dict[str, list[int]], one: str, two: str) -> list[int] | None:
    """Results of a pair that has met, as the first of them sees it; None if it has not."""
    from metarl.envs.sumo_rules import Result

    turned = done.get(f"{two} {one}")
    if turned is None:
        return done.get(f"{one} {two}")
    seen = {int(Result.WIN): int(Result.LOSS), int(Result.LOSS): int(Result.WIN)}
    return [seen.get(each, each) for each in turned]


def _contest(one: str, two: str, results: list[int]) -> Any:
    from metarl.envs.contests import Contest

    return Contest(one, two, tuple(results))


def _resumed(out: str, protocol: dict[str, Any], digests: dict[str, str]) -> dict[str, list[int]]:
    """Results that are there already.

    Raises:
        ValueError: They are of another protocol, or of other wrestlers of the same names.
    """
    if not Path(out).exists():
        return {}
    found = read_json(out)
    if isinstance(found, dict) and found.get("results") == {}:
        return {}
    if not isinstance(found, dict) or found.get("protocol") != protocol or "results" not in found:
        raise ValueError(f"{out} has other results than those of {protocol}: name another file by --out")
    before = found.get("wrestlers", {})
    changed = [name for name, digest in digests.items() if before.get(name, digest) != digest]
    if changed:
        raise ValueError(
            f"{out} has results of another {changed[0]} than this one: name another file by --out"
        )
    digests |= before
    return dict(found["results"])


def table(names: list[str], contests: list[Any]) -> str:
    """Wins in per cent of the row against the column, and ratings, as Markdown.

    Args:
        names: Everyone.
        contests: Between each two, once.
    """
    from metarl.envs.ratings import rate, win_probability
    from metarl.envs.sumo_rules import Result
    from metarl.tables import markdown_table

    shares: dict[tuple[str, str], float] = {}
    for each in contests:
        shares[each.one, each.two] = each.wins
        shares[each.two, each.one] = each.count(Result.LOSS) / len(each.results)
    rows = [[one, *(f"{100 * shares[one, two]:.0f}" if one != two else "" for two in names)] for one in names]
    wins = markdown_table(["wins in %", *names], rows)
    ranked = rate(contests)
    chances = [100 * win_probability(one, two) for one, two in pairwise(ranked)]
    rated = [
        [each.name, f"{each.rank:.1f}", f"{each.mu:.1f}", f"{each.sigma:.2f}", chance]
        for each, chance in zip(ranked, [*(f"{chance:.0f}" for chance in chances), ""], strict=True)
    ]
    heads = ["wrestler", "mu - 3 sigma", "mu", "sigma", "beats the next, %"]
    return f"{wins}\n\n{markdown_table(heads, rated)}"


def zoo(arguments: list[str]) -> int:
    """What can be done with trained policies of others: import them."""
    if wants_help(arguments[:1]) or not arguments:
        print(ZOO_HELP)
        return 0 if arguments else 2
    if arguments[0] != "import":
        raise unknown("verb of metarl zoo", arguments[0], ["import"])
    options = parse(Import, "metarl zoo import", arguments[1:], "Read the policies of the original RoboSumo.")
    import torch

    from metarl import checkpoints
    from metarl.envs.original_zoo import read_original_zoo

    found = read_original_zoo(options.path)
    for each in found:
        tensors = {name: torch.as_tensor(array) for name, array in each.policy.arrays.items()}
        place = Path(options.out) / each.name / f"v{each.version:04d}"
        checkpoints.save(place, tensors, {"version": each.version, "source": "openai/robosumo"})
        print(f"{each.name}@{each.version}")
    print(f"\n{len(found)} opponents: metarl match ant-lstm zero-ant --pool {options.out}")
    return 0
