"""The pickles of an archive: ours pass, and nothing that names a function, or reaches beyond its numbers, does."""
from __future__ import annotations

import pickle
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkq.torchscript.pickles import PickleError, check_pickle

CLASSES = frozenset({"__torch__.a.Net"})
FILES = {"0": 64, "1": 24}


def name(module: str, attribute: str) -> bytes:
    """The code of a global."""
    return f"c{module}\n{attribute}\n".encode()


def number(value: int) -> bytes:
    """The code of a whole number."""
    return b"J" + struct.pack("<i", value) if abs(value) < 2**31 else b"\x8a\x08" + struct.pack("<q", value)


def text(value: str) -> bytes:
    """The code of a string."""
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def numbers(*values: int) -> bytes:
    """The code of a tuple."""
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(
    sizes: tuple[int, ...], strides: tuple[int, ...], *, offset: int = 0, count: int = 16, kind: str = "FloatStorage",
    file: str = "0", device: str = "cpu", function: str = "_rebuild_tensor_v2", quantizer: bytes = b"\x89",
) -> bytes:
    """The code of a tensor as torch writes it."""
    storage = b"((" + text("storage") + name("torch", kind) + text(file) + text(device) + number(count) + b"tQ"
    end = quantizer + b"\x89" if function == "_rebuild_qtensor" else quantizer
    return (
        name("torch._utils", function) + storage + number(offset) + numbers(*sizes) + numbers(*strides) + end
        + name("collections", "OrderedDict") + b")RtR"
    )


def check(code: bytes) -> None:
    """Walk through a pickle of protocol 2."""
    check_pickle(b"\x80\x02" + code + b".", classes=CLASSES, files=FILES)


SCALES = tensor((3,), (1,), count=3, kind="DoubleStorage", file="1")


def quantizer(axis: int = 0, scales: bytes = SCALES) -> bytes:
    """The code of a scale and a zero point a channel."""
    zero_points = tensor((3,), (1,), count=3, kind="LongStorage", file="1")
    return b"(" + name("torch", "per_channel_affine") + scales + zero_points + number(axis) + b"t"


@pytest.mark.parametrize("code", [
    b")", b"N", numbers(1, 2), tensor((4, 4), (4, 1)), tensor((), ()), tensor((0,), (1,), count=0), tensor((2, 3), (0, 1)),
    tensor((4,), (4,), offset=3), tensor((64,), (1,), count=64, kind="CharStorage"),
    tensor((3, 5), (5, 1), count=15, kind="QInt8Storage", function="_rebuild_qtensor", quantizer=quantizer()),
    name("__torch__.a", "Net") + b")\x81}(" + text("x") + number(1) + b"ub",
    name("__torch__.torch.classes.quantized", "Conv2dPackedParamsBase") + b")\x81)b",
    name("torch.jit._pickle", "build_intlist") + b"(](" + number(1) + b"etR", number(1) + b"q\x00h\x00\x86",
], ids=str)
def test_what_torch_writes(code: bytes) -> None:
    """Each kind that is in a payload."""
    check(code)


@pytest.mark.parametrize("code", [
    name("os", "system") + b"(" + text("true") + b"tR", name("builtins", "eval"), name("torch", "load"),
    name("torch._utils", "x"),
    name("__torch__.b", "Net") + b")\x81", name("__torch__.torch.classes.caffe2", "Logger") + b")\x81",
    name("torch.jit._pickle", "restore_type_tag"), b"\x8c\x02os\x8c\x06system\x93", b"\x82\x01", b"S'a'\n", b"P0\n", b"I1\n",
    b"r" + struct.pack("<I", 2**31), b")r" + struct.pack("<I", 2**31), b")q\x01", b"h\x00", b"t", b"\x85\x86", b"R", b"", b"\x81",
    name("collections", "OrderedDict") + b")\x81", name("torch", "FloatStorage") + b")R", b"(", number(1) + b"Q",
], ids=str)
def test_what_it_does_not(code: bytes) -> None:
    """Other names, other codes, a memo entry that would make a table of gigabytes, and an end too early."""
    with pytest.raises(PickleError):
        check(code)


def test_a_pickle_without_an_end() -> None:
    with pytest.raises(PickleError):
        check_pickle(b"\x80\x02)", classes=CLASSES, files=FILES)


@pytest.mark.parametrize("code", [
    tensor((17,), (1,)), tensor((4, 4), (5, 1)), tensor((4,), (1,), offset=13), tensor((4,), (1,), offset=-1),
    tensor((-1,), (1,)), tensor((4,), (-1,)), tensor((2,), (1, 1)), tensor((16,), (1,), count=17), tensor((4,), (1,), count=-1),
    tensor((1,), (1,), file="2"),
    tensor((4,), (1,), device="cuda"), tensor((4,), (1,), kind="OtherStorage"), tensor((9,), (1,), count=9, kind="DoubleStorage"),
    tensor((2**31, 2), (0, 0)), tensor((2**62, 2**62), (1, 0)),
    *(tensor((4, 4), (4, 1), kind="QInt8Storage", function="_rebuild_qtensor", quantizer=quantizer(axis)) for axis in (0, 1, 5)),
])
def test_a_tensor_beyond_its_numbers(code: bytes) -> None:
    """torch itself would read what lies behind them in memory."""
    with pytest.raises(PickleError):
        check(code)


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=200) | st.builds(
    lambda position, byte: bytes([*tensor((4, 4), (4, 1))[:position], byte, *tensor((4, 4), (4, 1))[position + 1:]]),
    st.integers(0, len(tensor((4, 4), (4, 1))) - 1), st.integers(0, 255),
))
def test_damage_ends_in_one_error(data: bytes) -> None:
    """Whatever it is, and nothing is called."""
    try:
        check(data)
    except PickleError as error:
        assert str(error)


def test_a_pickle_of_python_is_refused() -> None:
    """Of any protocol."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(PickleError):
            check_pickle(pickle.dumps(pytest.raises, protocol), classes=CLASSES, files=FILES)
