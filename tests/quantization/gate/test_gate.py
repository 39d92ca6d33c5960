"""The gate: what is tried in which order, what counts as reached, and that nothing passes below."""
from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkq.artifact.file import ModelArtifact
from sparkq.config import ModelTaskConfig, QuantizationConfig
from sparkq.demo.digits import PREPROCESS
from sparkq.errors import ConfigError, GateError
from sparkq.quantization import quantize
from sparkq.quantization.calibration.image_set import calibration_set
from sparkq.quantization.gate import (
    GateAttempt,
    GateTarget,
    Measured,
    agreement_error,
    chosen_attempt,
    drop_error,
    gate_table,
    measure_pixels,
    pass_gate,
    split_held_out,
    techniques,
)
from sparkq.quantization.recipes.mixed import float_order
from sparkq.quantization.task_model import task_model
from tests.models import REFERENCES, digit_files, digits_artifact, digits_net, reference_files, reference_model


@pytest.mark.parametrize(("measured", "reached"), [
    (Measured(100, 10.0, 5.0, 70.0, 0.5), True),
    (Measured(100, 100.0, 5.0, 70.0, 0.6), False),
    (Measured(100, 100.0, 5.0, 71.0, -1.0), True),
    (Measured(100, 98.0, 5.0), True),
    (Measured(100, 97.9, 50.0), False),
    (Measured(1000, 50.0, 5.0, 49.9, 50.4 - 49.9), True),
    (Measured(100, None, 5.0, mean_cosine=0.99, least_cosine=0.2), True),
    (Measured(100, None, 50.0, mean_cosine=0.9899, least_cosine=0.98), False),
])
def test_labels_decide_where_there_are_any(measured: Measured, reached: bool) -> None:
    """Half a point, 98 % agreement, or of an embedding a cosine of 0.99: exactly reached counts as reached."""
    assert GateTarget().holds(measured) is reached


@pytest.mark.parametrize("wrong", [
    {"min_agreement": 98}, {"min_agreement": -0.1}, {"max_accuracy_drop": -1.0}, {"min_cosine": 99},
])
def test_a_target_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        GateTarget(**wrong)


@pytest.mark.parametrize("recipe", ["static", "mixed", "dynamic"])
def test_techniques(recipe: str) -> None:
    """What was asked for comes first, nothing is tried twice, and nothing is given up to float yet."""
    config = QuantizationConfig(recipe=recipe)
    tried = [candidate for _, candidate in techniques(config)]
    assert tried[0] == config and {candidate.recipe for candidate in tried} == {recipe}
    assert all(tried.count(candidate) == 1 for candidate in tried)
    assert len(tried) == (3 if recipe == "static" else 1)


@given(st.integers(1, 2000), st.data())
def test_error_of_an_agreement(images: int, data: st.DataObject) -> None:
    """Never zero, and never more than of a coin."""
    agreeing = data.draw(st.integers(0, images))
    assert 0 < agreement_error(100 * agreeing / images, images) <= 50 / (images + 4) ** 0.5 + 1e-9


@pytest.mark.parametrize(("agreement", "images", "error"), [(100.0, 40, 3.14), (98.0, 1000, 0.46), (50.0, 96, 5.0)])
def test_error_of_an_agreement_by_hand(agreement: float, images: int, error: float) -> None:
    """sqrt(p (1 - p) / (n + 4)) with p = (k + 2) / (n + 4)."""
    assert agreement_error(agreement, images) == pytest.approx(error, abs=0.005)


def test_error_of_a_drop() -> None:
    """Of the images on which one was right and the other wrong; 12 against 8 of 250 are 1.6 points, known to 1.8."""
    assert drop_error(1.6, 20, 250) == pytest.approx(100 * (21 - 16 / 252) ** 0.5 / 252)
    assert 0 < drop_error(0.0, 0, 250) < 0.5
    assert drop_error(0.0, 20, 1000) < drop_error(0.0, 20, 250)


@pytest.mark.parametrize("count", [1, 9, 10, 11, 200])
def test_held_out(count: int) -> None:
    """Nothing is lost, and nothing measured on was calibrated on, where there is enough of it."""
    calibration, held_out = split_held_out(list(range(count)))
    assert sorted({*calibration, *held_out}) == list(range(count))
    assert calibration and held_out
    assert (set(calibration) & set(held_out) == set()) is (count >= 10)


def test_first_that_reaches_the_target() -> None:
    """Digits: plain static does; its figures stand in the manifest."""
    files = list(digit_files(60))
    calibration, held_out = split_held_out(files)
    make = partial(quantize, digits_net(), preprocess=PREPROCESS)
    artifact, attempts = pass_gate(
        lambda config: make(calibration=calibration, config=config),
        partial(measure_pixels, float_artifact=digits_artifact("none"), images=calibration_set(held_out, PREPROCESS).images),
        config=QuantizationConfig(), target=GateTarget(), float_order=lambda _: (),
    )
    assert [attempt.recipe for attempt in attempts] == ["static"]
    assert artifact.manifest.accuracy["agreement"] == attempts[0].measured.agreement >= 98
    assert attempts[0].artifact_bytes == pytest.approx(len(artifact.dumps()), rel=0.01)
    assert attempts[0].images_per_second > 0 and attempts[0].int8_macs_percent == 100


def test_walks_to_the_fewest_layers_in_float(shared_data: Path) -> None:
    """ResNet-20 at a signal-to-noise ratio that all layers in INT8 do not reach: one layer less in float misses it as well."""
    preprocess = REFERENCES["resnet20"].preprocess
    calibration = reference_files(shared_data, "resnet20", 32)
    model = reference_model(shared_data, "resnet20")
    make = partial(quantize, model, preprocess=preprocess)
    floating = make(calibration=calibration[:1], config=QuantizationConfig(recipe="none"))

    def agreement_of_sqnr(artifact: ModelArtifact) -> Measured:
        """Which labels flip is luck at this size; how much noise there is, is not."""
        found = measure_pixels(artifact, floating, calibration_set(calibration, preprocess).images)
        return Measured(found.images, 100.0 if (found.sqnr_db or 1000) > 36 else 0.0, found.sqnr_db)

    artifact, attempts = pass_gate(
        lambda config: make(calibration=calibration, config=config), agreement_of_sqnr,
        config=QuantizationConfig(rounding="nearest", float_layers=("linear",)), target=GateTarget(),
        float_order=lambda config: float_order(model, calibration_set(calibration, preprocess), preprocess, config),
    )
    manifest = artifact.manifest
    assert 0 < manifest.int8_macs_percent < 100 and manifest.quantization.recipe == "mixed"
    assert "linear" in manifest.float_layers
    reached = [attempt for attempt in attempts if (attempt.measured.sqnr_db or 0) > 36]
    assert reached and attempts[0] not in reached
    assert attempts[chosen_attempt(artifact, attempts) or 0] in reached
    best = max(reached, key=lambda attempt: attempt.int8_macs_percent)
    assert best.int8_macs_percent == manifest.int8_macs_percent
    assert max(attempt.int8_macs_percent for attempt in attempts if attempt not in reached) > best.int8_macs_percent


@pytest.mark.parametrize("agreement", [97.0, 100.0])
def test_nothing_passes(agreement: float) -> None:
    """No artifact, but the table of all that was tried; a model wholly in float agrees, and is no INT8 model either."""
    artifact = digits_artifact() if agreement < 98 else digits_artifact("none")
    order = ("features.0", "features.4", "features.8", "classifier")
    asked: list[QuantizationConfig] = []

    def make(config: QuantizationConfig) -> ModelArtifact:
        asked.append(config)
        return artifact

    with pytest.raises(GateError) as caught:
        pass_gate(
            make, lambda _: Measured(50, agreement, 12.0), config=QuantizationConfig(), target=GateTarget(),
            float_order=lambda _: order,
        )
    assert [config.float_layers for config in asked] == [(), (), (), order[:2], order[:3]]
    assert {config.recipe for config in asked[3:]} == {"mixed"}
    rows = [line for line in caught.value.message.splitlines() if f"{agreement:.2f}" in line]
    assert len(rows) == len(caught.value.attempts) == len(asked)
    assert "--min-agreement" in str(caught.value.hint)


def test_dynamic_is_never_calibrated() -> None:
    """Where it is asked for there may be no calibration images at all."""
    asked: list[QuantizationConfig] = []

    def make(config: QuantizationConfig) -> ModelArtifact:
        asked.append(config)
        return digits_artifact("dynamic")

    artifact, _ = pass_gate(
        make, lambda _: Measured(50, 99.0 if asked[-1].float_layers else 90.0, 12.0),
        config=QuantizationConfig(recipe="dynamic"), target=GateTarget(), float_order=lambda _: ("features.0", "features.4"),
    )
    assert [(config.recipe, config.float_layers) for config in asked] == [("dynamic", ()), ("dynamic", ("features.0",))]
    assert artifact.manifest.accuracy["agreement"] == 99.0


@pytest.mark.parametrize(("measured", "warns"), [
    (Measured(40, 100.0, 30.0, standard_error=3.1), True),
    (Measured(4000, 99.5, 30.0, standard_error=0.1), False),
    (Measured(250, 99.0, 30.0, 50.0, 0.4, standard_error=0.9), True),
    (Measured(250, 99.0, 30.0, 50.0, -2.0, standard_error=0.9), False),
    (Measured(10, None, 30.0, standard_error=0.002, mean_cosine=0.991, least_cosine=0.9), True),
    (Measured(10, None, 30.0, standard_error=0.002, mean_cosine=0.999, least_cosine=0.9), False),
])
def test_warns_where_luck_decides(measured: Measured, warns: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A target met by less than the measurement's own error."""
    with caplog.at_level(logging.WARNING):
        pass_gate(
            lambda _: digits_artifact(), lambda _: measured, config=QuantizationConfig(), target=GateTarget(),
            float_order=lambda _: (),
        )
    assert ("Hint: measure on more images" in caplog.text) is warns


def test_table() -> None:
    """Accuracy, noise, share of INT8, size and speed, columns in line."""
    table = gate_table([
        GateAttempt("static", Measured(10, 97.0, 20.0, 50.0, 1.25, 3.5), 100.0, 1_500_000, 12.5),
        GateAttempt("mixed, 25 dB", Measured(10, 100.0, None), 80.0, 15_000_000, 1000.0),
    ]).splitlines()
    assert len({len(line) for line in table}) == 1
    assert table[1].split() == ["static", "10", "50.00", "1.25", "97.00", "3.50", "20.00", "100.00", "1.50", "12.50"]
    assert table[2].split() == ["mixed,", "25", "dB", "10", "-", "-", "100.00", "-", "infinite", "80.00", "15.00", "1000.00"]


def test_table_of_an_embedding() -> None:
    """Cosines in the place of what needs labels."""
    measured = Measured(10, None, 20.0, standard_error=0.0012, mean_cosine=0.98765, least_cosine=0.5)
    header, row = gate_table([GateAttempt("static", measured, 100.0, 1_500_000, 12.5)]).splitlines()
    assert header.split() == ["recipe", "images", "cosine", "least", "+-", "SQNR", "dB", "INT8", "MACs", "%", "MB", "images/s"]
    assert row.split() == ["static", "10", "0.9877", "0.5000", "0.0012", "20.00", "100.00", "1.50", "12.50"]


def test_vectors_that_differ_too_much_are_refused() -> None:
    """By a sentence that names the option."""
    floating, task = task_model(digits_net(), ModelTaskConfig("embedding"), PREPROCESS)
    calibration = calibration_set(digit_files(12), PREPROCESS)
    make = partial(quantize, floating, calibration=calibration, preprocess=PREPROCESS, task=task)
    reference = make(config=QuantizationConfig(recipe="none"))
    assert measure_pixels(reference, reference, calibration.images) == Measured(
        12, None, None, standard_error=0.0, mean_cosine=1.0, least_cosine=1.0,
    )
    measure = partial(measure_pixels, float_artifact=reference, images=calibration.images)
    walk = partial(
        pass_gate, lambda config: make(config=config), measure, config=QuantizationConfig(rounding="nearest"),
        float_order=lambda _: ("features.0",),
    )
    with pytest.raises(GateError, match="a mean cosine similarity of at least 1 with the float model's") as caught:
        walk(target=GateTarget(min_cosine=1.0, task="embedding"))
    assert "--min-cosine" in str(caught.value.hint)
    found, attempts = walk(target=GateTarget(task="embedding"))
    assert len(attempts) == 1 and found.manifest.accuracy["mean_cosine"] > 0.99


def test_a_model_against_itself() -> None:
    """All agrees, nothing differs, and of twelve images that is still no certainty."""
    floating = digits_artifact("none")
    pixels = calibration_set(digit_files(12), PREPROCESS).images
    error = round(agreement_error(100.0, 12), 3)
    assert measure_pixels(floating, floating, pixels) == Measured(12, 100.0, None, standard_error=error)
    assert (measure_pixels(digits_artifact(), floating, pixels).sqnr_db or 0) > 20
