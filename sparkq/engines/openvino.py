"""Engine ``openvino`` builds an INT8 payload node by node and compiles it with OpenVINO (``pip install 'sparkq[openvino]'``)."""
from __future__ import annotations

import contextlib
import hashlib
import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkq.engines.base import LoadOptions
from sparkq.engines.cache import BlobCache
from sparkq.engines.node import cpu_features, default_threads, describe_node, return_freed_memory
from sparkq.engines.openvino_graph.build import openvino_model
from sparkq.engines.openvino_graph.library import openvino
from sparkq.errors import EngineError
from sparkq.program.storage import loads_program

__all__ = ["OpenVINOEngine", "load_openvino"]


class OpenVINOEngine:
    """A model compiled for batches of one size; smaller batches are padded, larger ones cut.

    Parameters
    ----------
    compiled : openvino.CompiledModel
        uint8 [batch_size, H, W, 3] to float32 [batch_size, C].
    batch_size : int
        Its static batch size.
    memory : object
        What holds its weights, to be kept as long.
    """

    name = "openvino"

    def __init__(self, compiled: Any, batch_size: int, *, memory: object) -> None:
        self._memory = memory
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
    """Load an INT8 payload: the first worker of a node builds and compiles it, the others read it from the node's cache.

    Raises
    ------
    ArtifactFormatError
        If it is no program.
    EngineError
        If openvino has no node for an operator of it, or cannot compile them.
    ImportError
        If openvino cannot be imported.
    """
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
    blob = cache.read()
    if blob is not None:
        # The compiled model reads its weights where they lie: no second copy of them.
        tensor = openvino.Tensor(np.frombuffer(blob, np.uint8), shared_memory=True)
        with contextlib.suppress(RuntimeError):
            return OpenVINOEngine(core.import_model(tensor, "CPU", config), options.batch_size, memory=blob)
    program = loads_program(payload)
    try:
        compiled = _compiled(core, openvino_model(program, options.batch_size), config, cache)
    # Its nodes and its compiler raise RuntimeError.
    except RuntimeError as error:
        raise EngineError(
            f"engine openvino on {describe_node()}: expected a payload that openvino {openvino.__version__} can compile; got "
            f"{_cause(error)}.",
            hint="take another engine, or quantize with recipe static.",
        ) from error
    return_freed_memory()
    return OpenVINOEngine(compiled, options.batch_size, memory=program)


def _compiled(core: Any, model: Any, config: dict[str, object], cache: BlobCache) -> Any:
    """Compile a model, and put what its compiler writes of it into the cache.

    The compiler writes to a file by itself without holding a second copy in memory, as its export does; there, one line of XML
    stands in front of what an import takes.
    """
    with cache.workspace() as folder:
        compiled = core.compile_model(model, "CPU", config if folder is None else {**config, "CACHE_DIR": str(folder)})
        files = [] if folder is None else list(folder.glob("*.blob"))
        if len(files) == 1:
            with files[0].open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                with memoryview(content) as whole, whole[content.find(b"\n") + 1 if content[:5] == b"<?xml" else 0:] as blob:
                    cache.write(blob)
    return compiled


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _cause(error: Exception) -> str:
    """Return the line of OpenVINO's traces that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
