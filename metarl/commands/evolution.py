"""`metarl evolution`: a population of wrestlers from which losers disappear."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from metarl.commands.flags import parse
from metarl.commands.match import WRESTLERS, Physics
from metarl.configs import read_json, write_json


@dataclass(frozen=True)
class Evolution:
    """Who takes part, and for how long."""

    wrestlers: Annotated[tuple[str, ...], Positional, arg(metavar="WRESTLER...")] = ()
    """Two or more; without any, all versions of all wrestlers of the --pool."""
    copies: int = 10
    """Individuals of each in the beginning."""
    generations: int = 10
    """In each, all individuals are paired at random; who loses disappears, and who wins has a copy."""
    rounds: int = 3
    """Matches of a pair, which who wins more of them wins."""
    seed: int = 0
    """Of pairs, starts and actions."""
    physics: Physics = "fast"
    """`implicitfast` integration, or rk4, the original's."""
    deterministic: bool = False
    """All act by the means of their policies, instead of with their noise."""
    pool: str = "zoo"
    """Folder of a pool of opponents, NAME/v0001.safetensors; zoo: those that come with the package."""
    out: str = "evolution.json"
    """Populations; an evolution that was stopped goes on from them, also to more generations."""
    plot: str | None = None
    """Draw the populations into this picture, .png, .svg or .pdf."""

    def __post_init__(self):
        for name, least in {"copies": 1, "generations": 1, "rounds": 1, "seed": 0}.items():
            if getattr(self, name) < least:
                raise ValueError(f"--{name} {getattr(self, name)}, expected {least} or more")


def evolution(arguments: list[str]) -> int:
    """Let a population evolve, and print how many there were of each in every generation."""
    purpose = f"Wrestlers whose losers disappear and whose winners have copies. {WRESTLERS}"
    options = parse(Evolution, "metarl evolution", arguments, purpose)
    import numpy as np

    from metarl.envs.contestants import several
    from metarl.envs.evolution import generation, matches_between
    from metarl.plots import check_picture
    from metarl.progress import Progress
    from metarl.provenance import measurement

    if options.plot:
        check_picture(options.plot)
    chosen = several(options.wrestlers, options.pool)
    names = [each.name for each in chosen]
    protocol = {
        "wrestlers": {each.name: each.digest for each in chosen},
        **{name: getattr(options, name) for name in ("copies", "rounds", "seed", "physics", "deterministic")},
    }
    populations = _resumed(options.out, protocol) or [[options.copies] * len(names)]
    content = {**measurement(), "protocol": protocol, "populations": populations}
    write_json(options.out, content)  # says at once if it cannot be written
    games = matches_between(chosen, options.rounds, options.physics, options.deterministic)
    with Progress("evolution", options.generations, unit="generations") as progress:
        progress.start(min(len(populations) - 1, options.generations))
        for number in range(len(populations), options.generations + 1):
            counts = generation(np.array(populations[-1]), games, options.seed, number)
            populations.append(counts.tolist())
            write_json(options.out, content)
            progress.update(number, {"kinds alive": float((counts > 0).sum())})
    print(table(names, populations))
    print(f"\npopulations: {options.out}")
    if options.plot:
        print(f"plot:        {draw(names, populations, options.plot)}")
    return 0


def _resumed(out: str, protocol: dict[str, Any]) -> list[list[int]]:
    """Populations that are there already, with the kinds in the order asked for.

    Raises:
        ValueError: They are of another evolution.
    """
    if not Path(out).exists():
        return []
    found = read_json(out)
    if not isinstance(found, dict) or found.get("protocol") != protocol or not found.get("populations"):
        raise ValueError(f"{out} has another evolution than the one asked for: name another file by --out")
    before = list(found["protocol"]["wrestlers"])
    order = [before.index(name) for name in protocol["wrestlers"]]
    return [[counts[kind] for kind in order] for counts in found["populations"]]


def table(names: list[str], populations: list[list[int]]) -> str:
    """Individuals of each kind by generation as Markdown, those that are most in the end first.

    Args:
        names: Of the kinds.
        populations: Of each generation, the first before any game.
    """
    from metarl.tables import markdown_table

    order = sorted(range(len(names)), key=lambda kind: -populations[-1][kind])
    rows = [[names[kind], *(str(counts[kind]) for counts in populations)] for kind in order]
    return markdown_table(["after generation", *map(str, range(len(populations)))], rows)


def draw(names: list[str], populations: list[list[int]], out: str) -> Path:
    """Shares of the kinds by generation, one upon the other."""
    from metarl.plots import new_figure, save

    figure = new_figure(8, 4.5)
    from matplotlib import colormaps
    from matplotlib.ticker import MaxNLocator

    axes = figure.subplots()
    order = sorted(range(len(names)), key=lambda kind: -populations[-1][kind])
    shares = [[100 * counts[kind] / sum(counts) for counts in populations] for kind in order]
    colours = [colormaps["turbo"]((place + 0.5) / len(names)) for place in range(len(names))]
    labels = [names[kind] for kind in order]
    axes.stackplot(range(len(populations)), shares, labels=labels, colors=colours)
    axes.set(
        xlabel="generation",
        ylabel="share of the population, %",
        xlim=(0, len(populations) - 1),
        ylim=(0, 100),
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8, reverse=True)
    figure.set_layout_engine("constrained")
    return save(figure, out)
