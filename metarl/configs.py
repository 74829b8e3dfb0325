"""Nested frozen dataclasses to plain JSON and back, with errors that say which field and why.

A field whose type is a union of several dataclasses is written with a `"type"` entry, so that it comes
back as the class it was.
"""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from metarl.files import write_atomically
from metarl.names import nearest

Config = TypeVar("Config")


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass as a dict of JSON values (dicts, lists, numbers, strings, booleans, None).

    Args:
        config: An instance of a dataclass; fields may be dataclasses, tuples, lists, dicts, paths.

    Raises:
        ValueError: `config` is no dataclass instance, or a field holds what JSON cannot say.
    """
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise ValueError(f"got {type(config).__name__}, expected an instance of a dataclass")
    hints = _hints(type(config))
    return {
        field.name: _plain(getattr(config, field.name), hints[field.name], field.name)
        for field in dataclasses.fields(config)
        if field.init
    }


def from_dict(cls: type[Config], values: Mapping[str, Any], *, where: str = "") -> Config:
    """The dataclass that `to_dict` wrote; fields that are left out take their defaults.

    Args:
        cls: The dataclass to build.
        values: Its fields by name. Lists become tuples where the field is a tuple, whole numbers become
            floats where it is a float.
        where: Dotted path of `values` in the whole config, for messages.

    Raises:
        ValueError: an unknown field (with the nearest known name), a missing one, or a value of the wrong
            type; or whatever the dataclass itself refuses.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{where or cls.__name__}: got {values!r}, expected a mapping with its fields")
    known = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise ValueError(
                f"unknown field '{_join(where, name)}' of {cls.__name__}: {nearest(name, known)}"
            )
    missing = [name for name, field in known.items() if name not in values and _required(field)]
    if missing:
        raise ValueError(f"{where or cls.__name__}: no value for {', '.join(missing)}, which have no default")
    hints = _hints(typing.cast(Any, cls))
    return cls(**{name: _typed(value, hints[name], _join(where, name)) for name, value in values.items()})


def refuse_below(at_least: Mapping[str, int], given: Mapping[str, Any], prefix: str = "") -> None:
    """Refuse numbers that are too small; those that are None may be so.

    Args:
        at_least: The smallest that is allowed, by name.
        given: The numbers by name, maybe among others: the fields of a dataclass (`vars`), say.
        prefix: What the message puts before the name.

    Raises:
        ValueError: It says which.
    """
    for name, least in at_least.items():
        if given[name] is not None and given[name] < least:
            raise ValueError(f"{prefix}{name}={given[name]}, expected {least} or more")


def refuse_large_seed(seed: int) -> None:
    """Refuse a seed that generators have no room for."""
    if seed >= 2**63:
        raise ValueError(f"seed={seed}, expected less than 2^63")


def differences(configs: Sequence[Mapping[str, Any]], kinds: Sequence[Any]) -> list[str]:
    """For each of several configs the settings in which it differs from others of its kind, such as `inner.lr 0.1`.

    Args:
        configs: Nested mappings.
        kinds: What each is the config of, e.g. the name of an agent.
    """
    flat = [dict(_flat(each)) for each in configs]
    texts = []
    for kind, config in zip(kinds, flat, strict=True):
        peers = [other for name, other in zip(kinds, flat, strict=True) if name == kind]
        unlike = [key for key in config if any(other.get(key) != config[key] for other in peers)]
        texts.append(" ".join(f"{key} {config[key]}" for key in unlike))
    return texts


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def read_json(path: str | Path) -> Any:
    """The content of a JSON file.

    Raises:
        ValueError: there is no such file, or it is not JSON (with line and column).
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"no such file: {path}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not readable JSON: {error}") from None


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON (a dataclass is turned into its dict), indented, replacing the file in one step."""
    if dataclasses.is_dataclass(content) and not isinstance(content, type):
        content = to_dict(content)
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else str(name)


def _members(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a union, or the type itself."""
    hint = _bare(hint)
    return typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)


def _bare(hint: Any) -> Any:
    """A type without its `Annotated` wrapping."""
    return _bare(typing.get_args(hint)[0]) if typing.get_origin(hint) is typing.Annotated else hint


def _dataclasses(hint: Any) -> dict[str, type]:
    members = [_bare(member) for member in _members(hint)]
    return {
        each.__name__: each for each in members if isinstance(each, type) and dataclasses.is_dataclass(each)
    }


def _plain(value: Any, hint: Any, where: str) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        tag = {"type": type(value).__name__} if len(_dataclasses(hint)) > 1 else {}
        return tag | to_dict(value)
    if isinstance(value, Mapping):
        inner = typing.get_args(hint)[1] if len(typing.get_args(hint)) == 2 else Any
        return {str(key): _plain(each, inner, f"{where}.{key}") for key, each in value.items()}
    if isinstance(value, tuple | list):
        hints = _element_hints(hint, len(value), where) if _is_sequence(hint) else [Any] * len(value)
        return [_plain(each, inner, where) for each, inner in zip(value, hints, strict=True)]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"{where}: a {type(value).__name__} cannot be written as JSON")


def _is_sequence(hint: Any) -> bool:
    return typing.get_origin(_bare(hint)) in (tuple, list)


def _element_hints(hint: Any, length: int, where: str) -> list[Any]:
    args = typing.get_args(_bare(hint))
    if (len(args) == 2 and args[1] is Ellipsis) or typing.get_origin(_bare(hint)) is list:
        return [args[0]] * length
    if len(args) != length:
        raise ValueError(f"{where}: got {length} values, expected {len(args)}")
    return list(args)


def _typed(value: Any, hint: Any, where: str) -> Any:
    """`value`, come from JSON, as `hint` says it should be."""
    errors = []
    members = _members(hint)
    tagged = _dataclasses(hint)
    if len(tagged) > 1 and isinstance(value, Mapping):
        return _tagged(value, tagged, where)
    for member in members:
        try:
            return _one(value, _bare(member), where)
        except ValueError as error:
            errors.append(error)
    if len(tagged) == 1 and isinstance(value, Mapping):  # the message of the dataclass says most
        raise next(error for error, each in zip(errors, members, strict=True) if _dataclasses(each))
    raise errors[0] if len(members) == 1 else _wrong(value, hint, where)


def _tagged(value: Mapping[str, Any], classes: dict[str, type], where: str) -> Any:
    name = value.get("type")
    if name not in classes:
        known = nearest(name, classes) if isinstance(name, str) else f"known: {', '.join(sorted(classes))}"
        raise ValueError(f"{where}: got type {name!r}, {known}")
    return from_dict(classes[name], {k: v for k, v in value.items() if k != "type"}, where=where)


def _one(value: Any, hint: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, where=where)  # type: ignore[arg-type]
    if origin is Literal:
        if not any(value == each and type(value) is type(each) for each in args):
            hint_ = f": {nearest(value, [str(each) for each in args])}" if isinstance(value, str) else ""
            raise ValueError(f"{where}: got {value!r}, expected one of {', '.join(map(repr, args))}{hint_}")
        return value
    if origin in (tuple, list):
        if not isinstance(value, list | tuple):
            raise _wrong(value, hint, where)
        hints = _element_hints(hint, len(value), where)
        return origin(
            _typed(v, h, f"{where}[{i}]") for i, (v, h) in enumerate(zip(value, hints, strict=True))
        )
    if origin in (dict, Mapping) or hint is dict:
        if not isinstance(value, Mapping):
            raise _wrong(value, hint, where)
        inner = args[1] if args else Any
        return {key: _typed(each, inner, f"{where}.{key}") for key, each in value.items()}
    return _scalar(value, hint, where)


def _scalar(value: Any, hint: Any, where: str) -> Any:
    if hint in (None, type(None)) and value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
    if hint is float and number:
        return float(value)
    if hint is int and number and math.isfinite(value) and value == int(value):
        return int(value)
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    if hint in (bool, str, tuple, list) and isinstance(value, hint):
        return value
    raise _wrong(value, hint, where)


def _wrong(value: Any, hint: Any, where: str) -> ValueError:
    expected = hint.__name__ if isinstance(hint, type) else str(hint)
    return ValueError(f"{where}: got {value!r} ({type(value).__name__}), expected {expected}")
