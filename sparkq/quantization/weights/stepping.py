"""Run a graph up to a layer, with many batches at once, so that the layer can be changed before it runs."""
from __future__ import annotations

import torch
from torch import Tensor, fx

__all__ = ["Stepper"]


class Stepper:
    """Interprets a graph node by node over several batches; forgets a value after its last reader.

    Parameters
    ----------
    graph : GraphModule
        May change behind the node that was reached.
    batches : list of Tensor
        Inputs.
    """

    def __init__(self, graph: fx.GraphModule, batches: list[Tensor]) -> None:
        self._interpreters = [fx.Interpreter(graph) for _ in batches]
        for interpreter, batch in zip(self._interpreters, batches, strict=True):
            interpreter.args_iter = iter((batch,))
        self._nodes = list(graph.graph.nodes)
        self._next = 0
        self._dying: dict[fx.Node, list[fx.Node]] = {}
        last_reader = {source: node for node in self._nodes for source in node.all_input_nodes}
        for source, node in last_reader.items():
            self._dying.setdefault(node, []).append(source)

    def inputs_of(self, target: str) -> list[Tensor]:
        """Run all nodes before the one that calls module `target`; its first argument, one a batch."""
        with torch.no_grad():
            while self._nodes[self._next].target != target or self._nodes[self._next].op != "call_module":
                self._run(self._nodes[self._next])
                self._next += 1
        source = self._nodes[self._next].args[0]
        assert isinstance(source, fx.Node)
        return [interpreter.env[source] for interpreter in self._interpreters]

    def _run(self, node: fx.Node) -> None:
        for interpreter in self._interpreters:
            interpreter.env[node] = interpreter.run_node(node)
            for source in self._dying.get(node, ()):
                del interpreter.env[source]
