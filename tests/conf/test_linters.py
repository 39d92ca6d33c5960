"""Shell scripts and ``docker/Dockerfile``: by their linters, and what no linter knows."""
from __future__ import annotations

import fnmatch
import subprocess
import sys
from pathlib import Path

from tests import ROOT
from tests.conf.dockerfile_in_chroot import instructions

BINARIES = Path(sys.executable).parent
DOCKER = ROOT / "docker"


def _lint(tool: str, *arguments: object) -> None:
    done = subprocess.run([str(BINARIES / tool), *map(str, arguments)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_shellcheck() -> None:
    scripts = sorted(ROOT.glob("conf/**/*.sh"))
    assert len(scripts) >= 3
    _lint("shellcheck", *scripts, ROOT / ".ci" / "run")


def test_hadolint() -> None:
    """Nothing at all, but what the Dockerfile itself says why it does."""
    _lint("hadolint", "--failure-threshold", "style", DOCKER / "Dockerfile")


def test_the_image() -> None:
    """Bases by digest, no user root and no entry point in the end, and nothing that compiles."""
    found = instructions((DOCKER / "Dockerfile").read_text())
    stages = [rest for name, rest in found if name == "FROM"]
    assert stages == ["${BASE_IMAGE}@${BASE_DIGEST} AS interpreter", "interpreter AS build", "interpreter"]
    last = found[max(index for index, (name, _) in enumerate(found) if name == "FROM") + 1:]
    assert [rest for name, rest in last if name == "USER"] == ["${RUN_USER}"]
    assert ("ARG", "RUN_USER=hadoop:hadoop") in last
    assert {name for name, _ in found} <= {"FROM", "ARG", "ENV", "USER", "COPY", "RUN"}
    installed = " ".join(rest for name, rest in found if name == "RUN")
    assert not any(word in installed for word in ("gcc", "build-essential", "-dev", "make"))
    # A digest that nobody has looked at would be worse than none.
    assert ("ARG", "BASE_DIGEST") in found


def test_what_the_image_copies_is_sent_to_the_builder() -> None:
    """And nothing else: first all is left out, then each line brings something back."""
    first, *lines = [line for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert first == "*"
    sent = [line.removeprefix("!") for line in lines if line.startswith("!")]
    assert all(list(ROOT.glob(pattern)) for pattern in sent)
    copied = [word for name, rest in instructions((DOCKER / "Dockerfile").read_text()) if name == "COPY" and "--from" not in rest
              for word in rest.split()[:-1]]
    assert {next(pattern for pattern in sent if fnmatch.fnmatch(word, pattern.split("/*")[0])) for word in copied} == set(sent)
