"""The same training on several processes: tasks are split, gradients and metrics averaged.

Start one process per GPU (or per group of cores) with `torchrun --nproc-per-node N -m metarl train ...`.
Without torchrun every function here is the identity on one rank, so callers never ask which case they are in.
"""

import atexit
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils import _pytree as pytree

Value = TypeVar("Value")


def start(device: torch.device | str = "cpu", *, timeout: float = 600.0) -> bool:
    """Join the process group that torchrun's variables describe.

    Args:
        device: Where this rank computes. Tensors on a GPU go by nccl, those on a CPU (counters, for one) by gloo.
        timeout: Seconds a rank waits for the others before it gives up with an error.

    Returns:
        True if this call joined a group (whoever started it calls `stop`); False on a single rank or when
        the group is already there.
    """
    if dist.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return False
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
    atexit.register(stop)  # gloo's threads abort a process that ends while they are up
    return True


def check_started() -> None:
    """Make sure that a process which torchrun started has joined its group.

    Raises:
        ValueError: it has not; each rank would take itself for the only one.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        raise ValueError(
            f"WORLD_SIZE={os.environ['WORLD_SIZE']} but the ranks have not met; "
            "call metarl.distributed.start(device) first"
        )


def stop() -> None:
    """Leave the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def ranks(device: torch.device | str = "cpu") -> Iterator[None]:
    """In the process group while it lasts; see `start`. A group that is there already stays."""
    joined = start(device)
    try:
        yield
    finally:
        if joined:
            stop()


def end(code: int = 0) -> NoReturn:
    """Leave the group and end this process at once, without the interpreter's own clearing up.

    The last line of a program of several ranks: threads of gloo can outlive their group for a moment, and abort an
    interpreter that ends meanwhile.

    Args:
        code: Exit code of the process.
    """
    stop()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def rank() -> int:
    """The number of this process, 0 when it is alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this is the rank that writes files and talks."""
    return rank() == 0


def share(num: int) -> range:
    """This rank's part of `num` things, in order.

    Args:
        num: How many there are, a multiple of the number of ranks: the trainer averages over ranks, which is
            the average over tasks only if the shares are equal.

    Raises:
        ValueError: `num` does not divide by the number of ranks.
    """
    ranks = world_size()
    if num % ranks:
        down, up = num // ranks * ranks, (num // ranks + 1) * ranks
        near = f"{down} or {up}" if down else str(up)
        raise ValueError(f"{num} tasks cannot be split evenly over {ranks} ranks; use {near} tasks")
    return range(rank() * num // ranks, (rank() + 1) * num // ranks)


def part(batch: Any) -> Any:
    """This rank's part of a batch that every rank has drawn alike: a pytree whose tensors share their first axis.

    Raises:
        ValueError: The axis does not divide by the number of ranks.
    """
    if world_size() == 1:
        return batch

    def mine(tensor: Tensor) -> Tensor:
        chosen = share(len(tensor))
        return tensor[chosen.start : chosen.stop]

    return pytree.tree_map_only(Tensor, mine, batch)


def sum_(tensor: Tensor) -> Tensor:
    """Replace a tensor by its sum over ranks, in place; the same bits on every rank."""
    if world_size() > 1:
        with _peers():
            dist.all_reduce(tensor)
    return tensor


def mean_(tensor: Tensor) -> Tensor:
    """Replace a floating-point tensor by its mean over ranks, in place."""
    return sum_(tensor).div_(world_size()) if world_size() > 1 else tensor


def mean_gradients_(gradients: Iterable[Tensor]) -> None:
    """Average gradients over ranks, in place, in one message per type and device.

    Args:
        gradients: Tensors of the same shapes on every rank, or parameters (whose `.grad` is meant; one
            without a gradient gets zeros).
    """
    if world_size() == 1:
        return
    groups: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for each in gradients:
        grad = _gradient(each)
        groups.setdefault((grad.dtype, grad.device), []).append(grad)
    for group in groups.values():
        flat = mean_(torch.cat([grad.reshape(-1) for grad in group]))
        for grad, part in zip(group, flat.split([grad.numel() for grad in group]), strict=True):
            grad.copy_(part.view_as(grad))


def _gradient(tensor: Tensor) -> Tensor:
    if not (tensor.is_leaf and tensor.requires_grad):
        return tensor
    if tensor.grad is None:
        tensor.grad = torch.zeros_like(tensor)
    return tensor.grad


def mean_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Average metrics over the ranks that have them."""
    if world_size() == 1:
        return dict(metrics)
    everyone: list[dict[str, float]] = [{} for _ in range(world_size())]
    with _peers():
        dist.all_gather_object(everyone, dict(metrics))
    names = dict.fromkeys(name for one in everyone for name in one)
    values = {name: [one[name] for one in everyone if name in one] for name in names}
    return {name: sum(each) / len(each) for name, each in values.items()}


def any_true(flag: bool, device: torch.device | str = "cpu") -> bool:
    """Whether the flag is up on any rank: the same answer on all of them."""
    if world_size() == 1:
        return flag
    return bool(sum_(torch.tensor(float(flag), device=device)).item())


def from_main(value: Value) -> Value:
    """Rank 0's value, on every rank (it travels pickled, between our own processes only)."""
    if world_size() == 1:
        return value
    box = [value]
    with _peers():
        dist.broadcast_object_list(box, src=0)
    return box[0]


def copy_from_main_(tensors: Iterable[Tensor]) -> None:
    """Overwrite each rank's tensors by rank 0's."""
    if world_size() == 1:
        return
    with torch.no_grad(), _peers():
        for tensor in tensors:
            dist.broadcast(tensor.detach(), src=0)


def check_equal(tensors: Mapping[str, Tensor]) -> None:
    """Make sure that all ranks hold the same numbers.

    Raises:
        RuntimeError: naming the tensors that differ; their next average would mean nothing.
    """
    if world_size() == 1:
        return
    differ = []
    for name, tensor in sorted(tensors.items()):  # what was loaded has another order on every rank
        mine = tensor.detach().to(torch.float64)
        theirs = mine.clone()
        copy_from_main_([theirs])
        differ += [name] if any_true(not torch.equal(mine, theirs), tensor.device) else []
    if differ:
        raise RuntimeError(
            f"ranks have drifted apart in {', '.join(differ)}: what a rank computes from its own tasks "
            "(running statistics, for one) must go through metarl.distributed.sum_ or mean_"
        )


@contextmanager
def _peers() -> Iterator[None]:
    """Name the likely cause when the other end of a collective goes away."""
    try:
        yield
    except RuntimeError as error:
        raise RuntimeError(
            f"rank {rank()} of {world_size()} lost contact with another rank: one has died or is stuck "
            f"(its own message says why). Resume from the last checkpoint. [{error}]"
        ) from error
