"""Entropy coding: what was coded comes back, nothing else does, and nothing inflates beyond what was announced."""
from __future__ import annotations

import gzip
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkq.artifact.payload_coding import decode_payload, encode_payload
from sparkq.errors import ArtifactFormatError

CHUNK = 32 * 1024
WEIGHTS = np.random.default_rng(0).laplace(0, 20, 5 * CHUNK).clip(-127, 127).astype(np.int8).tobytes()
CODED = encode_payload(WEIGHTS)
# Around the borders of the pieces, and of kinds that either way of coding is best for.
PAYLOADS = st.one_of(
    st.binary(max_size=3000),
    st.builds(
        lambda size, start: (bytes(CHUNK) + WEIGHTS)[start:start + size],
        st.sampled_from([0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 7]), st.integers(0, 2 * CHUNK),
    ),
)


@settings(max_examples=100, deadline=None)
@given(payload=PAYLOADS)
def test_a_payload_comes_back_from_its_code(payload: bytes) -> None:
    """With ``gunzip`` too; the code is the same every time."""
    coded = encode_payload(payload)
    assert decode_payload(coded, len(payload), place="x") == payload == gzip.decompress(coded)
    assert coded == encode_payload(payload)


@pytest.mark.parametrize(("values", "zeros"), [(256, 0.0), (32, 0.0), (16, 0.0), (32, 0.5)])
def test_weights_come_near_their_entropy(values: int, zeros: float) -> None:
    """Within a tenth: shared and pruned weights are worth what theory says."""
    generator = np.random.default_rng(1)
    steps = np.round(generator.laplace(0, 20, 2**18).clip(-127, 127) / (256 / values)) * (256 / values)
    steps[generator.random(len(steps)) < zeros] = 0
    payload = steps.astype(np.int8).tobytes()
    shares = np.bincount(np.frombuffer(payload, np.uint8)) / len(payload)
    entropy = -(shares[shares > 0] * np.log2(shares[shares > 0])).sum() / 8 * len(payload)
    assert entropy < len(encode_payload(payload)) < 1.1 * entropy


def test_what_repeats_is_coded_by_reference() -> None:
    """Huffman's least is a bit a byte; padding and the graph's text take less."""
    assert len(encode_payload(bytes(10 * CHUNK))) < CHUNK / 10


@pytest.mark.parametrize("length", sorted({*range(0, 60), *range(60, len(CODED), 4099), *range(len(CODED) - 10, len(CODED))}))
def test_a_truncated_code_is_a_format_error(length: int) -> None:
    """At whatever length."""
    with pytest.raises(ArtifactFormatError, match="^m.sparkq: expected an entropy-coded payload of 163840 bytes; got "):
        decode_payload(CODED[:length], len(WEIGHTS), place="m.sparkq")


@settings(max_examples=100, deadline=None)
@given(position=st.integers(10, len(CODED) - 1), difference=st.integers(1, 255))
def test_a_changed_code_is_refused(position: int, difference: int) -> None:
    """gzip's checksum sees what the digest would see after it; the ten bytes before are gzip's header."""
    damaged = bytearray(CODED)
    damaged[position] ^= difference
    with pytest.raises(ArtifactFormatError) as caught:
        decode_payload(bytes(damaged), len(WEIGHTS), place="m.sparkq")
    assert "\n" not in str(caught.value) and caught.value.hint


@pytest.mark.parametrize("size", [len(WEIGHTS) - 1, len(WEIGHTS) + 1, 0, -1, -2, 2**70, "163840", None])
def test_another_size_than_announced_is_refused(size: int) -> None:
    """Also one that is no size: 0 means "no limit" to zlib."""
    with pytest.raises(ArtifactFormatError, match="expected an entropy-coded payload of"):
        decode_payload(CODED, size, place="x")


def test_what_follows_the_code_is_refused() -> None:
    """No second member is read over, and none is decoded."""
    for more in (b"x", CODED):
        with pytest.raises(ArtifactFormatError):
            decode_payload(CODED + more, len(WEIGHTS), place="x")


def test_a_decompression_bomb_fills_no_memory() -> None:
    """A quarter of a gigabyte in 250 KB, announced as one thousand bytes: refused at the thousand-and-first."""
    coder = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join([*(coder.compress(bytes(2**20)) for _ in range(256)), coder.flush()])
    assert len(bomb) < 300_000
    tracemalloc.start()
    with pytest.raises(ArtifactFormatError, match="of 1000 bytes; got more"):
        decode_payload(bomb, 1000, place="x")
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
