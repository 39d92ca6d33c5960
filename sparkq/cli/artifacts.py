"""The answer of ``sparkq quantize`` and ``sparkq convert``, for people."""
from __future__ import annotations

from typing import Any

from sparkq.config.preprocess import PREPROCESS_FIELDS, PREPROCESS_ORIGINS

__all__ = ["preprocess_lines", "show_artifact"]


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
        *(f"pixels  {line}" for line in preprocess_lines(result["preprocess"], result["preprocess_origin"])),
        f"size    {artifact_mb:.2f} MB (float {float_mb:.2f} MB, {float_mb / artifact_mb:.2f} times)",
        f"digest  {result['model_digest']}",
        *result["table"].splitlines(),
    ]
    if result["recipe"] != "none" and result["float_layers"]:
        lines.append(f"float   {len(result['float_layers'])} layers stayed in float: {', '.join(result['float_layers'][:5])}")
    lines += [f"warning on the calibration images {warning}" for warning in result["warnings"]]
    if result["report"] is not None:
        lines.append(f"report  {result['report']}")
    return "\n".join(lines)


def preprocess_lines(preprocess: dict[str, Any], origin: dict[str, str]) -> list[str]:
    """Say where settings of preprocessing come from, and which they are; a line for each of their origins.

    Parameters
    ----------
    preprocess, origin : dict
        As in the manifest's JSON.
    """
    values = {f"resize.{name}": value for name, value in preprocess["resize"].items()} | preprocess
    lines = []
    for word in (*PREPROCESS_ORIGINS, None):
        found = [f"{name} {_short(values[name])}" for name in PREPROCESS_FIELDS if origin.get(name) == word]
        if found:
            lines.append(f"{word or 'of unknown origin'}: {', '.join(found)}")
    return lines


def _short(value: Any) -> str:
    """A number in as many digits as tell it: 1/255 is not given in binary noise."""
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value))}]"
    return f"{value:.6g}" if isinstance(value, float) else "none" if value is None else str(value)
