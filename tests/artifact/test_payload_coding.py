"""Entropy coding: what was coded comes back, nothing else does, and nothing inflates beyond what was announced."""
from __future__ import annotations

import struct
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkq.artifact.payload_coding import decode_payload, encode_payload, is_plausible
from sparkq.errors import ArtifactFormatError

CHUNK = 32 * 1024
WEIGHTS = np.random.default_rng(0).laplace(0, 20, 5 * CHUNK).clip(-127, 127).astype(np.int8).tobytes()
CODED = encode_payload(WEIGHTS)
ZEROS = 2**28
BOMB: bytes = pa.Codec("zstd", 9).compress(bytes(ZEROS), asbytes=True)
MAGIC = b"\x28\xb5\x2f\xfd"
# A frame of RFC 8878 (3.1.2) that decoders leave out.
SKIPPED = struct.pack("<LL", 0x184D2A50, 4) + b"more"
# Around the blocks of the format (128 KiB), and of kinds that are coded in different ways.
PAYLOADS = st.one_of(
    st.binary(max_size=3000),
    st.builds(
        lambda size, start: (bytes(CHUNK) + WEIGHTS)[start:start + size],
        st.sampled_from([0, 1, CHUNK - 1, CHUNK, 4 * CHUNK - 1, 4 * CHUNK, 4 * CHUNK + 1]), st.integers(0, 2 * CHUNK),
    ),
)


@settings(max_examples=100, deadline=None)
@given(payload=PAYLOADS)
def test_a_payload_comes_back_from_its_code(payload: bytes) -> None:
    """The code is one frame of zstandard that says its size, and the same every time."""
    coded = encode_payload(payload)
    assert coded == encode_payload(payload) and coded.startswith(MAGIC)
    assert pa.Codec("zstd").decompress(coded, len(payload), asbytes=True) == payload
    if is_plausible(len(coded), len(payload)):
        assert decode_payload(coded, len(payload), place="x") == payload
    else:
        # Zeros and a few bytes at most.
        assert sum(map(bool, payload)) < len(payload) / 256


@pytest.mark.parametrize(("values", "zeros", "most"), [
    (256, 0.0, 1.02), (32, 0.0, 1.16), (16, 0.0, 1.22), (32, 0.5, 1.27), (16, 0.7, 1.43),
])
def test_weights_come_near_their_entropy(values: int, zeros: float, most: float) -> None:
    """Plain ones within 2 %; shared and pruned ones are worth four fifths of what theory says."""
    generator = np.random.default_rng(1)
    steps = np.round(generator.laplace(0, 20, 2**18).clip(-127, 127) / (256 / values)) * (256 / values)
    steps[generator.random(len(steps)) < zeros] = 0
    payload = steps.astype(np.int8).tobytes()
    shares = np.bincount(np.frombuffer(payload, np.uint8)) / len(payload)
    entropy = -(shares[shares > 0] * np.log2(shares[shares > 0])).sum() / 8 * len(payload)
    assert entropy < len(encode_payload(payload)) < most * entropy


def test_what_repeats_is_coded_by_reference() -> None:
    """Huffman's least is a bit a byte; padding and the graph's text take less."""
    assert len(encode_payload(bytes(10 * CHUNK))) < CHUNK / 10


@pytest.mark.parametrize("length", sorted({*range(0, 60), *range(60, len(CODED), 4099), *range(len(CODED) - 10, len(CODED))}))
def test_a_truncated_code_is_a_format_error(length: int) -> None:
    """At whatever length."""
    with pytest.raises(ArtifactFormatError, match="^m.sparkq: expected an entropy-coded payload of 163840 bytes; got "):
        decode_payload(CODED[:length], len(WEIGHTS), place="m.sparkq")


@settings(max_examples=300, deadline=None)
@given(position=st.integers(0, len(CODED) - 1), difference=st.integers(1, 255))
def test_a_changed_code_gives_nothing_longer(position: int, difference: int) -> None:
    """Refused in one line, or as many bytes as were announced, of which the artifact's digest tells that they are others."""
    damaged = bytearray(CODED)
    damaged[position] ^= difference
    try:
        payload = decode_payload(bytes(damaged), len(WEIGHTS), place="m.sparkq")
    except ArtifactFormatError as error:
        assert "\n" not in str(error) and error.hint
    else:
        assert len(payload) == len(WEIGHTS)


@settings(max_examples=300, deadline=None)
@given(body=st.binary(max_size=300), size=st.integers(-1, 80_000))
def test_bytes_that_are_no_code_are_harmless(body: bytes, size: int) -> None:
    """Whatever follows the format's first bytes."""
    try:
        found = decode_payload(MAGIC + body, size, place="x")
    except ArtifactFormatError as error:
        assert "\n" not in str(error) and str(error).startswith("x: ")
    else:
        assert len(found) == size


@pytest.mark.parametrize("size", [len(WEIGHTS) - 1, len(WEIGHTS) + 1, 0, -1, -2, 2**70])
def test_another_size_than_announced_is_refused(size: int) -> None:
    """Also one that is no size."""
    with pytest.raises(ArtifactFormatError, match="expected an entropy-coded payload of"):
        decode_payload(CODED, size, place="x")


@pytest.mark.parametrize("more", [b"x", CODED, SKIPPED[:-1]], ids=["a byte", "a frame", "half a frame"])
def test_what_follows_the_code_is_refused(more: bytes) -> None:
    """No second frame is read over, and none is decoded."""
    with pytest.raises(ArtifactFormatError):
        decode_payload(CODED + more, len(WEIGHTS), place="x")


@pytest.mark.parametrize(("announced", "coded"), [
    pytest.param(1000, BOMB, id="as a thousand bytes"),
    pytest.param(256 * len(BOMB), BOMB, id="as much as is believed"),
    pytest.param(ZEROS, BOMB, id="truly"),
    pytest.param(2**62, BOMB, id="as more than there is"),
])
def test_a_decompression_bomb_fills_no_memory(announced: int, coded: bytes) -> None:
    """A quarter of a gigabyte in 8 KB: refused, with no more memory than 256 times the code's."""
    assert len(coded) < 10_000
    tracemalloc.start()
    with pytest.raises(ArtifactFormatError, match=f"of {announced} bytes; got "):
        decode_payload(coded, announced, place="x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 257 * len(coded)
