"""Engine ``auto`` on Spark: each node's own choice in its rows, or one choice for all nodes."""
from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

import sparkq
from sparkq.artifact.file import ModelArtifact
from sparkq.config import InferenceConfig
from sparkq.errors import ConfigError, EngineError
from sparkq.images.preprocess import preprocess_content
from sparkq.spark.cluster.nodes import NodeChoice, choose_for_all, measure_nodes, one_for_all, table_of
from sparkq.worker.engine_choice import EngineChoice
from sparkq.worker.engine_measuring import Measurement
from sparkq.worker.predictor import Predictor
from tests.models import classified
from tests.spark.local import assert_clear, by_path


def _node(host: str, rates: dict[str, float], **refused: str) -> NodeChoice:
    fastest = max(rates, key=lambda engine: rates[engine])
    measurements = tuple(Measurement(engine, 4, rate) for engine, rate in rates.items())
    return NodeChoice(host, "Xeon", EngineChoice(fastest, 4, measurements, refused))


class TestOneForAll:
    """What a mixed cluster takes; hand-made tables, no JVM."""

    def test_best_in_all_not_most_often_first(self) -> None:
        old, new = {"fbgemm": 40.0, "onednn": 35.0}, {"fbgemm": 41.0, "onednn": 100.0}
        assert one_for_all([_node("a", old), _node("b", old), _node("c", new)]) == "onednn"

    def test_only_what_every_node_runs(self) -> None:
        nodes = [_node("a", {"fbgemm": 40, "openvino": 200}), _node("b", {"fbgemm": 40, "x86": 50}, openvino="no package")]
        assert one_for_all(nodes) == "fbgemm"

    def test_nothing_in_common(self) -> None:
        with pytest.raises(EngineError) as caught:
            one_for_all([_node("a", {"fbgemm": 40}), _node("b", {"onednn": 40})])
        assert_clear(caught.value, "a runs fbgemm", "b runs onednn", "same-everywhere")

    def test_the_table_shows_all(self) -> None:
        table = table_of((_node("a", {"fbgemm": 40}), _node("b", {"x86": 50.25}, openvino="no package")))
        for word in ("host", "a ", "fbgemm", "40.0", "b ", "x86", "50.2", "openvino", "no package", "Xeon"):
            assert word in table
        assert len(table.splitlines()) == 4


def test_every_node_is_measured(spark: SparkSession, artifact: ModelArtifact) -> None:
    """Here there is one."""
    [node] = measure_nodes(spark.sparkContext, artifact, InferenceConfig(engine="auto", batch_size=4))
    assert node.host == socket.gethostname() and node.cpu
    engines = {one.engine for one in node.choice.measurements}
    assert node.choice.engine in engines and "fbgemm" in engines
    assert engines | set(node.choice.refused) == {"fbgemm", "x86", "onednn", "openvino"}


@pytest.mark.parametrize("same_everywhere", [True, False])
def test_rows_say_what_ran(
    spark: SparkSession, images_df: DataFrame, artifact: ModelArtifact, files: dict[str, bytes], same_everywhere: bool,
) -> None:
    """One engine of those that were measured, and each row is bit for bit what that engine says of the image alone."""
    config = InferenceConfig(engine="auto", batch_size="auto", same_everywhere=same_everywhere)
    rows = by_path(sparkq.predict(images_df, artifact, config=config).collect())
    [engine] = {row["engine"] for row in rows.values()}
    predictor = Predictor(artifact, engine=engine, batch_size=1)
    assert rows.keys() == files.keys()
    for name, content in files.items():
        pixels = preprocess_content(content, artifact.manifest.preprocess)
        labels, scores = classified(predictor, pixels[None], top_k=1)
        assert (rows[name]["label"], rows[name]["score"]) == (labels[0, 0], scores[0, 0])


def test_choice_for_all_is_settled(spark: SparkSession, artifact: ModelArtifact) -> None:
    """No ``auto`` is left, and the limits stay."""
    config = InferenceConfig(engine="auto", batch_size="auto", same_everywhere=True, top_k=2)
    settled, [node] = choose_for_all(spark.sparkContext, artifact, config)
    assert settled.engine in {one.engine for one in node.choice.measurements}
    assert settled.batch_size in (1, 4, 8, 16, 32) and settled.top_k == 2 and not settled.same_everywhere


def test_a_pair_rdd(spark: SparkSession, artifact: ModelArtifact, files: dict[str, bytes]) -> None:
    """`predict_rdd` as well."""
    pairs = list(files.items())[:20]
    config = InferenceConfig(engine="auto", batch_size="auto")
    found = sparkq.predict_rdd(spark.sparkContext.parallelize(pairs, 2), artifact, config=config).collect()
    assert [key for key, _ in found] == [key for key, _ in pairs]
    assert {row["status"] for _, row in found} == {"ok"}


@pytest.mark.parametrize("same_everywhere", [True, False])
def test_no_engine_is_right(
    spark: SparkSession, images_df: DataFrame, falsified: ModelArtifact, same_everywhere: bool,
) -> None:
    """One sentence with each engine's reason."""
    config = InferenceConfig(engine="auto", batch_size=4, same_everywhere=same_everywhere)
    if same_everywhere:
        with pytest.raises(EngineError) as caught:
            sparkq.predict(images_df, falsified, config=config)
        assert_clear(caught.value, "engine auto", "golden output", "fbgemm")
    else:
        with pytest.raises(Exception, match="engine auto .*golden output"):
            sparkq.predict(images_df, falsified, config=config).collect()


@pytest.mark.parametrize("values", [{}, {"engine": "fbgemm"}, {"batch_size": 8}])
def test_same_everywhere_needs_auto(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="same_everywhere"):
        replace(InferenceConfig(**values), same_everywhere=True)
