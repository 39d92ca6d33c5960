"""``.pt2`` files, read without `torch.export.load`.

That one unpickles what a file marks as pickled (``torch.load(weights_only=False)``, ``pickle.loads``) and hands the file's
symbolic expressions to ``sympy.sympify``, which evaluates them: a file of someone else's could run any code. The format
itself is a zip of JSON and raw tensors, and all that is needed of it is read here as just that.
"""
from __future__ import annotations

import json
import math
import os
import zipfile
from typing import Any

import torch
from torch import Tensor, nn

from sparkq.errors import ModelError
from sparkq.float_models.exported.lowering import lowered
from sparkq.float_models.exported.program import Call, Program, Ref
from sparkq.float_models.graph_builder import UnsupportedError
from sparkq.float_models.size_budget import SizeBudget
from sparkq.storage import open_stored_zip, read_file, shown

__all__ = ["load_pt2"]

_SCHEMA_MAJOR = 8
_HINT = "write it with torch.export.save(torch.export.export(model.eval(), (images,)), 'model.pt2') of torch 2.8 or later."
# torch._export.serde.schema.ScalarType
_DTYPES = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16, 7: torch.float32,
    8: torch.float64, 12: torch.bool, 13: torch.bfloat16,
}
_PLAIN_ARGUMENTS = frozenset({
    "as_int", "as_ints", "as_float", "as_floats", "as_bool", "as_bools", "as_string", "as_memory_format", "as_device",
})


def load_pt2(path: str) -> nn.Module:
    """Read a program that `torch.export.save` wrote, executing nothing of it.

    Parameters
    ----------
    path : str
        Path or uri.

    Returns
    -------
    nn.Module
        A `torch.fx.GraphModule` of nn modules, for any batch size; ``meta["image_shape"]`` is [C, H, W].

    Raises
    ------
    InputError
        If it cannot be read.
    ModelError
        If it is no such program, holds pickled objects, or an operator that an image classifier has no use for.
    """
    place = f"model pt2:{shown(path)}"
    data = read_file(path, what="model")
    budget = SizeBudget(len(data))
    try:
        with open_stored_zip(data) as archive:
            program = _Reader(archive, place, budget).program(os.path.splitext(os.path.basename(path))[0])
    # What is damaged may be of any shape: JSON of other types, counts that do not fit, a bad checksum.
    except (zipfile.BadZipFile, EOFError, ValueError, KeyError, TypeError, IndexError, AttributeError, RuntimeError,
            RecursionError, NotImplementedError, MemoryError, UnsupportedError) as error:
        raise ModelError(
            f"{place}: expected a program of torch.export.save; got {type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}.",
            hint=_HINT,
        ) from error
    return lowered(program, place=place, budget=budget)


class _Reader:
    def __init__(self, archive: zipfile.ZipFile, place: str, budget: SizeBudget) -> None:
        self._archive = archive
        self._place = place
        self._budget = budget
        # Every name starts with the archive's own, which the file may have been renamed from since.
        self._names = {name.partition("/")[2]: name for name in archive.namelist()}

    def program(self, name: str) -> Program:
        models = [inner for inner in self._names if inner.startswith("models/") and inner.endswith(".json")]
        if self._read_text("archive_format") != "pt2" or len(models) != 1:
            raise ModelError(f"{self._place}: expected one program in a pt2 archive; got {len(models)}.", hint=_HINT)
        if self._read_text("byteorder") != "little":
            raise ModelError(
                f"{self._place}: expected little-endian tensors; got {self._read_text('byteorder')!r}.",
                hint="export the program on a little-endian machine, such as any x86.",
            )
        stored = json.loads(self._archive.read(self._names[models[0]]))
        if stored["schema_version"]["major"] != _SCHEMA_MAJOR:
            raise ModelError(
                f"{self._place}: expected schema {_SCHEMA_MAJOR} of torch.export; got {stored['schema_version']}.", hint=_HINT,
            )
        model = os.path.splitext(os.path.basename(models[0]))[0]
        tensors = {**self._tensors("weights", model), **self._tensors("constants", model)}
        graph, signature = stored["graph_module"]["graph"], stored["graph_module"]["signature"]
        inputs: dict[str, tuple[int, ...]] = {}
        bound: dict[str, tuple[str, Tensor]] = {}
        for spec in signature["input_specs"]:
            ((kind, value),) = spec.items()
            if kind == "user_input":
                graph_name = value["arg"]["as_tensor"]["name"]
                inputs[graph_name] = tuple(_size(size) for size in graph["tensor_values"][graph_name]["sizes"])
            else:
                full = value[{"parameter": "parameter_name", "buffer": "buffer_name"}.get(kind, "tensor_constant_name")]
                bound[value["arg"]["name"]] = (full, tensors[full])
        outputs = tuple(spec["user_output"]["arg"]["as_tensor"]["name"] for spec in signature["output_specs"])
        return Program(name, inputs, bound, tuple(_call(node) for node in graph["nodes"]), outputs)

    def _read_text(self, name: str) -> str:
        return self._archive.read(self._names[name]).decode().strip() if name in self._names else "little"

    def _tensors(self, kind: str, model: str) -> dict[str, Tensor]:
        config = f"data/{kind}/{model}_{kind}_config.json"
        stored = json.loads(self._archive.read(self._names[config]))["config"] if config in self._names else {}
        return {name: self._tensor(name, f"data/{kind}/{entry['path_name']}", entry) for name, entry in stored.items()}

    def _tensor(self, name: str, path: str, entry: dict[str, Any]) -> Tensor:
        meta = entry.get("tensor_meta")
        if entry["use_pickle"] or meta is None:
            raise ModelError(
                f"{self._place}: expected raw tensors; got {name!r} as a pickled object, which could run code when it is read.",
                hint="export a model whose state holds plain CPU tensors only.",
            )
        raw = self._archive.read(self._names[path])
        sizes, strides = [_size(size) for size in meta["sizes"]], [_size(stride) for stride in meta["strides"]]
        dtype = _DTYPES[meta["dtype"]]
        if math.prod(sizes) == 0:
            return torch.empty(sizes, dtype=dtype)
        # A stride of 0 repeats numbers as often as the sizes say.
        self._budget.take(math.prod(sizes) * dtype.itemsize)
        flat = torch.frombuffer(bytearray(raw), dtype=dtype)
        # as_strided checks that the numbers that it points at are there.
        return flat.as_strided(sizes, strides, _size(meta["storage_offset"])).clone()


def _size(size: dict[str, Any]) -> int:
    """A number, or -1 for a symbolic one."""
    return int(size.get("as_int", -1))


def _call(node: dict[str, Any]) -> Call:
    outputs: list[str] = []
    for output in node["outputs"]:
        ((kind, value),) = output.items()
        outputs += [item["name"] for item in value] if kind == "as_tensors" else [value.get("name") or value.get("as_name")]
    arguments = {item["name"] or str(index): _argument(item["arg"]) for index, item in enumerate(node["inputs"])}
    return Call(node["target"].removeprefix("torch.ops."), arguments, tuple(outputs))


def _argument(argument: dict[str, Any]) -> Any:
    ((kind, value),) = argument.items()
    if kind in ("as_tensor", "as_optional_tensor"):
        return _argument(value) if kind == "as_optional_tensor" else Ref(value["name"])
    if kind in ("as_tensors", "as_optional_tensors"):
        return [Ref(item["name"]) if kind == "as_tensors" else _argument(item) for item in value]
    if kind in ("as_sym_int", "as_sym_ints"):
        items = value if kind == "as_sym_ints" else [value]
        sizes = [Ref(item["as_name"]) if "as_name" in item else item["as_int"] for item in items]
        return sizes if kind == "as_sym_ints" else sizes[0]
    if kind == "as_none":
        return None
    if kind == "as_scalar_type":
        return _DTYPES.get(value, torch.float32)
    if kind in _PLAIN_ARGUMENTS:
        return value
    raise ValueError(f"an argument of kind {kind}")
