"""``conf/emr/bootstrap.sh`` before it installs anything; what it installs is in `test_package`."""
from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests import ROOT
from tests.local_s3 import BUCKET, local_s3

BOOTSTRAP = ROOT / "conf" / "emr" / "bootstrap.sh"


def bootstrap(prefix: Path, *arguments: str, node_python: str = sys.executable, **more: str) -> subprocess.CompletedProcess[str]:
    """Run it for a folder of ours."""
    environment = {**os.environ, "PREFIX": str(prefix), "NODE_PYTHON": node_python, **more}
    return subprocess.run([str(BOOTSTRAP), *arguments], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(("arguments", "words"), [
    (["s3://bucket/environment.tar.gz"], "got 1."),
    (["s3://bucket/environment.tar.gz", "abc"], "64 digits; got 'abc'"),
    (["/tmp/environment.tar.gz", "0" * 64], "got '/tmp/environment.tar.gz'"),
    (["http://bucket/environment.tar.gz", "0" * 64], "expected an s3://"),
    (["file:///no/such/file", "0" * 64], "/no/such/file"),
])
def test_refused(arguments: list[str], words: str, tmp_path: Path) -> None:
    done = bootstrap(tmp_path / "opt", *arguments)
    assert done.returncode != 0 and words in done.stderr and not (tmp_path / "opt").exists()


def test_an_interpreter_that_is_there_is_all(tmp_path: Path) -> None:
    assert bootstrap(tmp_path / "opt").returncode == 0
    assert not (tmp_path / "opt").exists()


@pytest.mark.skipif(shutil.which("aws") is None, reason="no AWS command line, which EMR's nodes have")
def test_from_s3(tmp_path: Path) -> None:
    """Fetched by Amazon's own command; another file than was meant is refused, and so is an environment that does not run."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to("/bin/false")
    archive = tmp_path / "environment.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "bin", "bin")
    content = archive.read_bytes()
    right = hashlib.sha256(content).hexdigest()
    with local_s3() as s3:
        s3.client.put_object(Bucket=BUCKET, Key="environment.tar.gz", Body=content)
        uri = f"s3://{BUCKET}/environment.tar.gz"
        wrong = bootstrap(tmp_path / "opt", uri, "0" * 64, **s3.environment())
        assert wrong.returncode == 1 and f"expected SHA-256 {'0' * 64}; got {right}" in wrong.stderr
        assert not (tmp_path / "opt").exists()
        broken = bootstrap(tmp_path / "opt", uri, right, **s3.environment())
        assert broken.returncode == 1 and "does not run on this node" in broken.stderr
        assert list((tmp_path / "opt").iterdir()) == []
