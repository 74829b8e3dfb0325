"""Who wrestles: policies by name, from a pool, a run of self-play, or nowhere at all (`zero`)."""

import re
from dataclasses import dataclass
from pathlib import Path

from metarl.configs import read_json
from metarl.envs.opponent_tasks import ZERO, ZOO, ZOO_FOLDER, Versions, read_pool
from metarl.envs.opponents import OpponentPolicy, load_policy
from metarl.envs.wrestlers import ANATOMIES
from metarl.names import unknown

OWN_VERSIONS = Path("opponents") / "self"
"""Where a run of self-play keeps its own versions, within its folder."""


@dataclass(frozen=True)
class Contestant:
    """A wrestler: a body and who moves it."""

    name: str
    """What it is called, with its version."""
    body: str
    """`Ant`, `Bug` or `Spider`."""
    policy: OpponentPolicy | None
    """None stands still."""


def contestant(text: str, pool: str | Path = ZOO) -> Contestant:
    """A wrestler by what a user calls it.

    Args:
        text: `NAME` or `NAME@VERSION` of a pool, by default its newest; a file `.../v0003.safetensors`; the folder of a
            run of self-play, `RUN` or `RUN@VERSION`; or `zero-ant`, `zero-bug`, `zero-spider`, which stand still.
        pool: Folder of the pool; unset, the one that comes with the package.

    Raises:
        ValueError: There is none of that name, with the nearest, or its policy is damaged.
    """
    body = text.removeprefix(f"{ZERO}-").title()
    if text.startswith(f"{ZERO}-") and body in ANATOMIES:
        return Contestant(text, body, None)
    name, _, version = text.partition("@")
    path = Path(name)
    if path.suffix == ".safetensors" or path.with_suffix(".safetensors").is_file():
        return _named(f"{path.parent.name}@{path.stem}", load_policy(path))
    if (path / OWN_VERSIONS).is_dir():
        return _newest(path.resolve().name, read_pool(path / OWN_VERSIONS.parent)[OWN_VERSIONS.name], version)
    if path.is_dir():
        raise ValueError(f"'{name}' is no run of self-play: it has no {OWN_VERSIONS}")
    found = read_pool(pool)
    if name not in found:
        raise unknown("wrestler", name, [*found, *(f"{ZERO}-{each.lower()}" for each in ANATOMIES)])
    return _newest(name, found[name], version)


def everyone(pool: str | Path = ZOO) -> list[Contestant]:
    """All versions of all wrestlers of a pool, by default of the one that comes with the package."""
    found = read_pool(pool)
    return [_newest(name, each, str(version)) for name, each in found.items() for version in sorted(each)]


def zoo_wrestlers() -> dict[str, str]:
    """The wrestlers that come with the package, and what each is, in one line."""
    found = {}
    for folder in sorted(path for path in ZOO_FOLDER.iterdir() if path.is_dir()):
        files = sorted(folder.glob("v*.json"))
        newest = read_json(files[-1])
        wins = ", ".join(f"{100 * each['wins']:.0f} % of {other}" for other, each in newest["scores"].items())
        found[folder.name] = (
            f"wrestler, versions {int(files[0].stem[1:])} to {int(files[-1].stem[1:])} of self-play, "
            f"{newest['steps']:,} steps; the newest beats {wins}"
        )
    return found


def _newest(name: str, versions: Versions, version: str) -> Contestant:
    number = re.fullmatch(r"v?(\d+)", version) if version else None
    if version and (number is None or int(number[1]) not in versions):
        known = ", ".join(str(each) for each in sorted(versions))
        raise ValueError(f"'{name}' has no version '{version}': it has {known}")
    chosen = int(number[1]) if number else max(versions)
    return _named(f"{name}@{chosen}", versions[chosen])


def _named(name: str, policy: OpponentPolicy) -> Contestant:
    """A wrestler whose body is told by the sizes of its policy."""
    for body, anatomy in ANATOMIES.items():
        legs = len(anatomy.limbs)
        if (policy.observation_size, policy.action_size) == (22 * legs + 32, 2 * legs):
            return Contestant(name, body, policy)
    raise ValueError(
        f"{name} has {policy.observation_size} observations and {policy.action_size} actions: no wrestler's"
    )
