"""Record batches of one size, whatever sizes Spark sends."""
from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

__all__ = ["rebatch"]

# A binary column of Arrow holds no more; joined beyond it, Arrow makes several of one, or fails.
_MAX_JOINED_BYTES = 2**31 - 1


def rebatch(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of exactly `rows`, but for the last: the model sees full batches whatever Spark sends.

    A batch of more than 2 GiB comes in the parts that Spark sent.
    """
    pending: list[pa.RecordBatch] = []
    waiting = 0
    for batch in batches:
        start = 0
        while batch.num_rows - start + waiting >= rows:
            pending.append(batch.slice(start, rows - waiting))
            start += rows - waiting
            yield from _joined(pending)
            pending, waiting = [], 0
        if start < batch.num_rows:
            pending.append(batch.slice(start))
            waiting += batch.num_rows - start
    if pending:
        yield from _joined(pending)


def _joined(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    if len(batches) == 1 or sum(batch.nbytes for batch in batches) > _MAX_JOINED_BYTES:
        return batches
    joined: list[pa.RecordBatch] = pa.Table.from_batches(batches).combine_chunks().to_batches()
    return joined
