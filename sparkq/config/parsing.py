"""Make frozen dataclasses of YAML mappings: every key is known and every value of its field's type, or one sentence says not."""
from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from sparkq.errors import ConfigError

__all__ = ["FILE_SPECS", "nested_type", "option_fields", "parse_config", "part_of", "path_field", "spec_field", "to_mapping"]

Config = TypeVar("Config")

FILE_SPECS = ("onnx", "pt2")
"""Model sources that are followed by a path: ``onnx:FILE``."""


def path_field(**arguments: Any) -> Any:
    """A field whose value is a path: relative to the config file when it stands in one."""
    return dataclasses.field(metadata={"relative": True}, **arguments)


def spec_field(**arguments: Any) -> Any:
    """A field ``source:name`` in which a path may stand (``file.py:name``, ``onnx:file``, ``pt2:file``), or ``file.sparkq``."""
    return dataclasses.field(metadata={"relative_spec": True}, **arguments)


def parse_config(kind: type[Config], mapping: object, *, place: str) -> Config:
    """Make a `kind` from a mapping.

    Parameters
    ----------
    kind : type
        A frozen dataclass; fields that are dataclasses are parsed in turn.
    mapping : object
        What YAML or JSON gave.
    place : str
        Where it stands, for messages: a file, or a dotted key.

    Raises
    ------
    ConfigError
        For anything but a mapping, an unknown or missing key, or a value of a wrong type.
    """
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{place}: expected keys and values; got {type(mapping).__name__} {mapping!r}.")
    fields = {entry.name: entry for entry in option_fields(kind)}
    for key in mapping:
        if key not in fields:
            raise _unknown_key(place, str(key), list(fields))
    required = [name for name, entry in fields.items() if _is_required(entry)]
    missing = [name for name in required if mapping.get(name) is None]
    if missing:
        raise ConfigError(f"{place}: expected the key {missing[0]!r}; got none.", hint=f"required keys: {', '.join(required)}.")
    hints = typing.get_type_hints(kind)
    return kind(**{key: _parse_value(hints[key], value, f"{place}: {key}") for key, value in mapping.items()})


def option_fields(kind: type) -> list[dataclasses.Field[Any]]:
    """The fields of a config that can be set, the required ones first."""
    return sorted((entry for entry in dataclasses.fields(kind) if entry.init), key=lambda entry: not _is_required(entry))


def _is_required(entry: dataclasses.Field[Any]) -> bool:
    return entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING


def part_of(kind: type[Config], config: Any) -> Config:
    """Make a `kind` of a config that has its fields among others."""
    return kind(**{entry.name: getattr(config, entry.name) for entry in option_fields(kind)})


def _unknown_key(place: str, key: str, known: list[str]) -> ConfigError:
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return ConfigError(f"{place}: unknown key {key!r}.", hint=f"{hint}valid keys: {', '.join(known)}.")


def nested_type(hint: Any) -> type | None:
    """The dataclass in a type hint (also an optional one), or None."""
    return next((option for option in _options(hint) if dataclasses.is_dataclass(option)), None)  # type: ignore[return-value]


def _options(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _parse_value(hint: Any, value: Any, place: str) -> Any:
    nested = nested_type(hint)
    if nested is not None and value is not None and not isinstance(value, nested):
        return parse_config(nested, value, place=place)
    for option in _options(hint):
        if _fits(option, value):
            return tuple(value) if isinstance(value, list) else value
    expected = " or ".join(_type_name(option) for option in _options(hint))
    raise ConfigError(f"{place}: expected {expected}; got {type(value).__name__} {value!r}.")


def _fits(option: Any, value: Any) -> bool:
    if option is Any:
        return True
    if option is type(None):
        return value is None
    if option is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if option is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if typing.get_origin(option) is tuple:
        return isinstance(value, (list, tuple))
    return isinstance(value, option)


def _type_name(option: Any) -> str:
    if option is type(None):
        return "nothing"
    if typing.get_origin(option) is tuple:
        return "a list"
    if dataclasses.is_dataclass(option):
        return "keys and values"
    return {str: "text", int: "a whole number", float: "a number", bool: "true or false"}.get(option, str(option))


def to_mapping(config: Any) -> dict[str, Any]:
    """The plain mapping of a config, for JSON: `parse_config` of it gives an equal config."""
    return {
        entry.name: to_mapping(value) if dataclasses.is_dataclass(value := getattr(config, entry.name)) else _listed(value)
        for entry in dataclasses.fields(config)
    }


def _listed(value: Any) -> Any:
    """Tuples as the lists that JSON makes of them."""
    return [_listed(item) for item in value] if isinstance(value, tuple) else value
