"""`metarl list`: the worlds and agents there are."""

from collections.abc import Mapping

from metarl.agents import AGENTS
from metarl.commands.flags import wants_help
from metarl.envs import WORLDS
from metarl.names import unknown

HELP = """usage: metarl list [worlds|agents]

List the worlds, the agents, or both. Any Gymnasium world with tasks can be trained on, not only these; see
examples/own_world.py."""


def list_names(arguments: list[str]) -> int:
    """Print names, one a line, with what they are."""
    if wants_help(arguments):
        print(HELP)
        return 0
    tables: dict[str, Mapping[str, str]] = {"worlds": WORLDS, "agents": AGENTS}
    if len(arguments) > 1:
        raise ValueError(f"metarl list takes one name, worlds or agents; got {' '.join(arguments)}")
    for kind in arguments:
        if kind not in tables:
            raise unknown("list", kind, tables)
    for kind in arguments or tables:
        print("\n".join([f"{kind}:", *_rows(tables[kind])]))
    return 0


def _rows(names: Mapping[str, str]) -> list[str]:
    width = max(map(len, names), default=0)
    return [f"  {name:<{width}}   {purpose}" for name, purpose in names.items()]
