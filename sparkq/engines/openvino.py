"""Engine ``openvino`` converts an INT8 payload and compiles it with OpenVINO (``pip install 'sparkq[openvino]'``)."""
from __future__ import annotations

import hashlib
import io
import sys
import warnings
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkq.engines.base import LoadOptions
from sparkq.engines.cache import BlobCache
from sparkq.engines.node import cpu_features, default_threads, describe_node, return_freed_memory
from sparkq.engines.torchscript import load_checked, packing_for
from sparkq.errors import ArtifactError, EngineError

__all__ = ["OpenVINOEngine", "load_openvino"]

_TELEMETRY = "openvino_telemetry"


class OpenVINOEngine:
    """A model compiled for batches of one size; smaller batches are padded, larger ones cut.

    Parameters
    ----------
    compiled : openvino.CompiledModel
        uint8 [batch_size, H, W, 3] to float32 [batch_size, C].
    batch_size : int
        Its static batch size.
    """

    name = "openvino"

    def __init__(self, compiled: Any, batch_size: int) -> None:
        self._request = compiled.create_infer_request()
        self._batch_size = batch_size

    def run(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Run forward passes: uint8 [N, H, W, 3] RGB to float32 [N, C]."""
        size = self._batch_size
        outputs = [self._run_one(images[start:start + size]) for start in range(0, max(len(images), 1), size)]
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)

    def _run_one(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        count = len(images)
        if count < self._batch_size:
            padded = np.zeros((self._batch_size, *images.shape[1:]), np.uint8)
            padded[:count] = images
            images = padded
        # The result is a view of the request's own memory, which the next batch overwrites.
        output: npt.NDArray[np.float32] = self._request.infer([images], share_inputs=True)[0][:count].copy()
        return output


def load_openvino(payload: bytes, options: LoadOptions) -> OpenVINOEngine:
    """Load an INT8 payload: the first worker of a node converts and compiles it, the others read it from the node's cache.

    Raises
    ------
    EngineError
        If openvino cannot run an operator of the payload.
    ImportError
        If openvino cannot be imported.
    """
    openvino = _openvino()
    config = {
        "INFERENCE_NUM_THREADS": options.threads or default_threads(),
        "NUM_STREAMS": 1,
        # On CPUs with AMX it would compute layers in float in bfloat16.
        "INFERENCE_PRECISION_HINT": "f32",
        # Every worker of a node would pin its thread to the same first core.
        "ENABLE_CPU_PINNING": False,
    }
    core = openvino.Core()
    shape = [options.batch_size, *options.input_size, 3]
    described = f"{openvino.__version__} {cpu_features()} {shape} {sorted(config.items())}"
    cache = BlobCache(f"{_digest(payload)}-{_digest(described.encode())}.openvino")
    try:
        blob = cache.read()
        if blob is not None:
            return OpenVINOEngine(core.import_model(io.BytesIO(blob), "CPU", config), options.batch_size)
        model = _converted(payload, shape, openvino)
        _keep_roundings(model, openvino)
        # Conversion leaves 90 MB behind for ResNet-50, a sixth of all that this process takes.
        return_freed_memory()
        compiled = core.compile_model(model, "CPU", config)
        del model
        exported = compiled.export_model()
    except ArtifactError:
        raise
    # Its frontend raises exceptions of no common class, its runtime RuntimeError.
    except Exception as error:
        raise EngineError(
            f"engine openvino on {describe_node()}: expected a payload that openvino {openvino.__version__} can compile; got "
            f"{_cause(error)}.",
            hint="take another engine, or quantize with recipe static.",
        ) from error
    cache.write(exported.getvalue() if isinstance(exported, io.BytesIO) else bytes(exported))
    del exported
    return_freed_memory()
    return OpenVINOEngine(compiled, options.batch_size)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _openvino() -> ModuleType:
    # Its import reports to a vendor's server from every worker; without that package it does not, and needs nothing of it.
    blocked = _TELEMETRY not in sys.modules
    if blocked:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        import openvino
        import openvino.frontend.pytorch.ts_decoder
    finally:
        if blocked:
            del sys.modules[_TELEMETRY]
    module: ModuleType = openvino
    return module


def _converted(payload: bytes, shape: list[int], openvino: Any) -> Any:
    # Of all that torch packs weights for, qnnpack keeps them as they are: the least work, for weights that are unpacked again.
    with packing_for("qnnpack"), warnings.catch_warnings():
        # torch.jit is deprecated upstream; OpenVINO reads the unfrozen archive and refuses a frozen one.
        warnings.simplefilter("ignore", DeprecationWarning)
        module = load_checked(payload)
        # The frontend holds no reference to its decoder.
        decoder = openvino.frontend.pytorch.ts_decoder.TorchScriptPythonDecoder(module)
        frontend = openvino.frontend.FrontEndManager().load_by_framework("pytorch")
        # Its own translation hands dequantized values on as if they were still quantized, and rounds their mean again.
        frontend.add_extension(openvino.frontend.pytorch.ConversionExtension("aten::dequantize", _dequantized))
        model = frontend.convert(frontend.load(decoder))
    images = model.get_parameters()[0]
    images.set_element_type(openvino.Type.u8)
    images.set_partial_shape(openvino.PartialShape(shape))
    model.validate_nodes_and_infer_types()
    return model


def _keep_roundings(model: Any, openvino: Any) -> None:
    """Give every rounded value that is added to another a second reader, one number of it as a further output.

    A convolution that nothing else reads is fused with the addition behind it, and its rounding to 8 bits left out: the
    sum is a little more exact than every other engine's, 32 dB from theirs on ResNet-20.
    """
    numbers = []
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Add":
            continue
        sources = [argument.get_source_output() for argument in node.inputs()]
        if all(source.get_node().get_type_name() == "FakeQuantize" for source in sources):
            numbers += [_first_number(source, openvino) for source in sources if len(source.get_target_inputs()) == 1]
    if numbers:
        model.add_outputs(numbers)


def _first_number(source: Any, openvino: Any) -> Any:
    rank = source.get_partial_shape().rank.get_length()
    zeros, ones = [0] * rank, [1] * rank
    return openvino.opset15.slice(source, zeros, ones, ones).output(0)


def _dequantized(node: Any) -> list[Any]:
    import openvino

    return [openvino.opset15.convert(node.get_input(0), "f32").output(0)]


def _cause(error: Exception) -> str:
    """Return the line of OpenVINO's traces that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "onednn::" in line or "No conversion rule" in line), lines[-1] if lines else "")[:300]
