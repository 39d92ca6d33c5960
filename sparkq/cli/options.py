"""Every key of a config file is an option too: ``calibration: {images: 100}`` is ``--calibration-images 100``.

A command is described once, by a frozen dataclass: its fields are the keys, its docstring's Parameters the help.
"""
from __future__ import annotations

import argparse
import dataclasses
import inspect
import os
import re
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml

from sparkq.cli.completion import offer
from sparkq.config.parsing import FILE_SPECS, nested_type, option_fields, parse_config
from sparkq.engines.registry import engines_in_words
from sparkq.errors import ConfigError
from sparkq.storage import is_uri, read_file

__all__ = ["add_options", "options_from"]

Options = TypeVar("Options")
_NOT_GIVEN = object()


@dataclass(frozen=True)
class _Leaf:
    keys: tuple[str, ...]
    hint: Any
    help: str
    positional: bool

    @property
    def flag(self) -> str:
        """Its name on the command line; argparse takes a name without a dash for a positional argument."""
        name = "-".join(self.keys).replace("_", "-")
        return name.upper() if self.positional else f"--{name}"


def _leaves(kind: type, above: tuple[str, ...] = ()) -> Iterator[_Leaf]:
    hints = typing.get_type_hints(kind)
    helps = _parameter_docs(kind)
    for field in option_fields(kind):
        nested = nested_type(hints[field.name])
        if nested is not None:
            yield from _leaves(nested, (*above, field.name))
        else:
            yield _Leaf((*above, field.name), hints[field.name], helps[field.name], field.metadata.get("positional", False))


def _parameter_docs(kind: type) -> dict[str, str]:
    """Parameter to description, from the numpydoc docstrings of a class and those that it inherits from."""
    docs: dict[str, str] = {}
    text = "\n\n".join(inspect.cleandoc(base.__doc__ or "") for base in reversed(kind.__mro__))
    for found in re.finditer(r"^(\w[\w, ]*) : .+\n((?:    .*\n?)+)", text, re.MULTILINE):
        description = " ".join(line.strip() for line in found.group(2).splitlines()).replace("`", "")
        docs.update(dict.fromkeys(found.group(1).split(", "), description))
    return docs


def add_options(parser: argparse.ArgumentParser, kind: type) -> None:
    """Add ``--config`` and an option for every key of `kind`; a field of metadata ``positional`` is given without its name."""
    config = parser.add_argument("--config", metavar="FILE.yaml", help="keys as in this help; options win over it")
    offer(config, str)
    for leaf in _leaves(kind):
        # "%" is argparse's own format character.
        text = leaf.help.replace("%", "%%")
        if leaf.keys[-1] in ("engine", "engines"):
            text = f"{text} Engines: {engines_in_words()}."
        if leaf.positional:
            # Not required here: it may stand in the config file.
            offer(parser.add_argument(leaf.flag, nargs="?", default=_NOT_GIVEN, help=text), leaf.hint)
        elif leaf.hint is bool:
            parser.add_argument(leaf.flag, action=argparse.BooleanOptionalAction, default=_NOT_GIVEN, help=text, dest=leaf.flag)
        else:
            action = parser.add_argument(leaf.flag, default=_NOT_GIVEN, help=text, metavar=leaf.keys[-1].upper(), dest=leaf.flag)
            offer(action, leaf.hint)


def options_from(kind: type[Options], arguments: argparse.Namespace) -> Options:
    """The options of a command: its config file, then what was given on the command line.

    Raises
    ------
    ConfigError
        For an unknown key or a value of a wrong type, naming the file or the option.
    """
    mapping: dict[str, Any] = {}
    place = "options"
    if arguments.config is not None:
        place = arguments.config
        mapping = _relative_to_file(kind, _read_yaml(arguments.config), arguments.config)
    for leaf in _leaves(kind):
        value = getattr(arguments, leaf.flag)
        if value is not _NOT_GIVEN:
            _set(mapping, leaf, _typed(leaf, value), place)
    return parse_config(kind, mapping, place=place)


def _read_yaml(path: str) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(read_file(path, what="config"))
    except yaml.YAMLError as error:
        raise ConfigError(f"config {path}: expected YAML; got {' '.join(str(error).split())}.") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"config {path}: expected keys and values; got {type(loaded).__name__}.")
    return loaded


def _relative_to_file(kind: type, mapping: dict[str, Any], config_path: str) -> dict[str, Any]:
    folder = os.path.dirname(config_path) if is_uri(config_path) else os.path.dirname(os.path.abspath(config_path))
    return _resolved(kind, mapping, folder)


def _resolved(kind: type, mapping: dict[str, Any], folder: str) -> dict[str, Any]:
    resolved = dict(mapping)
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        value = mapping.get(field.name)
        nested = nested_type(hints[field.name])
        if nested is not None and isinstance(value, dict):
            resolved[field.name] = _resolved(nested, value, folder)
        elif isinstance(value, str) and field.metadata.get("relative"):
            resolved[field.name] = _joined(folder, value)
        elif isinstance(value, str) and field.metadata.get("relative_spec"):
            if ":" not in value and value.endswith(".sparkq"):
                resolved[field.name] = _joined(folder, value)
                continue
            source, _, name = value.rpartition(":")
            file_kind, _, path = value.partition(":")
            if file_kind in FILE_SPECS:
                resolved[field.name] = f"{file_kind}:{_joined(folder, path)}"
            else:
                resolved[field.name] = f"{_joined(folder, source)}:{name}" if source.endswith(".py") else value
    return resolved


def _joined(folder: str, path: str) -> str:
    return path if is_uri(path) or os.path.isabs(path) else os.path.join(folder, path)


def _set(mapping: dict[str, Any], leaf: _Leaf, value: Any, place: str) -> None:
    for key in leaf.keys[:-1]:
        inner = mapping.get(key)
        if inner is not None and not isinstance(inner, dict):
            raise ConfigError(f"{place}: {key}: expected keys and values; got {inner!r}.")
        # A copy: the mapping of the file is not ours to change.
        mapping[key] = dict(inner or {})
        mapping = mapping[key]
    mapping[leaf.keys[-1]] = value


def _typed(leaf: _Leaf, text: Any) -> Any:
    """The value of an option: text stays text where the key takes only text, else it is read as YAML."""
    kinds = set(typing.get_args(leaf.hint) or (leaf.hint,)) - {type(None)}
    if isinstance(text, bool) or kinds == {str}:
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{leaf.flag}: expected a value; got {text!r}.") from error
