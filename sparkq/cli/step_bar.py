"""The bar of `sparkq quantize` and `sparkq convert`: the step, how far it is, and the time that is left of it."""
from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sparkq.progress_bar import is_watched, new_bar

__all__ = ["shown_steps"]


@contextmanager
def shown_steps() -> Iterator[None]:
    """Show the steps within on standard error, where somebody looks."""
    if not is_watched(spark_shows=False):
        yield
        return
    # It comes with torch, which other commands do without.
    from sparkq.quantization.steps import heard

    bar = _StepBar()
    try:
        with heard(bar):
            yield
    finally:
        bar.close()


class _StepBar:
    """One bar a step; it goes when the next one comes."""

    def __init__(self) -> None:
        self._step = ""
        self._bar: Any = None

    def __call__(self, step: str, done: int, total: int) -> None:
        # The terminal may be closed meanwhile, or take no bar: the work goes on.
        with contextlib.suppress(Exception):
            if step != self._step or done == 0:
                self.close()
                self._step, self._bar = step, new_bar(total=total, desc=step, leave=False)
            if self._bar is not None:
                self._bar.n = done
                self._bar.refresh()

    def close(self) -> None:
        """Take the bar away."""
        bar, self._bar = self._bar, None
        if bar is not None:
            with contextlib.suppress(Exception):
                bar.close()
