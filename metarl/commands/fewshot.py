"""`metarl fewshot VERB`: few-shot image classifiers, by the same verbs as agents."""

from dataclasses import dataclass
from importlib import import_module

from metarl.commands.flags import parse, wants_help
from metarl.names import unknown

VERBS = {
    "list": ("", "methods and data sets", "metarl.commands.fewshot:list_names"),
    "train": (
        "METHOD --data NAME [flags]",
        "train a method on a data set",
        "metarl.commands.fewshot_train:train",
    ),
    "evaluate": (
        "RUN [flags]",
        "accuracy with its interval on test episodes",
        "metarl.commands.fewshot_evaluate:evaluate",
    ),
    "predict": (
        "RUN --support DIR --query IMAGE...",
        "labels for pictures of your own",
        "metarl.commands.fewshot_evaluate:predict",
    ),
    "features": (
        "RUN --out DIR",
        "what its network makes of all pictures, as data for others",
        "metarl.commands.fewshot_evaluate:features",
    ),
    "benchmark": (
        "--data NAME [flags]",
        "train and judge many methods, beside published numbers",
        "metarl.commands.fewshot_benchmark:benchmark",
    ),
    "demo": ("[flags]", "train, judge and ask a method, in a minute", "metarl.commands.fewshot:demo"),
}
"""Verb -> what follows it, what it does, `module:function`."""


@dataclass(frozen=True)
class Demo:
    """How long the demo trains, and where its results go."""

    out: str = "runs/fewshot-demo"
    """Folder of the results."""
    method: str = "prototypical"
    """Method that is trained."""
    episodes: int = 200
    """Episodes to train on."""
    seed: int = 1
    """Of training and of the pictures that are asked about."""


def fewshot(arguments: list[str]) -> int:
    """Run one of the verbs."""
    verb, *rest = arguments or ["--help"]
    if verb in ("-h", "--help", "help"):
        print(help_text())
        return 0 if arguments else 2
    if verb not in VERBS:
        raise unknown("few-shot verb", verb, VERBS)
    module, _, function = VERBS[verb][2].partition(":")
    return getattr(import_module(module), function)(rest)


def help_text() -> str:
    """What `metarl fewshot --help` prints."""
    calls = {
        f"metarl fewshot {name} {usage}".rstrip(): purpose for name, (usage, purpose, _) in VERBS.items()
    }
    width = max(map(len, calls))
    lines = [f"  {call:<{width}}   {purpose}" for call, purpose in calls.items()]
    head = [
        "usage: metarl fewshot VERB ...",
        "",
        "Image classifiers that learn a class from a few pictures.",
        "",
    ]
    return "\n".join([*head, *lines, "", "Each verb answers --help."])


def list_names(arguments: list[str]) -> int:
    """Print the methods and the data sets, one a line."""
    if wants_help(arguments):
        print("usage: metarl fewshot list\n\nList few-shot methods and the data sets they can be trained on.")
        return 0
    if arguments:
        raise ValueError(f"metarl fewshot list takes nothing; got {' '.join(arguments)}")
    from metarl.commands.listing import list_names as listed

    return listed(["methods"]) or listed(["data"])


def demo(arguments: list[str]) -> int:
    """Run the demo."""
    purpose = (
        "Train a few-shot method on generated drawings (nothing is downloaded), judge it on classes it has never seen, "
        "and ask it about pictures."
    )
    options = parse(Demo, "metarl fewshot demo", arguments, purpose)

    from metarl.supervised import demo as demonstration

    return demonstration.run(options.out, options.method, options.episodes, options.seed)
