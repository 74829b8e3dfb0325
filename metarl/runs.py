"""The folder of one training, and everything in it.

```
runs/<world>/<agent>/<date>-<time>_s<seed>/
  config.json   run.json   events.out.tfevents...   metrics.csv   checkpoints/   videos/
```
"""

import logging
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree
from typing import Any, Literal

from metarl import provenance
from metarl.configs import read_json, write_json
from metarl.files import locked
from metarl.metrics_csv import MetricsCSV, read_metrics
from metarl.names import nearest

Layout = Mapping[str, Mapping[str, Sequence[str]]]
log = logging.getLogger(__name__)
Reason = Literal["running", "finished", "stopped", "failed", "diverged"]


class Run:
    """One training's folder.

    Only rank 0 writes; on the other ranks `log` and `finish` do nothing.

    Attributes:
        path: The folder.
        config: What `config.json` holds.
        info: What `run.json` holds: `verb` (what it is resumed by), `command`, `git`, `versions`, `hardware`, `ranks`,
            `world`, `agent`, `seed`, `started`, `resumed` (for each resumption its `time`, and `command` to `ranks` anew;
            in older runs the time alone), `ended` (or None), `reason` (running, finished, stopped, failed, diverged) and
            `message` (or None); `total`, if a resumption has changed how long it is to be.
    """

    def __init__(self, path: str | Path, config: dict[str, Any], info: dict[str, Any]):
        """Use `Run.create` or `Run.open`."""
        self.path = Path(path)
        self.config = config
        self.info = info
        self._table = MetricsCSV(self.path / "metrics.csv")
        self._board: Any = None
        self._purge_from: int | None = None
        self._layout: Layout = {}

    @classmethod
    def create(
        cls,
        root: str | Path,
        world: str,
        agent: str,
        seed: int,
        config: dict[str, Any],
        verb: str = "metarl train",
    ) -> "Run":
        """Make the folder of a new run; on several ranks call it on each, rank 0 makes it.

        Args:
            root: Folder of all runs.
            world: Environment id or data set; `metarl/` in front is dropped.
            agent: Name of the agent or method.
            seed: For the name and `run.json`.
            config: The whole config as a dict; kept in `config.json`.
            verb: What it is resumed by, with `--resume`.

        Raises:
            ValueError: under torchrun, `metarl.distributed.start` was not called yet.
        """
        from metarl import distributed

        distributed.check_started()
        path = None
        if distributed.is_main():
            path = _new_folder(Path(root) / _as_folder(world) / _as_folder(agent), seed)
            write_json(path / "config.json", config)
            write_json(path / "run.json", {"verb": verb, **_first_info(path, world, agent, seed)})
        path = distributed.from_main(path)
        assert path is not None
        return cls.open(path)

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """The run in a folder. Nothing is written until something is logged.

        Raises:
            ValueError: the folder holds no run; the message lists runs nearby.
        """
        path = Path(path)
        if path.is_file() and path.name in ("run.json", "config.json"):
            path = path.parent
        if not (path / "run.json").is_file() or not (path / "config.json").is_file():
            raise ValueError(f"{path} is not a run (it has no run.json and config.json){_near(path)}")
        config, info = (read_json(path / name) for name in ("config.json", "run.json"))
        for name, found in (("config.json", config), ("run.json", info)):
            if not isinstance(found, dict):
                raise ValueError(f"{path / name} is damaged: got {type(found).__name__}, expected an object")
        return cls(path, config, info)

    def check_whole(self, kind: str) -> None:
        """Make sure that `config.json` says what was trained, and how.

        Args:
            kind: `agent` or `method`.

        Raises:
            ValueError: It does not.
        """
        named = isinstance(self.config.get(kind), str)
        if not named or not all(isinstance(self.config.get(key), dict) for key in ("experiment", "config")):
            raise ValueError(
                f"{self.path / 'config.json'} is damaged: expected '{kind}', 'experiment' and 'config'"
            )

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def resume_command(self) -> str:
        """What to type to go on with it."""
        return f"{self.info.get('verb', 'metarl train')} --resume {shlex.quote(str(self.path))}"

    def newest_checkpoint(self) -> Path:
        """The newest whole checkpoint, without suffix.

        Raises:
            ValueError: There is none yet, or none can be read.
        """
        from metarl import checkpoints

        newest = checkpoints.latest(self.checkpoints)
        if newest is not None:
            return newest
        if any(self.checkpoints.glob("step_*")):
            raise ValueError(
                f"none of the checkpoints of {self.path} can be read (see the warnings above): train anew without "
                "--resume"
            )
        raise ValueError(f"{self.path} has no checkpoint yet; train it longer: {self.resume_command}")

    @property
    def videos(self) -> Path:
        """Folder of the videos, made when it is asked for."""
        folder = self.path / "videos"
        folder.mkdir(exist_ok=True)
        return folder

    @property
    def rows(self) -> int:
        """How many rows `metrics.csv` holds."""
        return self._table.rows

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Write numbers to `metrics.csv` and TensorBoard.

        Args:
            metrics: Numbers by tag; new tags may appear at any time.
            step: The x axis: environment steps for agents, episodes for images.
        """
        if not _is_main():
            return
        board = self._tensorboard()
        for tag, value in metrics.items():
            board.add_scalar(tag, float(value), step)
        self._table.append(step, metrics)

    def metrics(self) -> dict[str, list[float]]:
        """All logged numbers by tag, `step` among them; equally long, NaN where a row has none."""
        return read_metrics(self.path / "metrics.csv")

    def layout(self, layout: Layout) -> None:
        """Arrange TensorBoard's page of custom scalars; it is written with the first numbers that are logged.

        Args:
            layout: Category -> chart -> patterns of the tags that the chart draws (regular
                expressions that match from the tag's start), in the order in which they are to be seen.
        """
        self._layout = layout

    @contextmanager
    def board(self, place: str) -> Iterator[Any]:
        """TensorBoard's writer for a run of its own below this one; what stood there before is removed.

        Args:
            place: Folder within this one, e.g. `lifetimes/adaptation`.
        """
        from torch.utils.tensorboard import SummaryWriter

        folder = self.path / place
        rmtree(folder, ignore_errors=True)
        with SummaryWriter(str(folder)) as writer:
            yield writer

    def rewind(self, rows: int, step: int) -> None:
        """Forget what was logged after a checkpoint, to go on from it.

        Args:
            rows: Rows of `metrics.csv` to keep.
            step: The checkpoint's step; TensorBoard hides what an earlier process wrote after it.
        """
        if not _is_main():
            return
        self._table.cut(rows)
        self._purge_from = step + 1
        before = self.info.get("resumed", [])
        now = {"time": _now(), **_circumstances(self.path, f"-resumed-{len(before) + 1}")}
        self.note(resumed=[*before, now], ended=None, reason="running", message=None)

    def sync(self) -> None:
        """Make sure that everything logged so far is on the disk."""
        self._table.sync()
        if self._board is not None:
            self._board.flush()

    def note(self, **entries: Any) -> None:
        """Add entries to `run.json`."""
        self.info |= entries
        if _is_main():
            write_json(self.path / "run.json", self.info)

    def total(self, given: int | None, usual: int) -> int:
        """How long the training is to be, in steps or episodes: what was given last, now or in an earlier resumption.

        Args:
            given: A new total, written down with whatever is noted next; None for that of before.
            usual: What the config says.

        Raises:
            ValueError: More than the new total is done already.
        """
        if given is not None:
            from metarl import checkpoints

            complete = checkpoints.complete(self.checkpoints)
            done = int(complete[-1].name.removeprefix("step_")) if complete else 0
            if given < done:
                raise ValueError(
                    f"got a total of {given:,} for {self.path}, which has done {done:,} already: expected that or more"
                )
            self.info["total"] = given
        return int(self.info.get("total", usual))

    def finish(self, reason: Reason, message: str | None = None) -> None:
        """Close the files and write into `run.json` when and why the run ended, also where one cannot be closed."""
        board, self._board = self._board, None
        with ExitStack() as stack:
            stack.callback(self.note, ended=_now(), reason=reason, message=message)
            stack.callback(self._table.close)
            if board is not None:
                stack.callback(board.close)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training in this folder; the system lets go when the process ends, however it does.

        Raises:
            ValueError: Another one trains here.
        """
        if not _is_main():
            yield
            return
        refusal = (
            f"another process is training in {self.path}: wait until it has ended, or stop it with Ctrl-C"
        )
        with locked(self.path / ".lock", refusal):
            yield

    def _tensorboard(self) -> Any:
        if self._board is None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self.path), purge_step=self._purge_from)
            self._purge_from = None
            arrange(self._board, self._layout)
        return self._board

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.info.get('reason')})"


def find(root: str | Path = "runs") -> list[Run]:
    """All runs in or up to four folders below a folder, the oldest first; damaged ones are passed over with a warning."""
    files = [each for depth in range(5) for each in Path(root).glob("*/" * depth + "run.json")]
    places = {each.parent for each in files if (each.parent / "config.json").exists()}
    found = []
    for place in sorted(places, key=lambda place: (place.name, str(place))):
        try:
            found.append(Run.open(place))
        except ValueError as error:
            log.warning("passing over a run: %s", error)
    return found


def runs_in(folder: str | Path) -> list[Run]:
    """The run in a folder, or all runs below it.

    Raises:
        ValueError: There is none.
    """
    return [Run.open(folder)] if (Path(folder) / "run.json").exists() else find(folder) or [Run.open(folder)]


def arrange(writer: Any, layout: Layout) -> None:
    """Write a layout of TensorBoard's page of custom scalars; see `Run.layout`."""
    if layout:
        writer.add_custom_scalars(
            {
                category: {chart: ["Multiline", list(tags)] for chart, tags in charts.items()}
                for category, charts in layout.items()
            }
        )


def _circumstances(path: Path, ending: str = "") -> dict[str, Any]:
    """By what and where a process trains; diffs of changed code go to a run's folder, with an ending of their names."""
    return {
        "command": provenance.command(),
        "git": provenance.git(Path.cwd(), path, ending),
        "versions": provenance.versions(),
        "hardware": provenance.hardware(),
        "ranks": int(os.environ.get("WORLD_SIZE", "1")),
    }


def _first_info(path: Path, world: str, agent: str, seed: int) -> dict[str, Any]:
    return {
        **_circumstances(path),
        "world": world,
        "agent": agent,
        "seed": seed,
        "started": _now(),
        "resumed": [],
        "ended": None,
        "reason": "running",
        "message": None,
    }


def _new_folder(parent: Path, seed: int) -> Path:
    """A folder that did not exist before, even if two runs start in the same second."""
    name = f"{datetime.now():%Y%m%d-%H%M%S}_s{seed}"
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        path = parent / (name if number == 1 else f"{name}_{number}")
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            (path / "checkpoints").mkdir()
            (path / "videos").mkdir()
            return path


def _as_folder(name: str) -> str:
    """An id as one folder name: `metarl/CheetahDir-v0` is `CheetahDir-v0`, `ns/Name-v0` is `ns-Name-v0`."""
    safe = "".join(c if c.isalnum() or c in "-_.+=" else "-" for c in name.removeprefix("metarl/"))
    return safe.strip(".") or "unnamed"


def _near(path: Path) -> str:
    """A sentence about the runs that may have been meant."""
    place = path
    while not place.is_dir() and place != place.parent:
        place = place.parent
    found = [str(run.path) for run in find(place)] if place != place.parent else []
    if not found:
        return "; no runs nearby"
    if len(found) == 1:
        return f"; did you mean '{found[0]}'?"
    hint = nearest(str(path), found) if not path.is_dir() else ""
    newest = "\n  ".join(reversed(found[-5:]))
    return f"{'; ' + hint if hint.startswith('did') else ''}; the newest of {len(found)} nearby:\n  {newest}"


def _is_main() -> bool:
    """Rank 0 writes. Asked at every writing, as a run may be opened before the ranks have met; reading needs no torch."""
    distributed = sys.modules.get("metarl.distributed")
    return distributed is None or distributed.is_main()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
