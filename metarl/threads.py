"""Independent pieces of work side by side in Python threads, each with one intra-op thread.

Small tensor operations gain little from being split over cores, and torch releases the interpreter lock while
it
computes: two tasks on two cores beat one task at a time on both.
"""

import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import lru_cache, partial
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from metarl.transforms import in_stateless_call

_seen_safe: set[frozenset[Any]] = set()
"""Signatures of tasks that ran once, alone, without swapping params into a shared module."""


class SharedModule(ValueError):
    """A task puts its params into a module that other threads would use at the same time."""


def in_threads(calls: Sequence[Callable[[], Any]], workers: int, task: Any, *, strict: bool) -> list[Any]:
    """The results of all calls, in order.

    Args:
        calls: Independent pieces of work. The first that fails ends the whole.
        workers: Threads, at least 1.
        task: What the calls run. The first time it is met, one call runs alone to see whether threads are
            safe.
        strict: Raise where they are not; else do the rest one after the other.

    Raises:
        SharedModule: `strict`, and `torch.func.functional_call` swaps params into a shared module.
    """
    before = torch.get_num_threads()
    try:
        if workers < 2:
            return [call() for call in calls]
        with _swaps_refused():
            torch.set_num_threads(1)
            return _results(calls, workers, _signature(task))
    except SharedModule:
        if strict:
            raise
    finally:
        torch.set_num_threads(before)
    return [call() for call in calls]


def _results(calls: Sequence[Callable[[], Any]], workers: int, signature: frozenset[Any]) -> list[Any]:
    first = []
    if signature not in _seen_safe:
        first = [calls[0]()]
        _seen_safe.add(signature)
    run = partial(_with_grad_mode, torch.is_grad_enabled())
    futures: list[Future] = [_pool(workers, os.getpid()).submit(run, call) for call in calls[len(first) :]]
    wait(futures, return_when=FIRST_EXCEPTION)
    for future in futures:
        future.cancel()
    wait(futures)
    for future in futures:
        if not future.cancelled() and (error := future.exception()):
            raise error
    return first + [future.result() for future in futures]


@lru_cache(maxsize=4)
def _pool(workers: int, process: int) -> ThreadPoolExecutor:
    """Threads that stay, and with them the memory they have warmed; a forked process gets its own."""
    return ThreadPoolExecutor(workers, f"metarl-{process}", initializer=torch.set_num_threads, initargs=(1,))


def _with_grad_mode(enabled: bool, call: Callable[[], Any]) -> Any:
    with torch.set_grad_enabled(enabled):
        return call()


def _signature(task: Any) -> frozenset[Any]:
    """The code and the modules that a task reaches through closures: the same when a closure is made anew."""
    found: set[Any] = set()
    met: set[int] = set()
    waiting = [task]
    while waiting:
        each = waiting.pop()
        if id(each) in met:
            continue
        met.add(id(each))
        if isinstance(each, partial):
            waiting += [each.func, *each.args, *each.keywords.values()]
        elif isinstance(each, MethodType):
            waiting += [each.__func__, each.__self__]
        elif isinstance(each, FunctionType):
            found.add(each.__code__)
            waiting += inspect.getclosurevars(each).nonlocals.values()
        elif callable(each):
            found.add(id(each))
    return frozenset(found)


@contextmanager
def _swaps_refused() -> Iterator[None]:
    """While it lasts, a call of a module whose parameters are swapped, outside `stateless`, raises."""

    def check(module: nn.Module, _: Any) -> None:
        if in_stateless_call():
            return
        held = (p for each in module.modules() for p in each._parameters.values() if p is not None)
        if not all(isinstance(p, nn.Parameter) for p in held):
            raise SharedModule(
                f"how='threads' would share one {type(module).__name__} between threads as functional_call "
                "has swapped its params: use metarl.nn.stateless(module)(params, x), or how='loop'"
            )

    handle = register_module_forward_pre_hook(check)
    try:
        yield
    finally:
        handle.remove()
