"""All methods by one protocol: trained, judged, written into a table beside published numbers.

What is done is not done again: finished results are read from the JSON file, trainings that were stopped go on.
"""

from pathlib import Path
from typing import Any

import torch

from metarl import provenance
from metarl.configs import read_json, to_dict, write_json
from metarl.files import write_atomically
from metarl.runs import Run, find
from metarl.supervised import runs
from metarl.supervised.benchmark_plan import Benchmark, Job, jobs
from metarl.supervised.benchmark_table import markdown
from metarl.supervised.building import load_split
from metarl.supervised.fewshot_run import FewShotRun
from metarl.training import TrainingDiverged


def run(benchmark: Benchmark) -> tuple[Path, bool]:
    """Train and judge what is missing, and write `<data>_<budget>.md` and `.json`.

    Returns:
        The Markdown file, and whether everything was done (False: a training was asked to stop).
    """
    file = benchmark.place.with_name(f"{benchmark.place.name}.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = read_json(file)["results"] if file.exists() else {}
    todo = list(jobs(benchmark))
    load_split(todo[0].experiment, "train", torch.device("cpu"))  # where the data are missing, say so at once
    for number, job in enumerate(todo, start=1):
        if _is_done(results.get(job.key), job, benchmark.test_on):
            continue
        print(f"{number}/{len(todo)}  {job.key}", flush=True)
        found = _work(job, benchmark.test_on, benchmark.quiet)
        if found is None:
            return _write(file, benchmark, results), False
        results[job.key] = found
        _write(file, benchmark, results)
    return _write(file, benchmark, results), True


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
        found = trained.evaluate(episodes=test_episodes)
    except (TrainingDiverged, ValueError) as error:
        print(f"{job.key}: {error}", flush=True)
        return {**about, "error": f"{type(error).__name__}: {error}"}
    logged = trained.run.metrics()
    return {
        **about,
        "summary": found.summary(),
        "protocol": found.protocol,
        "run": str(trained.path),
        "updates": int(logged["train/iteration"][-1]) if "train/epochs" in logged else 0,
        "training_seconds": round(logged["time/time_elapsed"][-1], 1),
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


def _write(file: Path, benchmark: Benchmark, results: dict[str, Any]) -> Path:
    content = {"measurement": provenance.measurement(), "benchmark": to_dict(benchmark), "results": results}
    write_json(file, content)
    table = file.with_suffix(".md")
    write_atomically(table, markdown(benchmark.data, benchmark.budget, list(results.values())).encode())
    return table
