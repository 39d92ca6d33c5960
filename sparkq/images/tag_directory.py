"""The cost of reading a tag directory, as TIFF and EXIF have them: its entries may all point at the same megabytes.

Pillow copies the value of every entry, and makes Python numbers of those that it looks at.
"""
from __future__ import annotations

import struct

from sparkq.images.decode_meter import DecodeMeter

__all__ = ["add_directories"]

# Bytes a value, by type (TIFF 6.0, section 2, and BigTIFF).
_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_BYTE_STRINGS = (1, 2, 7)
_DIRECTORIES = (34665, 34853, 40965)
"""EXIF, GPS and interoperability, which TIFF's decoder reads, too."""

# Twice what Pillow 12 was seen to take on an Intel Xeon with AMX: directories are read up to four times.
_ENTRY_SECONDS, _COPY_SECONDS, _NUMBER_SECONDS = 20e-6, 2e-9, 40e-9
_COPIES = 3
# A two-byte number becomes an int of 28 bytes and the 8 of its place in a tuple.
_NUMBER_BYTES = 18


def add_directories(meter: DecodeMeter, data: memoryview, *, what: str) -> None:
    """Add what the first tag directory, and those below it, of a TIFF file or EXIF block take; nothing where it is damaged."""
    order = "<" if bytes(data[:2]) == b"II" else ">"
    try:
        is_big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
        pending = list(struct.unpack_from(f"{order}Q" if is_big else f"{order}L", data, 8 if is_big else 4))
    except struct.error:
        return
    seen: set[int] = set()
    while pending:
        place = pending.pop()
        if place not in seen:
            seen.add(place)
            pending += _add_directory(meter, data, place, order, is_big, what)


def _add_directory(meter: DecodeMeter, data: memoryview, place: int, order: str, is_big: bool, what: str) -> list[int]:
    """Add one directory and return where those below it are."""
    count, entry = (struct.Struct(order + kind) for kind in (("Q", "HHQQ") if is_big else ("H", "HHLL")))
    below: list[int] = []
    try:
        entries = count.unpack_from(data, place)[0]
        place += count.size
        for _ in range(entries):
            tag, kind, values, value = entry.unpack_from(data, place)
            place += entry.size
            size = min(values * _VALUE_BYTES.get(kind, 0), len(data))
            each = _COPIES if kind in _BYTE_STRINGS else _COPIES + _NUMBER_BYTES
            pace = _COPIES * _COPY_SECONDS + (0 if kind in _BYTE_STRINGS else _NUMBER_SECONDS)
            meter.add(f"the tags of {what}", seconds=_ENTRY_SECONDS + pace * size, memory_bytes=each * size)
            if tag in _DIRECTORIES:
                below.append(value)
    except (struct.error, OverflowError):
        # It ends too early, or lies beyond the end: Pillow stops here, too.
        pass
    return below
