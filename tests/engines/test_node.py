"""What a process says of itself and of its machine."""
from __future__ import annotations

import subprocess
import sys

import pytest

from sparkq.engines.node import peak_memory_bytes


@pytest.mark.memory
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has /proc/self/status")
def test_the_peak_is_the_processes_own_and_stays() -> None:
    """Memory that was given back counts; what the process had before it started another program does not."""
    ballast = bytearray(b"x") * 300_000_000
    assert peak_memory_bytes() > len(ballast)
    script = "from sparkq.engines.node import peak_memory_bytes as peak; a = peak(); b = b'x' * 10**8; del b; print(a, peak())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before < len(ballast) and after - before > 5e7
