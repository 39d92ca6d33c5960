"""The answer of ``sparkq quantize`` and ``sparkq convert``, for people."""
from __future__ import annotations

from typing import Any

__all__ = ["show_artifact"]


def show_artifact(result: dict[str, Any]) -> str:
    """Write the lines that the commands print."""
    float_mb, artifact_mb = result["float_bytes"] / 1e6, result["artifact_bytes"] / 1e6
    calibrated = f", calibrated on {result['calibration_images']} images" if result["calibration_images"] else ""
    height, width = result["input_size"]
    gives = f"{result['classes']} classes" if result["classes"] else (
        f"embeddings of {result['output_length']} numbers, layer {result['embedding_layer']}"
    )
    lines = [
        f"{result['output']}: {result['name']}, recipe {result['recipe']}{calibrated}",
        *([f"from    {result['model']}"] if "model" in result else []),
        f"takes   {height} x {width}, {gives}",
        f"size    {artifact_mb:.2f} MB (float {float_mb:.2f} MB, {float_mb / artifact_mb:.2f} times)",
        f"digest  {result['model_digest']}",
        *result["table"].splitlines(),
    ]
    if result["recipe"] != "none" and result["float_layers"]:
        lines.append(f"float   {len(result['float_layers'])} layers stayed in float: {', '.join(result['float_layers'][:5])}")
    if result["report"] is not None:
        lines.append(f"report  {result['report']}")
    return "\n".join(lines)
