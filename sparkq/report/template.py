"""Fill the templates of pages."""
from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from sparkq.report.wording import clock, number, percent, without_credentials
from sparkq.storage import shown

__all__ = ["render"]


def render(template: str, **values: Any) -> str:
    """Fill a template of this package; what users named (files, labels, models) is text in it, never markup, without credentials."""
    environment = Environment(
        loader=PackageLoader("sparkq.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=without_credentials,
    )
    environment.filters.update(
        number=number, percent=percent, clock=clock, shown=shown, unbroken=lambda text: text.replace(" %", "\u00a0%"),
    )
    environment.filters.update(values.pop("filters", {}))
    return environment.get_template(template).render(**values)
