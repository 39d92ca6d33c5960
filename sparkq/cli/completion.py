"""``sparkq --print-completion SHELL``: what the Tab key offers."""
from __future__ import annotations

import argparse
import typing
from collections.abc import Sequence
from typing import Any

from sparkq.config import AUTO, INPUT_FORMATS, READS
from sparkq.config.preprocess import CHANNEL_ORDERS, INTERPOLATIONS, RESIZE_MODES
from sparkq.config.quantization import EFFORTS, OBSERVERS, RECIPES, ROUNDINGS, TARGETS, WEIGHT_SCALES
from sparkq.engines.registry import ENGINE_NAMES

__all__ = ["CHOICES", "SHELLS", "PrintCompletion", "offer"]

SHELLS = ("bash", "zsh", "tcsh")

CHOICES: dict[str, Sequence[str]] = {
    "--effort": EFFORTS,
    "--engine": (*ENGINE_NAMES, AUTO),
    "--input-format": INPUT_FORMATS,
    "--preprocess-channel-order": CHANNEL_ORDERS,
    "--preprocess-interpolation": INTERPOLATIONS,
    "--preprocess-resize-mode": RESIZE_MODES,
    "--quantization-observer": OBSERVERS,
    "--quantization-recipe": RECIPES,
    "--quantization-rounding": ROUNDINGS,
    "--quantization-target": TARGETS,
    "--quantization-weight-scales": WEIGHT_SCALES,
    "--read": READS,
}
"""Options that take one of a few words; the configs themselves check them, and say which key was wrong."""

_FILE = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}


class PrintCompletion(argparse.Action):
    """Print the parser's completion script for one shell, and end."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: str | None = None,
    ) -> typing.NoReturn:
        # Imported here: every other command would wait for it.
        import shtab

        for subparser in _subparsers(parser):
            for action in subparser._actions:
                action.choices = action.choices or CHOICES.get(action.dest)
        print(shtab.complete(parser, shell=values))
        parser.exit(0)


def offer(action: argparse.Action, hint: Any) -> None:
    """Let the Tab key offer files where an option of type `hint` takes any text."""
    if action.dest not in CHOICES and str in {hint, *typing.get_args(hint)}:
        vars(action)["complete"] = _FILE


def _subparsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    found = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return [subparser for action in found for subparser in action.choices.values()]
