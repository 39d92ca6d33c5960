"""Parse arguments, run one command, and turn what comes out into an exit code."""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from sparkq.cli import benchmark, convert, demo, doctor, evaluate, export, inspect, plan, predict, preview, quantize, report
from sparkq.cli.boundary import EXIT_CODES, run_command
from sparkq.cli.completion import SHELLS, PrintCompletion
from sparkq.cli.options import add_options, options_from
from sparkq.redaction import shown
from sparkq.version import __version__
from sparkq.visible import visible

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "quantize": quantize.COMMAND,
    "convert": convert.COMMAND,
    "plan": plan.COMMAND,
    "doctor": doctor.COMMAND,
    "preview": preview.COMMAND,
    "predict": predict.COMMAND,
    "report": report.COMMAND,
    "evaluate": evaluate.COMMAND,
    "inspect": inspect.COMMAND,
    "export": export.COMMAND,
    "benchmark": benchmark.COMMAND,
    "demo": demo.COMMAND,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``sparkq``.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; default: the process's.

    Returns
    -------
    int
        As `sparkq.cli.boundary` lists them. A wrong use ends the process with 2, as argparse does.
    """
    arguments = _parser().parse_args(argv)
    command = COMMANDS[arguments.command]
    return run_command(
        lambda: command.run(options_from(command.options, arguments)), show=command.show, as_json=arguments.json,
        failure=command.failure, is_kept=command.is_kept,
    )


class _Help(argparse.RawDescriptionHelpFormatter):
    """An example that is one line stays one, to be copied; options are wrapped as usual."""


class _Parser(argparse.ArgumentParser):
    """A parser that repeats wrong arguments without credentials in them, and with control characters spelled out."""

    def _print_message(self, message: str, file: Any = None) -> None:
        super()._print_message(visible(shown(message)), file)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sparkq", description="INT8 inference with PyTorch models over images, on Spark.", epilog=EXIT_CODES,
        allow_abbrev=False, formatter_class=_Help,
    )
    parser.add_argument("--version", action="version", version=f"sparkq {__version__}")
    parser.add_argument(
        "--print-completion", action=PrintCompletion, choices=SHELLS, metavar="SHELL",
        help=f"print what makes the Tab key complete commands and options ({', '.join(SHELLS)})",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        subparser = commands.add_parser(
            name, help=command.summary, description=command.summary, allow_abbrev=False,
            epilog=f"example:\n  {command.example}\n\n{EXIT_CODES}", formatter_class=_Help,
        )
        add_options(subparser, command.options)
        subparser.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    return parser
