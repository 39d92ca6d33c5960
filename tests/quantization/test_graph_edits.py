"""The edits keep a graph whole: all readers follow, noted facts go over, what is no longer called is gone."""
from __future__ import annotations

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from sparkq.quantization.graph_edits import call_instead, finish, module_instead, pass_by


class Small(nn.Module):
    """One ReLU that is read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.scaled_0 = nn.ReLU(), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Twice max(x, 0)."""
        positive = self.relu(x)
        return self.scaled_0(positive) + positive


@pytest.fixture
def graph() -> fx.GraphModule:
    return fx.symbolic_trace(Small())


def _node(graph: fx.GraphModule, target: object) -> fx.Node:
    (node,) = (node for node in graph.graph.nodes if node.target == target)
    return node


X = torch.tensor([-2.0, 3.0, 9.0])


def test_a_function_in_a_module_s_place(graph: fx.GraphModule) -> None:
    node = _node(graph, "relu")
    node.meta["noted"] = "shape"
    new = call_instead(graph, node, F.hardtanh, (node.args[0], 0.0, 4.0))
    finish(graph)
    assert graph(X).tolist() == [0, 6, 8] and new.meta["noted"] == "shape"
    assert dict(graph.named_children()).keys() == {"scaled_0"}


def test_a_new_module_gets_a_free_name(graph: fx.GraphModule) -> None:
    """Not that of the user's own module, whatever it is called."""
    node = _node(graph, "relu")
    module_instead(graph, node, "scaled", nn.Hardtanh(0.0, 5.0), (node.args[0],))
    finish(graph)
    assert graph(X).tolist() == [0, 6, 10]
    assert isinstance(graph.get_submodule("scaled_1"), nn.Hardtanh) and isinstance(graph.get_submodule("scaled_0"), nn.Identity)


def test_a_node_passed_by(graph: fx.GraphModule) -> None:
    pass_by(_node(graph, "relu"))
    finish(graph)
    assert graph(X).tolist() == [-4, 6, 18] and "relu" not in dict(graph.named_children())
