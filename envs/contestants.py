"""Who wrestles: policies by name, from a pool, a run of self-play, or nowhere at all (`zero`)."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metarl.envs.gaits import GAITS, Gait
from metarl.envs.opponent_tasks import ZERO, ZOO, Versions, read_pool
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
    policy: OpponentPolicy | Gait | None
    """None stands still."""

    @property
    def digest(self) -> str:
        """Tells it from another one of the same name."""
        found = hashlib.sha256(self.body.encode())
        if isinstance(self.policy, OpponentPolicy):
            for name, array in sorted(self.policy.arrays.items()):
                found.update(name.encode() + array.tobytes())
        elif self.policy is not None:
            found.update(repr(self.policy).encode())
        return found.hexdigest()


def contestant(text: str, pool: str | Path = ZOO) -> Contestant:
    """A wrestler by what a user calls it.

    Args:
        text: `NAME` or `NAME@VERSION` of a pool, by default its newest; a file `.../v0003.safetensors`; the folder of a
            run of self-play, `RUN` or `RUN@VERSION`; `zero-ant`, `zero-bug`, `zero-spider`, which stand still; or
            `gait-ant`, `gait-bug`, `gait-spider`, which walk by hand.
        pool: Folder of the pool; unset, the one that comes with the package.

    Raises:
        ValueError: There is none of that name, with the nearest, or its policy is damaged.
    """
    whole = Path(text)
    if whole.suffix == ".safetensors":
        return _of_file(whole)
    name, at, version = text.rpartition("@")
    if not at or whole.is_dir():
        name, version = text, ""
    body = name.removeprefix(f"{ZERO}-").title()
    if name in GAITS or (name.startswith(f"{ZERO}-") and body in ANATOMIES):
        if version:
            raise ValueError(f"'{name}' has no versions, got '{text}'")
        return Contestant(name, GAITS[name].body if name in GAITS else body, GAITS.get(name))
    path = Path(name)
    if (path / OWN_VERSIONS).is_dir():
        own = read_pool(path / OWN_VERSIONS.parent).get(OWN_VERSIONS.name)
        if own is None:
            raise ValueError(f"'{path}' has no versions in {OWN_VERSIONS} yet: train it longer")
        return _newest(path.resolve().name, own, version)
    found = read_pool(pool)
    if name not in found:
        if path.is_dir():
            raise ValueError(f"'{name}' is no run of self-play: it has no {OWN_VERSIONS}")
        raise unknown("wrestler", name, [*found, *(f"{ZERO}-{each.lower()}" for each in ANATOMIES), *GAITS])
    return _newest(name, found[name], version)


def everyone(pool: str | Path = ZOO) -> list[Contestant]:
    """All versions of all wrestlers of a pool, by default of the one that comes with the package."""
    found = read_pool(pool)
    return [_newest(name, each, str(version)) for name, each in found.items() for version in sorted(each)]


def several(texts: Sequence[str], pool: str | Path = ZOO) -> list[Contestant]:
    """Wrestlers to meet one another; without names, everyone of the pool.

    Args:
        texts: As :func:`contestant` has them.
        pool: Likewise.

    Raises:
        ValueError: Besides, there are fewer than two, or one is named twice.
    """
    found = [contestant(each, pool) for each in texts] or everyone(pool)
    names = [each.name for each in found]
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"expected two different wrestlers or more, got {', '.join(names)}")
    return found


def _of_file(path: Path) -> Contestant:
    """A version in a file; one of a run of self-play is named after the run, another after its folder."""
    number = re.fullmatch(r"v0*(\d+)", path.stem)
    place = path.resolve().parent
    of_run = place.parts[-2:] == OWN_VERSIONS.parts
    name = place.parents[1].name if of_run else place.name
    return _named(f"{name}@{number[1] if number else path.stem}", load_policy(path))


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
        if (policy.observation_size, policy.action_size) == (anatomy.observation_size, anatomy.action_size):
            return Contestant(name, body, policy)
    raise ValueError(
        f"{name} has {policy.observation_size} observations and {policy.action_size} actions: no wrestler's"
    )
