"""From a classifier to an embedder: the graph ends at one layer, so that what lies behind it costs nothing."""
from __future__ import annotations

import copy
import dataclasses
import difflib

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from sparkq.config import ModelTaskConfig, PreprocessConfig
from sparkq.errors import ModelError
from sparkq.float_models.detection_heads import DetectionOutputs, anchored
from sparkq.float_models.load import require_image_shape
from sparkq.quantization.float_graph.macs import LAYER_KINDS
from sparkq.quantization.float_graph.trace import input_node, module_of, propagate_shapes, shape_of, trace_float
from sparkq.quantization.normalization import normalize

__all__ = ["task_model"]

_SEED = 0
_TRACED_IMAGES = 2
_SHOWN_NAMES = 8
_OWN_OUTPUT = "output"
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2d)
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Identity)
_DROPOUT_FUNCTIONS = (F.dropout, F.dropout2d, torch.dropout)


def task_model(model: nn.Module, task: ModelTaskConfig, preprocess: PreprocessConfig) -> tuple[nn.Module, ModelTaskConfig]:
    """The model that does a task, and the task with all its names filled in. On the driver.

    Parameters
    ----------
    model : nn.Module
        Takes float32 [N, 3, H, W], returns float [N, classes]. It is not changed.
    task : ModelTaskConfig
        For ``classification`` the model is returned as it is, for ``detection`` as
        `sparkq.float_models.detection_heads.DetectionOutputs`
        of a copy. For ``embedding`` it ends at `embedding_layer`: a module's name
        (of a module that runs several times, its last output), the name of a node of the graph that torch.fx makes of it, or
        ``output`` for what the model returns. None: what the last linear layer takes, or the 1 x 1 convolution that is the
        head instead. Planes, [N, C, H, W], are averaged to [N, C] (global average pooling).
    preprocess : PreprocessConfig
        Gives the input's size.

    Returns
    -------
    (nn.Module, ModelTaskConfig)
        Of an embedding: float32 [N, 3, H, W] to [N, C], and the name of its layer. Of a detection with its anchors.

    Raises
    ------
    ModelError
        If there is no such layer, its output is no vector and no planes, or torch.fx cannot trace the model.
    """
    if task.name == "detection":
        return DetectionOutputs(copy.deepcopy(model).eval()), dataclasses.replace(task, detection=anchored(model, task.detection))
    if task.name != "embedding":
        return model, task
    require_image_shape(model, preprocess.input_size)
    pixels = torch.randint(
        0, 256, (_TRACED_IMAGES, *preprocess.input_size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(_SEED),
    )
    example = normalize(pixels, preprocess)
    name = type(model).__name__
    was_training = model.training
    model.eval()
    try:
        graph = trace_float(model, example)
        layers = _layers(graph)
        layer = task.embedding_layer or _head_input(graph, layers, name)
        if layer not in layers:
            raise _unknown_layer(layer, list(layers), name)
        _end_at(graph, layers[layer])
        _prove(model, graph, layer, example)
    finally:
        model.train(was_training)
    _pool(graph, layer, example)
    graph.meta.update(getattr(model, "meta", {}))
    return graph, dataclasses.replace(task, embedding_layer=layer)


def _layers(graph: fx.GraphModule) -> dict[str, fx.Node]:
    """List whatever has a name and gives one tensor, modules first: in the graph's order, the last call where there are
    several.
    """
    modules: dict[str, fx.Node] = {}
    nodes: dict[str, fx.Node] = {}
    for node in graph.graph.nodes:
        if node.op in ("placeholder", "get_attr") or shape_of(node) is None:
            continue
        if node.op == "output":
            nodes[_OWN_OUTPUT] = node.args[0]
            continue
        nodes[node.name] = node
        # A container's output is that of the last operation in it; `_prove` holds it against the model.
        for path, _ in node.meta.get("nn_module_stack", {}).values():
            modules.pop(path, None)
            modules[path] = node
        if node.op == "call_module":
            modules[str(node.target)] = node
    return {**nodes, **{path: node for path, node in modules.items() if path}}


def _head_input(graph: fx.GraphModule, layers: dict[str, fx.Node], name: str) -> str:
    """Name of the layer whose output the classifier's head takes."""
    node = next(node for node in graph.graph.nodes if node.op == "output").args[0]
    while isinstance(node, fx.Node) and not _multiplies(graph, node):
        is_norm = node.op == "call_module" and isinstance(graph.get_submodule(str(node.target)), _NORMS)
        # A sum of two heads, or an embedder's own last BatchNorm, is no classifier's end.
        sources = [source for source in node.all_input_nodes if source.op != "get_attr" and shape_of(source) is not None]
        node = None if is_norm or len(sources) != 1 else sources[0]
    if isinstance(node, fx.Node) and _is_head(graph, node):
        source = _before_dropout(graph, input_node(node))
        # Of several names the module's; none, where the head takes the image itself.
        found = [path for path, other in layers.items() if other is source]
        if found:
            return found[-1]
    raise ModelError(
        f"model {name}: expected a classifier whose last layer is linear or a 1 x 1 convolution; got another end.",
        hint=f"name the layer: --embedding-layer, e.g. {_OWN_OUTPUT} for what the model returns.",
    )


def _multiplies(graph: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(graph.get_submodule(str(node.target)), LAYER_KINDS)
    return node.target in (F.linear, F.conv2d)


def _is_head(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Tell whether a node is a linear layer or a 1 x 1 convolution, as a module or as a function of weights."""
    if node.op == "call_module":
        layer = graph.get_submodule(str(node.target))
        pointwise = isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.groups == 1
        return pointwise or isinstance(layer, nn.Linear)
    return node.target is F.linear or (shape_of(node.args[1]) or ())[2:] == (1, 1)


def _before_dropout(graph: fx.GraphModule, node: fx.Node) -> fx.Node:
    while isinstance(module_of(graph, node), _DROPOUTS) or node.target in _DROPOUT_FUNCTIONS:
        node = input_node(node)
    return node


def _unknown_layer(layer: str, names: list[str], model: str) -> ModelError:
    near = difflib.get_close_matches(layer, names, _SHOWN_NAMES)
    told = f"near ones are {', '.join(near)}" if near else f"its last ones are {', '.join(names[-_SHOWN_NAMES:])}"
    return ModelError(
        f"model {model}: expected embedding_layer to be one of its {len(names)} layers; got {layer!r}.", hint=f"{told}.",
    )


def _end_at(graph: fx.GraphModule, node: fx.Node) -> None:
    """Make `node` the graph's output, and drop what no longer leads there."""
    output = next(node for node in graph.graph.nodes if node.op == "output")
    output.args = (node,)
    graph.graph.eliminate_dead_code()
    graph.delete_all_unused_submodules()
    graph.graph.lint()
    graph.recompile()


def _prove(model: nn.Module, graph: fx.GraphModule, layer: str, example: Tensor) -> None:
    """Hold the cut graph against what the layer of this name gives in the model itself."""
    module = dict(model.named_modules()).get(layer)
    if module is None:
        return
    seen: list[object] = []
    # A copy: a layer behind may work in place.
    hook = module.register_forward_hook(lambda _module, _inputs, output: seen.append(
        output.clone() if isinstance(output, Tensor) else output
    ))
    try:
        with torch.no_grad():
            model(example)
            found = graph(example)
    finally:
        hook.remove()
    expected = seen[-1] if seen else None
    if not isinstance(expected, Tensor) or expected.shape != found.shape or not torch.allclose(
        expected, found, rtol=1e-3, atol=1e-4, equal_nan=True,
    ):
        raise ModelError(
            f"model {type(model).__name__}: expected embedding_layer to give one tensor, the last that is computed in it; "
            f"{layer!r} does not.", hint="name a layer inside it, or one behind it.",
        )


def _pool(graph: fx.GraphModule, layer: str, example: Tensor) -> None:
    output = next(node for node in graph.graph.nodes if node.op == "output")
    shape = shape_of(output.args[0]) or ()
    # Planes of a square image that are square in the wrong place are [N, H, W, C].
    swapped = len(shape) == 4 and shape[1] == shape[2] != shape[3] and example.shape[2] == example.shape[3]
    if len(shape) not in (2, 4) or swapped:
        raise ModelError(
            f"embedding_layer {layer}: expected an output of [N, C] or [N, C, H, W]; got [N, {', '.join(map(str, shape[1:]))}].",
            hint="name a layer behind the model's own pooling.",
        )
    if len(shape) == 4:
        with graph.graph.inserting_before(output):
            one_pixel = shape[2:] == (1, 1)
            pooled = (
                graph.graph.call_function(torch.flatten, (output.args[0], 1)) if one_pixel
                else graph.graph.call_method("mean", (output.args[0], (2, 3)))
            )
        output.args = (pooled,)
        graph.recompile()
        propagate_shapes(graph, example)
