"""`metarl demo`: train, adapt, plot and film an agent, in minutes."""

from dataclasses import dataclass

from metarl.commands.flags import parse


@dataclass(frozen=True)
class Demo:
    """How long the demo trains, and where its results go."""

    out: str = "runs/demo"
    """Folder of the results."""
    steps: int | None = None
    """Environment steps to train for; unset, the demo's own number."""
    seconds: float | None = None
    """Stop training after this long, if the steps are not done by then; unset, the demo's own limit."""
    seed: int = 1
    """Of training and evaluation."""


def demo(arguments: list[str]) -> int:
    """Run the demo."""
    purpose = (
        "Meta-train an agent that can run forward and backward but does not know which is wanted, "
        "then show how it finds out: a table, a plot, a video."
    )
    options = parse(Demo, "metarl demo", arguments, purpose)

    from metarl.agents import demo as demonstration

    return demonstration.run(out=options.out, steps=options.steps, seconds=options.seconds, seed=options.seed)
