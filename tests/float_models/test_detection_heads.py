"""A detection network as one function: every form of answer, torchvision's SSD models, and what is refused."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sparkq.config import AnchorConfig, DetectionConfig, ModelTaskConfig, PreprocessConfig, ResizeConfig
from sparkq.errors import ConfigError, ModelError
from sparkq.float_models.detection_heads import DetectionOutputs, SSDMaps, anchored
from sparkq.float_models.load import load_float_model
from sparkq.float_models.published_preprocess import resolved_preprocess
from sparkq.model_tasks.detection.outputs import class_count
from sparkq.quantization.float_graph.trace import trace_float
from sparkq.quantization.task_model import task_model
from tests.shapes import ANCHORS, NAMES, SmallSSD

SQUARE = PreprocessConfig(resize=ResizeConfig("squash", 96))


class Answering(nn.Module):
    """Gives what it is told to make of the small SSD's maps."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form, self.ssd = form, SmallSSD()

    def forward(self, x: Tensor) -> Any:
        """In one of the forms."""
        maps = self.ssd(x)
        if self.form == "maps":
            return maps
        logits, offsets = (
            torch.cat([one.permute(0, 2, 3, 1).reshape(x.shape[0], -1, size) for one in part], 1)
            for part, size in zip(maps, (len(NAMES), 4), strict=True)
        )
        if self.form == "pair":
            return logits, offsets
        if self.form == "mapping":
            return {"bbox_regression": offsets, "cls_logits": logits}
        return torch.cat([logits.flatten(1), offsets.flatten(1)], 1)


def test_every_form_of_answer_becomes_the_same_outputs() -> None:
    """The logits of one anchor after the other, then their offsets; torch.fx can trace it, and layers keep their names."""
    batch = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    found = []
    for form in ("maps", "pair", "mapping", "flat"):
        torch.manual_seed(0)
        model = Answering(form).eval()
        outputs = DetectionOutputs(model)
        with torch.no_grad():
            found.append(outputs(batch))
            graph = trace_float(outputs, batch)
            torch.testing.assert_close(graph(batch), found[-1])
        assert {str(node.target) for node in graph.graph.nodes if node.op == "call_module"} >= {"ssd.stem.0", "ssd.logits.2"}
        assert outputs.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(found[0], one) for one in found[1:])
    assert found[0].shape == (2, ANCHORS.count * (len(NAMES) + 4)) and class_count(ANCHORS, found[0].shape[1]) == len(NAMES)


def test_parameters_and_buffers_of_the_model_itself_are_found() -> None:
    """Its learned scale stands outside all layers."""
    outputs = DetectionOutputs(SmallSSD().eval())
    assert "scale" in dict(outputs.named_parameters())
    graph = trace_float(outputs, torch.randn(1, 3, 96, 96))
    assert any(node.op == "get_attr" and node.target == "scale" for node in graph.graph.nodes)


def test_the_task_model_is_a_copy_with_its_anchors_in_the_config() -> None:
    """Those of the config win over those that the model says of itself."""
    model = SmallSSD().train()
    wrapped, task = task_model(model, ModelTaskConfig("detection"), SQUARE)
    assert model.training and not wrapped.training and task.detection == DetectionConfig(ANCHORS)
    again, same = task_model(wrapped, task, SQUARE)
    assert same == task and isinstance(again, DetectionOutputs)
    own = AnchorConfig(((12, 12), (6, 6), (3, 3)), (0.1, 0.2, 0.3, 0.4), ((3.0,),) * 3)
    assert anchored(model, DetectionConfig(own, score_threshold=0.5)) == DetectionConfig(own, score_threshold=0.5)


def test_a_model_without_anchors_is_refused() -> None:
    """And so are anchors of another kind."""
    with pytest.raises(ConfigError, match="default boxes of model Linear; got none"):
        anchored(nn.Linear(1, 1), DetectionConfig())
    model = nn.Linear(1, 1)
    model.anchors = "many"  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="got str"):
        anchored(model, DetectionConfig())


@pytest.mark.parametrize("outputs", [0, ANCHORS.count * 5, ANCHORS.count * 8 + 1, ANCHORS.count * 8 - 4])
def test_outputs_that_do_not_fit_the_anchors_are_refused(outputs: int) -> None:
    """At least a background and one class."""
    with pytest.raises(ModelError, match=f"for the {ANCHORS.count} anchors"):
        class_count(ANCHORS, outputs)
    assert class_count(ANCHORS, ANCHORS.count * 6) == 2


@pytest.mark.parametrize(("answer", "shown"), [((torch.zeros(1),) * 3, "got 3 answers"), ({"boxes": 1}, "got boxes")])
def test_other_answers_are_refused(answer: Any, shown: str) -> None:
    """As a finished detector's boxes, which no engine could give."""
    class Wrong(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return answer

    with pytest.raises(ModelError, match=shown):
        DetectionOutputs(Wrong())(torch.zeros(1, 3, 4, 4))


def test_torchvisions_ssdlite_is_its_heads_and_anchors() -> None:
    """To the bit, without its transform and its boxes; as SSD300 is, which is too large for a test."""
    with pytest.warns(UserWarning, match="no weights"):
        model = load_float_model("torchvision:ssdlite320_mobilenet_v3_large")
    assert isinstance(model, SSDMaps)
    assert model.anchors.feature_maps == ((20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)) and model.anchors.count == 3234
    with torch.no_grad():
        outputs = DetectionOutputs(model)(torch.zeros(1, 3, 320, 320))
        heads = model.offsets[0](next(iter(model.backbone(torch.zeros(1, 3, 320, 320)).values())))
    assert class_count(model.anchors, outputs.shape[1]) == 91
    squashed = PreprocessConfig(resize=ResizeConfig("squash", 320), mean=(0.5,) * 3, std=(0.5,) * 3)
    assert resolved_preprocess(model).config == squashed
    expected = heads.permute(0, 2, 3, 1).reshape(-1, 4)
    np.testing.assert_array_equal(outputs[0, 3234 * 91:].reshape(-1, 4)[: len(expected)].numpy(), expected.numpy())
