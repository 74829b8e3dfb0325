"""Starting from what another run has learned."""

from pathlib import Path
from typing import Any

import torch

from metarl.runs import Run
from metarl.supervised.experiment import StartWith
from metarl.supervised.fewshot_run import FewShotRun
from metarl.supervised.inner_loop import HEAD
from metarl.supervised.methods.method import Method

BACKBONE = "net."
"""How the names of a backbone's parameters begin, in every method."""


@torch.no_grad()
def start_from(path: str | Path, method: Method, config: Any, which: StartWith = "all") -> None:
    """Give a fresh method the parameters of a trained run, of its best state in validation or else its newest.

    The run may be of another method that has all of these parameters, and of other data, ways and shots; its network is
    taken as it uses it, with MTL's scales and shifts, and the norms of MAML++'s last inner step. A head that every inner
    loop sets to zero is no such parameter. Averages of batch norm are estimated anew; optimisers start without memory.

    Args:
        path: The run's folder.
        method: Its parameters are changed, in place.
        config: The method's.
        which: "all", or "backbone": those of the network from images to features, whatever comes after it.

    Raises:
        ValueError: The folder holds no run, the backbone is another or has no parameters to start with, or a parameter is
            missing or has another shape.
    """
    source = FewShotRun(Run.open(path))
    theirs, ours = vars(source.config.backbone), vars(config.backbone)
    if theirs != ours:
        flags = " ".join(
            f"--backbone.{name} {value}" for name, value in theirs.items() if value != ours[name]
        )
        raise ValueError(f"{path} has another backbone: say {flags}, or start from a run that has yours")
    known = source.trained_parameters(which == "backbone" or type(source.config) is not type(config))
    unused = HEAD if getattr(config, "zero_head", False) else ()
    wanted = {name: each for name, each in method.module.named_parameters() if name not in unused}
    if which == "backbone":
        wanted = {name: each for name, each in wanted.items() if name.startswith(BACKBONE)}
        if not wanted:
            raise ValueError(f"the backbone {config.backbone.name!r} has no parameters to start with")
    problems = [f"'{name}' is missing there" for name in wanted if name not in known]
    problems += [
        f"'{name}' has shape {tuple(known[name].shape)} there, {tuple(each.shape)} here"
        for name, each in wanted.items()
        if name in known and known[name].shape != each.shape
    ]
    if problems:
        listed = "\n  ".join(problems)
        less = "" if which == "backbone" else "; --start-with backbone takes those of the backbone only"
        raise ValueError(
            f"cannot start from {path}, a run of '{source.name}': its parameters are others (the ways of training "
            f"episodes, the classes of the data and the flags of the method decide their shapes){less}\n  {listed}"
        )
    for name, each in wanted.items():
        each.copy_(known[name])
    if which == "backbone" and method.started is not None:
        method.started()
