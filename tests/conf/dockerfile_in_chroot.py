"""Run `docker/Dockerfile` without Docker: each stage is a folder, each RUN a chroot. By hand, as root, on Debian:

    debootstrap --variant=minbase bookworm /tmp/base http://deb.debian.org/debian
    python tests/conf/dockerfile_in_chroot.py /tmp/base /tmp/stages [ARG=VALUE...]

It knows the instructions that the Dockerfile uses and no others. The base stands for an EMR image (it gets a user hadoop).
"""
from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from tests import ROOT

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CERTIFICATES = "/host-certificates.crt"


def instructions(text: str) -> list[tuple[str, str]]:
    """Name and rest of each instruction: comments gone, continued lines joined."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    joined = lines.replace("\\\n", " ").splitlines()
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined if line.strip()]


class Stages:
    """What was built so far, and the stage that is being built."""

    def __init__(self, base: Path, work: Path, arguments: dict[str, str]) -> None:
        self.base, self.work, self.arguments = base, work, arguments
        self.names: dict[str, Path] = {}
        self.root, self.user = base, "root"
        self.variables: dict[str, str] = {}
        self.of_stage: dict[Path, tuple[dict[str, str], str]] = {}

    def expanded(self, text: str) -> str:
        """With the values of variables."""
        return re.sub(r"\$\{(\w+)\}", lambda found: self.variables.get(found.group(1), ""), text)

    def do_from(self, rest: str) -> None:
        """A copy of the base, or of a stage."""
        source, _, name = rest.partition(" AS ")
        origin = self.names.get(source, self.base)
        self.root = self.work / (name or "last")
        subprocess.run(["cp", "-a", "--reflink=auto", origin, self.root], check=True)
        variables, self.user = self.of_stage.get(origin, ({}, "root"))
        self.variables = dict(variables)
        self.names[name] = self.root

    def do_arg(self, rest: str) -> None:
        """As given, else its default."""
        name, _, value = rest.partition("=")
        self.variables[name] = self.arguments.get(name, value)

    def do_env(self, rest: str) -> None:
        """Names and values."""
        self.variables |= dict(word.split("=", 1) for word in shlex.split(self.expanded(rest)))

    def do_user(self, rest: str) -> None:
        """Of what follows."""
        self.user = self.expanded(rest)

    def do_copy(self, rest: str) -> None:
        """Files and folders, of the project or of a stage."""
        *sources, target = rest.split()
        origin = self.names[sources.pop(0).removeprefix("--from=")] if sources[0].startswith("--from=") else ROOT
        into = self.root / target.lstrip("/")
        for source in sources:
            path = origin / source.lstrip("/")
            place = into / path.name if path.is_file() and target.endswith("/") else into
            place.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-aT", path, place], check=True)

    def do_run(self, rest: str) -> None:
        """In the stage, as its user."""
        print("RUN", self.user, rest, flush=True)
        extra = {key: os.environ[key] for key in ("PIP_FIND_LINKS",) if key in os.environ}
        environment = {"PATH": PATH, "HOME": "/tmp", "PIP_CERT": CERTIFICATES, **extra, **self.variables}
        command = ["chroot", f"--userspec={self.user}", str(self.root), "/bin/sh", "-c", rest]
        subprocess.run(["mount", "-t", "proc", "proc", self.root / "proc"], check=True)
        try:
            subprocess.run(command, env=environment, check=True)
        finally:
            subprocess.run(["umount", self.root / "proc"], check=True)

    def build(self) -> Path:
        """Every instruction in turn; the last stage."""
        for name, rest in instructions((ROOT / "docker" / "Dockerfile").read_text()):
            getattr(self, f"do_{name.lower()}")(rest)
            self.of_stage[self.root] = (dict(self.variables), self.user)
        return self.root


def main(base: str, work: str, *arguments: str) -> None:
    """Build it, then say what the last stage is."""
    Path(work).mkdir()
    subprocess.run(["chroot", base, "useradd", "--user-group", "hadoop"], check=False)
    shutil.copy("/etc/resolv.conf", f"{base}/etc/resolv.conf")
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", f"{base}{CERTIFICATES}")
    if "PIP_FIND_LINKS" in os.environ:
        subprocess.run(["cp", "-aT", os.environ["PIP_FIND_LINKS"], base + os.environ["PIP_FIND_LINKS"]], check=True)
    stages = Stages(Path(base), Path(work), dict(argument.split("=", 1) for argument in arguments))
    last = stages.build()
    stages.do_run("id; du -sm /opt/sparkq; /opt/sparkq/bin/sparkq --version; ! command -v cc gcc c++ g++ clang")
    assert stages.user != "root" and not (last / "opt" / "build").exists()


if __name__ == "__main__":
    main(*sys.argv[1:])
