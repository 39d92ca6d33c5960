"""``sparkq COMMAND --help``: an example that can be copied, and what ends mean."""
from __future__ import annotations

import shlex

import pytest

from sparkq.cli.main import COMMANDS, _parser, main
from sparkq.cli.options import options_from
from tests import ROOT


@pytest.mark.parametrize("name", COMMANDS)
def test_example(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands on one line of the help, and is what the command takes."""
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    example = COMMANDS[name].example
    assert f"\nexample:\n  {example}\n" in shown
    for code in (0, 1, 2, 3, 4, 75, 130):
        assert f"\n  {code} " in shown
    program, *arguments = shlex.split(example)
    assert program == "sparkq" and arguments[0] == name
    # Paths of config files are the project's.
    monkeypatch.chdir(ROOT)
    options_from(COMMANDS[name].options, _parser().parse_args(arguments))
