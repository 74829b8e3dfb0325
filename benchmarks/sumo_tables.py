"""Tables of the package's wrestlers."""

from collections.abc import Mapping
from typing import Any

from origin import machine, source

from metarl.commands.evolution import table as evolution_table
from metarl.envs.contests import proportion_interval
from metarl.tables import markdown_table


def evolution(found: list[Mapping[str, Any]]) -> str:
    """Individuals of each wrestler by generation."""
    (only,) = found
    populations = evolution_table(list(only["protocol"]["wrestlers"]), only["populations"])
    return f"{populations}\n\n`{only['command']}`, {machine(only, str(only['commit'])[:9])}"


def sumo_ladders(found: list[Mapping[str, Any]]) -> str:
    """Every version of the package's wrestlers: wins over those that stand still, and of the newest over it."""
    (only,) = found
    newest = {name.partition("@")[0]: name for name in only["wrestlers"]}
    rows = []
    for name in only["wrestlers"]:
        top, row = newest[name.partition("@")[0]], [name]
        for meeting in ((name, "zero-ant"), (name, "zero-bug"), (top, name)):
            row += [_wins(_contests(only, "fast", calm).get(meeting)) for calm in (False, True)]
        rows.append(row)
    against = ("beats zero-ant, %", "beats zero-bug, %", "the newest beats it, %")
    heads = [text for each in against for text in (each, "without noise")]
    return markdown_table(["version", *heads], rows) + source(only)


def sumo_physics(found: list[Mapping[str, Any]]) -> str:
    """The same contests under both physics."""
    (only,) = found
    fast = _contests(only, "fast")
    rows = [[*pair, _ended(fast[pair]), _ended(results)] for pair, results in _contests(only, "rk4").items()]
    return markdown_table(["first", "second", "fast: won-drawn-lost", "rk4"], rows) + source(only)


def sumo_pairs(found: list[Mapping[str, Any]]) -> str:
    """Wins of the row over the column with the 95 % interval, in per cent."""
    (only,) = found
    shares: dict[tuple[str, str], str] = {}
    for (one, two), results in _contests(only, "fast").items():
        shares.setdefault((one, two), _wins(results))
        shares.setdefault((two, one), _wins(results, "L"))
    bodies = {name.partition("@")[0] for name in only["wrestlers"]}
    names = [
        name
        for name in only["wrestlers"]
        if bodies == {two.partition("@")[0] for one, two in shares if one == name and "zero" not in two}
    ]
    rows = [[one, *(shares.get((one, two), "") for two in names)] for one in names]
    return markdown_table(["wins in %", *names], rows) + source(only)


def _contests(found: Mapping[str, Any], physics: str, deterministic: bool = False) -> dict:
    """Results by the pair that met."""
    return {
        (each["one"], each["two"]): each["results"]
        for each in found["contests"]
        if (each["physics"], each["deterministic"]) == (physics, deterministic)
    }


def _wins(results: str | None, letter: str = "W") -> str:
    if results is None:
        return ""
    low, high = proportion_interval(results.count(letter), len(results))
    return f"{100 * results.count(letter) / len(results):.0f} [{100 * low:.0f}, {100 * high:.0f}]"


def _ended(results: str) -> str:
    rest = len(results) - results.count("W") - results.count("L")
    return f"{results.count('W')}-{rest}-{results.count('L')}"
