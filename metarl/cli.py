"""The command line: `metarl VERB ...`.

A verb's module is imported when the verb is called, and what it needs to compute (torch, mujoco, matplotlib)
only once its flags have been understood, so that every `--help` answers at once.

Exit codes: 0 done, 1 training diverged, 2 the user's mistake (one message on stderr), 130 interrupted. A bug
shows its traceback.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from metarl.commands.errors import is_users_mistake, message_of, say
from metarl.names import unknown


@dataclass(frozen=True)
class Verb:
    """One thing that the command line can do."""

    usage: str
    """What follows the verb."""
    purpose: str
    """What it does, in one line."""
    runs: str
    """`module:function`; the function takes the remaining arguments and gives the exit code."""


VERBS: dict[str, Verb] = {
    "list": Verb("[worlds|agents|methods|data|zoo]", "what there is", "metarl.commands.listing:list_names"),
    "train": Verb("AGENT --world ID [flags]", "train an agent in a world", "metarl.commands.train:train"),
    "evaluate": Verb(
        "RUN... [flags]",
        "returns after 0, 1, ... inner steps; --lifetimes N: of episodes",
        "metarl.commands.runs:evaluate",
    ),
    "render": Verb("RUN | --world ID", "a video of an agent, or of a world", "metarl.commands.render:render"),
    "plot": Verb("RUN... --out PNG", "learning and adaptation curves", "metarl.commands.runs:plot"),
    "watch": Verb("[DIR]", "TensorBoard on a folder of runs", "metarl.commands.watch:watch"),
    "match": Verb("A B [--rounds N]", "two wrestlers of sumo meet", "metarl.commands.match:match"),
    "tournament": Verb(
        "[WRESTLER...]", "everyone against everyone else, with ratings", "metarl.commands.match:tournament"
    ),
    "evolution": Verb(
        "[WRESTLER...]", "a population whose losers disappear", "metarl.commands.evolution:evolution"
    ),
    "zoo": Verb(
        "import PATH", "opponents from a clone of the original RoboSumo", "metarl.commands.match:zoo"
    ),
    "demo": Verb("[flags]", "train, adapt, plot and film an agent, in minutes", "metarl.commands.demo:demo"),
    "fewshot": Verb(
        "VERB ...", "few-shot image classifiers, by the same verbs", "metarl.commands.fewshot:fewshot"
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: What follows `metarl`; unset, this process's arguments.

    Returns:
        The exit code.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as in `metarl list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as stop:  # how tyro ends after --help (0) and after a mistake (2)
        return stop.code if isinstance(stop.code, int) else 2
    except Exception as error:
        if not is_users_mistake(error):
            raise
        say(message_of(error))
        return 2


def _run(arguments: list[str]) -> int:
    verb, *rest = arguments or ["--help"]
    if verb in ("-h", "--help", "help"):
        print(help_text())
        return 0 if arguments else 2
    if verb == "--version":
        import metarl

        print(f"metarl-suite {metarl.__version__}")
        return 0
    if verb not in VERBS:
        raise unknown("verb", verb, VERBS)
    module, _, function = VERBS[verb].runs.partition(":")
    return getattr(import_module(module), function)(rest)


def help_text() -> str:
    """What `metarl --help` prints."""
    calls = {f"metarl {name} {verb.usage}": verb.purpose for name, verb in VERBS.items()}
    width = max(map(len, calls))
    lines = [f"  {call:<{width}}   {purpose}" for call, purpose in calls.items()]
    more = "Each verb answers --help. `metarl --version` gives the version."
    return "\n".join(["Meta-learning that adapts.", "", *lines, "", more])
