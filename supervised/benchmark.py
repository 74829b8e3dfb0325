"""All methods by one protocol: trained, judged, written into a table beside published numbers.

What is done is not done again: finished results are read from the JSON file, trainings that were stopped go on.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from metarl import provenance
from metarl.configs import read_json, to_dict, write_json
from metarl.files import locked, write_atomically
from metarl.progress import duration
from metarl.runs import Run, find
from metarl.supervised import runs
from metarl.supervised.benchmark_plan import Benchmark, Job, jobs
from metarl.supervised.benchmark_table import markdown
from metarl.supervised.building import load_split
from metarl.supervised.fewshot_run import FewShotRun


def run(benchmark: Benchmark) -> tuple[Path, bool]:
    """Train and judge what is missing, and write `<data>_<budget>.md` and `.json`.

    A training that fails, for example because the method cannot have the data, is noted with its reason and passed over.

    Returns:
        The Markdown file, and whether everything was done (False: a training was asked to stop).
    """
    file = benchmark.place.with_name(f"{benchmark.place.name}.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    results = _read(file)
    todo = list(jobs(benchmark))
    load_split(todo[0].experiment, "train", torch.device("cpu"))  # where the data are missing, say so at once
    left = [job for job in todo if not _is_done(results.get(job.key), job, benchmark.test_on)]
    took: dict[str, list[float]] = {}
    for job in todo:
        if job not in left:
            _remember(took, results[job.key])
    done = len(todo) - len(left)
    if done:
        print(f"{done} of {len(todo)} are done already", flush=True)
    for number, job in enumerate(left):
        to_go = duration(seconds_to_go(left[number:], took))
        print(f"{done + number + 1}/{len(todo)}  {job.key}  {to_go} to go for all", flush=True)
        found = _work(job, benchmark.test_on, benchmark.quiet)
        if found is None:
            return _write(file, benchmark, {}), False
        _remember(took, found)
        _write(file, benchmark, {job.key: found})
    return _write(file, benchmark, {}), True


def seconds_to_go(left: Sequence[Job], took: Mapping[str, Sequence[float]]) -> float | None:
    """How long jobs will take: as long as others of their method, or where there are none as the mean of all.

    Args:
        left: The jobs.
        took: Seconds that jobs took, by method.

    Returns:
        Seconds, or None before any job has been done.
    """
    every = [seconds for each in took.values() for seconds in each]
    return sum(mean(took.get(job.method, every)) for job in left) if every else None


def _remember(took: dict[str, list[float]], result: Mapping[str, Any]) -> None:
    """Add what a result took, unless it failed."""
    if "training_seconds" in result:
        seconds = result["training_seconds"] + result.get("judging_seconds", 0.0)
        took.setdefault(result["method"], []).append(seconds)


def _is_done(result: dict[str, Any] | None, job: Job, test_episodes: int) -> bool:
    """Whether a result is that of this very job; a failed one is tried again."""
    if result is None or "error" in result:
        return False
    wanted = {**job.settings, "test_episodes": test_episodes}
    return all(result.get(name) == value for name, value in wanted.items())


def _work(job: Job, test_episodes: int, quiet: bool) -> dict[str, Any] | None:
    """Train, or go on, then judge; None if training was asked to stop."""
    about = {**job.settings, "setting": job.setting, "seed": job.seed, "test_episodes": test_episodes}
    try:
        trained = _trained(job, quiet)
        if trained.run.info["reason"] == "stopped":
            return None
        start = time.monotonic()
        found = trained.evaluate(episodes=test_episodes, quiet=quiet)
    except (ValueError, RuntimeError, MemoryError) as error:  # a shape, a divergence, too little memory
        print(f"{job.key} is passed over: {error}", flush=True)
        return {**about, "error": f"{type(error).__name__}: {error}"}
    logged = trained.run.metrics()
    return {
        **about,
        "summary": found.summary(),
        "protocol": found.protocol,
        "run": str(trained.path),
        "updates": int(logged["train/iteration"][-1]) if "train/epochs" in logged else 0,
        "training_seconds": round(logged["time/time_elapsed"][-1], 1),
        "judging_seconds": round(time.monotonic() - start, 1),
    }


def _trained(job: Job, quiet: bool) -> FewShotRun:
    before = _earlier(job)
    if before is None:
        return runs.train(job.method, job.experiment, job.config, quiet=quiet)
    if before.info["reason"] == "finished":
        return FewShotRun(before)
    return runs.resume(before.path, quiet=quiet)


def _earlier(job: Job) -> Run | None:
    """The newest run of exactly this job that can be used or gone on with."""
    wanted = job.settings
    usable = [
        each
        for each in find(job.experiment.out)
        if each.info["reason"] != "diverged"
        and all(each.config.get(name) == value for name, value in wanted.items())
    ]
    return usable[-1] if usable else None


def _read(file: Path) -> dict[str, Any]:
    return read_json(file)["results"] if file.exists() else {}


def _write(file: Path, benchmark: Benchmark, found: dict[str, Any]) -> Path:
    """Add results to those that there are by now, of this process and of others; gives the table's file."""
    table = file.with_suffix(".md")
    with locked(file.with_name(f".{file.name}.lock")):
        results = _read(file) | found
        about = {"measurement": provenance.measurement(), "benchmark": to_dict(benchmark)}
        write_json(file, {**about, "results": results})
        write_atomically(table, markdown(benchmark.data, benchmark.budget, list(results.values())).encode())
    return table
