"""`metarl list`: the worlds, agents, trained agents, few-shot methods and data sets there are."""

from collections.abc import Mapping

from metarl.agents import AGENTS
from metarl.agents.zoo import ZOO
from metarl.commands.flags import wants_help
from metarl.envs import WORLDS
from metarl.envs.zoo import zoo_wrestlers
from metarl.names import unknown
from metarl.supervised import DATASETS, METHODS

HELP = """usage: metarl list [worlds|agents|zoo|methods|data]

List the worlds, the agents, the trained agents that come with the package, the few-shot methods, the data sets, or all of
them. Any Gymnasium world with tasks can be trained on, not only these (see examples/own_world.py; with --world MODULE:ID
the module that registers it is imported), and any folder that holds a folder of images for each class."""


def list_names(arguments: list[str]) -> int:
    """Print names, one a line, with what they are."""
    if wants_help(arguments):
        print(HELP)
        return 0
    tables: dict[str, Mapping[str, str]] = {
        "worlds": WORLDS,
        "agents": AGENTS,
        "zoo": ZOO | zoo_wrestlers(),
        "methods": METHODS,
        "data": DATASETS,
    }
    if len(arguments) > 1:
        raise ValueError(f"metarl list takes one name, e.g. worlds; got {' '.join(arguments)}")
    for kind in arguments:
        if kind not in tables:
            raise unknown("list", kind, tables)
    for kind in arguments or tables:
        print("\n".join([f"{kind}:", *_rows(tables[kind])]))
    return 0


def _rows(names: Mapping[str, str]) -> list[str]:
    width = max(map(len, names), default=0)
    return [f"  {name:<{width}}   {purpose}" for name, purpose in names.items()]
