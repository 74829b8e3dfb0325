"""What several verbs need to understand their flags: tyro with our settings, and names of worlds."""

import json
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, TypeVar

from metarl.names import unknown

Options = TypeVar("Options")


def wants_help(arguments: Sequence[str]) -> bool:
    """Whether `-h` or `--help` is among the arguments."""
    return any(each in ("-h", "--help") for each in arguments)


def parse(options: Callable[..., Options], prog: str, arguments: Sequence[str], description: str) -> Options:
    """Fill a dataclass from flags.

    Args:
        options: The dataclass; the docstring under each field is that flag's help.
        prog: For the usage line, e.g. `metarl train promp`.
        arguments: The flags.
        description: First lines of the help.

    Raises:
        SystemExit: 0 after `--help`; 2 after a message about a flag that is unknown, missing or wrong.
        ValueError: What the dataclass itself refuses.
    """
    import tyro

    registry = tyro.constructors.ConstructorRegistry()
    registry.primitive_rule(_mapping)
    with registry:
        return tyro.cli(options, prog=prog, args=list(arguments), description=description)


def world_id(name: str) -> str:
    """The Gymnasium id that a user's name for a world stands for.

    Args:
        name: With or without `metarl/`; `module:id` is left to Gymnasium, which imports the module.

    Raises:
        ValueError: Nothing of that name is registered, and the message has the nearest of our worlds; or there is no such
            module.
    """
    import gymnasium

    import metarl.envs

    for each in (name, f"metarl/{name}"):
        if ":" in each:
            _import_world(each)
            return each
        if each in gymnasium.registry:
            return each
    if "/" in name:
        raise unknown("world", name, metarl.envs.WORLDS)
    raise unknown("world", name, [each.removeprefix("metarl/") for each in metarl.envs.WORLDS])


def _import_world(name: str) -> None:
    """Import the module of `module:id`; what goes wrong within it is its author's to see."""
    module = name.partition(":")[0]
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise ValueError(
            f"world '{name}': there is no module '{module}' here; expected MODULE:ID with a module that can be imported "
            "from this folder"
        ) from None


def optional_json(example: str) -> Any:
    """How tyro reads a flag that may stand alone or before a JSON object: `""`, or the text."""
    from tyro.constructors import PrimitiveConstructorSpec

    def read(words: list[str]) -> str:
        if len(words) > 1:
            raise ValueError(f"got {len(words)} words, expected none or one JSON object, e.g. {example}")
        return words[0] if words else ""

    return PrimitiveConstructorSpec(
        nargs="*",
        metavar="[JSON]",
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, str),
        str_from_instance=lambda value: [value] if value else [],
    )


def json_mapping(text: str, what: str) -> dict[str, Any]:
    """A JSON object given on the command line.

    Raises:
        ValueError: The text is no JSON object; the message says which flag.
    """
    expected = """expected a JSON object, e.g. '{"direction": -1}'"""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{what}: {text!r} is not JSON ({error}); {expected}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{what}: got {text!r}, {expected}")
    return value


def _mapping(info: Any) -> Any:
    """How tyro reads a `dict[str, Any]`: `name=value` pairs, the values as JSON where they are JSON."""
    from tyro.constructors import PrimitiveConstructorSpec

    if info.type != dict[str, Any]:
        return None
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar="[NAME=VALUE ...]",
        instance_from_str=lambda words: dict(_pair(word) for word in words),
        is_instance=lambda value: isinstance(value, dict),
        str_from_instance=lambda value: [f"{name}={json.dumps(each)}" for name, each in value.items()],
    )


def _pair(word: str) -> tuple[str, Any]:
    name, equals, value = word.partition("=")
    if not equals or not name:
        raise ValueError(f"got {word!r}, expected NAME=VALUE, e.g. control_cost=0.2")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
