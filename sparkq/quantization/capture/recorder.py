"""A recorder that sees every operator which torch runs, and has those that depend on the images written on a tape."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

from sparkq.errors import ModelError
from sparkq.quantization.capture.tape import Tape
from sparkq.quantization.normalization import WithNormalization

__all__ = ["Bound", "Converter", "record"]


@dataclass(frozen=True)
class Bound:
    """The arguments of one call by their names in the operator's schema, with its defaults."""

    tape: Tape
    arguments: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return an argument, or `default` where the operator has none of that name or it is None."""
        found = self.arguments.get(name)
        return default if found is None else found

    def real(self, name: str) -> str | float | int | None:
        """Return an argument as an input of a node: a value of real numbers, a number, or None."""
        found = self.arguments[name]
        if isinstance(found, Tensor):
            # A number that torch wraps into a tensor of no dimensions is stored as it is.
            return self.tape.real(found)
        return found if found is None or isinstance(found, (int, float)) else float(found)


Converter = Callable[[Tape, Bound, Any], None]

# Give no tensor, or one that does not depend on the values of what they take.
_IGNORED = frozenset("""
    size stride numel item equal is_same_size dim storage_offset sym_size sym_numel zeros_like ones_like full_like empty_like
    new_zeros new_ones new_full new_empty rand_like _local_scalar_dense is_nonzero
""".split())
_ALIASES = frozenset("contiguous clone detach alias dropout feature_dropout lift_fresh positive resolve_conj resolve_neg".split())


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    def __init__(self, tape: Tape, converters: dict[str, Converter]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tape, self.converters = tape, converters

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        bound = Bound(self.tape, _bound(func, args, kwargs))
        base = func.overloadpacket.__name__
        if base == "dequantize" and args[0].is_quantized and not self.tape.knows(args[0]):
            # Weights stay integers, so that a layer of integers is one.
            result = func(*args, **kwargs)
            self.tape.bind(result, self.tape.real(args[0]))
            return result
        if base in _IGNORED or not any(self.tape.knows(tensor) for tensor in _tensors(bound.arguments.values())):
            return func(*args, **kwargs)
        namespace = func.namespace
        plain = base.removesuffix("_") if not base.startswith("_") and namespace == "aten" else base
        converter = self.converters.get(f"{namespace}.{plain}")
        if namespace == "aten" and plain in _ALIASES:
            result = func(*args, **kwargs)
            self.tape.alias(result, args[0])
            return result
        if converter is None:
            return self._decomposed(func, args, kwargs)
        result = func(*args, **kwargs)
        try:
            converter(self.tape, bound, result)
        except NotImplementedError as error:
            raise self._refused(str(error)) from error
        if plain != base:
            self.tape.overwritten(result)
        return result

    def _decomposed(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operator as the ones that torch says it is made of."""
        table = torch._decomp.decomposition_table
        with self:
            result = func.decompose(*args, **kwargs)
            if result is NotImplemented and func in table:
                result = table[func](*args, **kwargs)
        if result is NotImplemented:
            raise self._refused(func.name())
        return result

    def _refused(self, what: str) -> ModelError:
        place = f"layer {self.tape.path}" if self.tape.path else "the model itself"
        return ModelError(
            f"model: expected operators that a program can hold; {place} has {what}.",
            hint="write it with other operators, or name an embedding layer in front of it.",
        )


def _bound(func: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    schema = func._schema.arguments
    found = {argument.name: argument.default_value for argument in schema}
    found.update({argument.name: value for argument, value in zip(schema, args, strict=False)})
    found.update(kwargs)
    return found


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


def record(module: nn.Module, images: Tensor, converters: dict[str, Converter]) -> tuple[Tape, Any]:
    """Run a module once and record it.

    Parameters
    ----------
    module : nn.Module
        uint8 [N, H, W, 3] to a tensor, or several.
    images : Tensor
        What it is run on.
    converters : dict of str to Converter
        By ``NAMESPACE.OPERATOR`` how each operator is written on the tape.

    Returns
    -------
    (Tape, object)
        With all that led to the output, and the output itself.

    Raises
    ------
    ModelError
        If it has an operator that neither has a converter nor is made of such.
    """
    names = {id(tensor): name for name, tensor in (*module.named_parameters(), *module.named_buffers())}
    tape = Tape({tensor: _shortened(name) for tensor, name in names.items()})
    with torch.inference_mode(), _paths_on(tape, module), _reference_forms(module), _Recorder(tape, converters):
        tape.start(images)
        output = module(images)
    return tape, output


def _shortened(name: str) -> str:
    return "" if name == "model" else name.removeprefix("model.")


@contextmanager
def _paths_on(tape: Tape, module: nn.Module) -> Iterator[None]:
    """Keep the path of the module that runs on the tape."""
    paths = {id(child): _shortened(name) for name, child in module.named_modules()}
    if isinstance(module, WithNormalization):
        paths[id(module)] = "normalization"
    running: list[str] = []

    def enter(child: nn.Module, _: Any) -> None:
        running.append(tape.path)
        tape.path = paths.get(id(child), tape.path)

    def leave(_: nn.Module, __: Any, ___: Any) -> None:
        tape.path = running.pop()

    hooks = register_module_forward_pre_hook(enter), register_module_forward_hook(leave)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _reference_forms(module: nn.Module) -> Iterator[None]:
    """Let layers of ours that compute in a way of their own run the operators that say what they mean: their `reference`."""
    changed = [child for child in module.modules() if hasattr(child, "reference")]
    for child in changed:
        child.forward = child.reference  # type: ignore[assignment]
    try:
        yield
    finally:
        for child in changed:
            del child.forward
