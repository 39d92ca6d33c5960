"""Pictures for people: boxes on an image, and many images on one sheet."""
from __future__ import annotations

from sparkq.drawing.boxes import draw_detections
from sparkq.drawing.sheet import contact_sheet

__all__ = ["contact_sheet", "draw_detections"]
