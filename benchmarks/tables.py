"""Fill the result tables of README.md and docs/results.md from benchmarks/results/*.json.

    python benchmarks/tables.py [--check]

A table stands between two marks, `<!-- results:NAME -->` and `<!-- end -->`; NAME is a key of TABLES. Everything
between the marks is replaced; where the results are missing, it stays. `--check` writes nothing and fails if a page is
out of date.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fewshot_tables import feature_reuse, fewshot, maml_plus_plus, mlap, sine_waves
from learning_tables import RESULTS, ROOT, draw_learning_curves, learning, learning_curves, lifetimes
from speed_tables import (
    cuda_graphs,
    fewshot_episodes,
    hexapod,
    iteration,
    meta_gradient,
    meta_step,
    robosumo,
    worlds,
)
from sumo_tables import evolution, sumo_ladders, sumo_pairs, sumo_physics

from metarl.names import unknown

PAGES = (ROOT / "README.md", ROOT / "docs" / "results.md")
MARK = re.compile(r"(<!-- results:(?P<name>[\w.-]+) -->\n)(?P<old>.*?)(<!-- end -->)", re.DOTALL)

TABLES: dict[str, tuple[str, Callable[[list[Mapping[str, Any]]], str]]] = {
    "cuda_graphs": ("cuda_graphs.json", cuda_graphs),
    "evolution": ("evolution.json", evolution),
    "fewshot": ("fewshot_*.json", fewshot),
    "fewshot_episodes": ("episodes.json", fewshot_episodes),
    "hexapod": ("hexapod.json", hexapod),
    "iteration": ("iteration*.json", iteration),
    "learning": ("learning_*.json", learning),
    "learning_curves": ("learning_*.json", learning_curves),
    "lifetimes_games": ("lifetimes_games.json", lifetimes),
    "lifetimes_hexapod": ("lifetimes_hexapod.json", lifetimes),
    "lifetimes_sample-complexity": ("lifetimes_sample-complexity.json", lifetimes),
    "lifetimes_specialists": ("lifetimes_specialists.json", lifetimes),
    "maml_plus_plus": ("maml_plus_plus.json", maml_plus_plus),
    "meta_gradient": ("meta_gradient.json", meta_gradient),
    "meta_step": ("meta_step.json", meta_step),
    "mlap": ("mlap.json", mlap),
    "robosumo": ("robosumo.json", robosumo),
    "feature_reuse": ("feature_reuse.json", feature_reuse),
    "sine_waves": ("sine_waves.json", sine_waves),
    "sumo_ladders": ("sumo_ladders.json", sumo_ladders),
    "sumo_pairs": ("sumo_ladders.json", sumo_pairs),
    "sumo_physics": ("sumo_ladders.json", sumo_physics),
    "worlds": ("worlds.json", worlds),
}
"""For each mark the files it is made of, and how."""


def table(name: str, results: Path = RESULTS) -> str | None:
    """The text for a mark, None if its results are not there.

    Raises:
        ValueError: No table has this name.
    """
    if name not in TABLES:
        raise unknown("table", name, TABLES)
    pattern, make = TABLES[name]
    found = [json.loads(path.read_text()) for path in sorted(results.glob(pattern))]
    return make(found) if found else None


def filled(text: str, results: Path = RESULTS) -> str:
    """A page with its tables made anew."""

    def replace(match: re.Match) -> str:
        made = table(match["name"], results)
        return match[0] if made is None else f"{match[1]}\n{made}\n{match[4]}"

    return MARK.sub(replace, text)


def main(arguments: list[str] | None = None) -> int:
    """Fill or check the pages; 1 if one is out of date."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is out of date")
    check = parser.parse_args(arguments).check
    if not check:
        draw_learning_curves()
    stale = 0
    for page in PAGES:
        if page.exists() and (new := filled(old := page.read_text())) != old:
            stale += 1
            print(f"{page.relative_to(ROOT)}: {'out of date' if check else 'tables written'}")
            if not check:
                page.write_text(new)
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
