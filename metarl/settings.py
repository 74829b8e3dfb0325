"""Changing a frozen config by keywords, as `metarl.train(..., inner={"lr": 0.2})` does."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from metarl.configs import from_dict, to_dict
from metarl.names import unknown

Config = TypeVar("Config")


def changed(config: Config, settings: Mapping[str, Any]) -> Config:
    """A config with some fields replaced.

    Args:
        config: A dataclass instance, possibly nested.
        settings: New values by field name. A nested config is given as a mapping of the fields that change,
            or as a whole dataclass.

    Raises:
        ValueError: An unknown field, a value of the wrong type, or one that the dataclass refuses.
    """
    return from_dict(type(config), _merged(to_dict(config), settings))


def split(settings: Mapping[str, Any], *configs: Any) -> list[dict[str, Any]]:
    """Sort settings by the dataclass (or instance) that has a field of that name, the first that has one.

    Raises:
        ValueError: No config has such a field; the message names the nearest.
    """
    fields = [{field.name for field in dataclasses.fields(each)} for each in configs]
    found: list[dict[str, Any]] = [{} for _ in configs]
    for name, value in settings.items():
        owner = next((i for i, names in enumerate(fields) if name in names), None)
        if owner is None:
            raise unknown("setting", name, set().union(*fields))
        found[owner][name] = value
    return found


def _merged(values: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for name, value in settings.items():
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            merged[name] = to_dict(value)
        elif isinstance(value, Mapping) and isinstance(merged.get(name), dict):
            merged[name] = _merged(merged[name], value)
        else:
            merged[name] = value
    return merged
