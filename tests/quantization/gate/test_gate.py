"""The gate: what is tried in which order, what counts as reached, and that nothing passes below."""
from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import pytest

from sparkq.artifact.file import ModelArtifact
from sparkq.config import ModelTaskConfig, QuantizationConfig
from sparkq.demo.digits import PREPROCESS
from sparkq.errors import ConfigError, GateError
from sparkq.quantization import quantize
from sparkq.quantization.calibration.image_set import calibration_set
from sparkq.quantization.float_side import FloatSide
from sparkq.quantization.gate import (
    GateAttempt,
    GateTarget,
    Measured,
    chosen_attempt,
    drop_error,
    gate_table,
    measure_pixels,
    pass_gate,
    split_held_out,
    techniques,
)
from sparkq.quantization.gate.views import VIEWS
from sparkq.quantization.recipes.mixed import NoisyLayer, float_order
from sparkq.quantization.task_model import task_model
from tests.models import (
    REFERENCES,
    digit_files,
    digits_artifact,
    digits_net,
    one_label_artifact,
    reference_files,
    reference_model,
)


@pytest.mark.parametrize(("measured", "reached"), [
    (Measured(100, 10.0, 5.0, 70.0, 0.5), True),
    (Measured(100, 100.0, 5.0, 70.0, 0.6), False),
    (Measured(100, 100.0, 5.0, 71.0, -1.0), True),
    (Measured(100, 90.0, 5.0, expected_loss=0.5, expected_loss_at_most=0.9), True),
    (Measured(100, 100.0, 5.0, expected_loss=0.51, expected_loss_at_most=0.9), False),
    (Measured(500, 90.0, 5.0, expected_loss=0.3, expected_loss_at_most=0.5), True),
    (Measured(500, 90.0, 5.0, expected_loss=0.3, expected_loss_at_most=0.51), False),
    (Measured(100, 98.0, 5.0, boxes=100), True),
    (Measured(100, 97.9, 50.0, boxes=100), False),
    (Measured(1000, 50.0, 5.0, 49.9, 50.4 - 49.9), True),
    (Measured(100, None, 5.0, mean_cosine=0.99, least_cosine=0.2), True),
    (Measured(100, None, 50.0, mean_cosine=0.9899, least_cosine=0.98), False),
])
def test_labels_decide_where_there_are_any(measured: Measured, reached: bool) -> None:
    """Half a point, lost or expected to be, boxes with an F1 of 98 %, or a cosine of 0.99: exactly reached counts as reached.

    Of 500 images the bound of the expected loss decides.
    """
    assert GateTarget().holds(measured) is reached


@pytest.mark.parametrize(("agreement", "reached"), [(80.0, True), (79.9, False)])
def test_an_agreement_that_is_asked_for_decides(agreement: float, reached: bool) -> None:
    """In place of the expected loss."""
    measured = Measured(500, agreement, 20.0, expected_loss=5.0, expected_loss_at_most=6.0)
    assert GateTarget(min_agreement=0.8).holds(measured) is reached


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
    assert len(tried) == (2 if recipe == "static" else 1)


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
        measure_pixels(digits_artifact("none"), calibration_set(held_out, PREPROCESS).images, GateTarget()),
        config=QuantizationConfig(), target=GateTarget(), float_order=lambda _: (),
    )
    assert [attempt.recipe for attempt in attempts] == ["static"]
    accuracy = artifact.manifest.accuracy
    assert accuracy["agreement"] == attempts[0].measured.agreement and accuracy["agreement"] >= 90
    assert accuracy["expected_loss"] == attempts[0].measured.expected_loss and accuracy["expected_loss"] <= 0.5
    assert attempts[0].artifact_bytes == len(artifact.dumps())
    assert (attempts[0].images_per_second or 0) > 0 and attempts[0].int8_macs_percent == 100


def test_gives_up_a_few_layers(shared_data: Path) -> None:
    """ResNet-20 at a signal-to-noise ratio that all layers in INT8 do not reach: those with most noise go, most work stays."""
    preprocess = REFERENCES["resnet20"].preprocess
    images = calibration_set(reference_files(shared_data, "resnet20", 32), preprocess)
    side = FloatSide(reference_model(shared_data, "resnet20"), images, preprocess)
    make = partial(quantize, side.model, preprocess=preprocess, calibration=images, side=side)
    noise = measure_pixels(make(config=QuantizationConfig(recipe="none")), images.images, GateTarget())

    def agreement_of_sqnr(artifact: ModelArtifact) -> Measured:
        """Which labels flip is luck at this size; how much noise there is, is not: 33 dB are 98 %."""
        found = noise(artifact)
        return Measured(found.images, 100 - 2 * 10 ** ((33 - (found.sqnr_db or 1000)) / 10), found.sqnr_db)

    artifact, attempts = pass_gate(
        lambda config: make(config=config), agreement_of_sqnr,
        config=QuantizationConfig(rounding="nearest", float_layers=("linear",)), target=GateTarget(),
        float_order=lambda config: float_order(side.graph(config), images, preprocess, config),
    )
    manifest = artifact.manifest
    assert 50 <= manifest.int8_macs_percent < 100 and manifest.quantization.recipe == "mixed"
    assert "linear" in manifest.float_layers
    assert len(attempts) <= 4 and (attempts[-1].measured.sqnr_db or 0) > 33 > (attempts[0].measured.sqnr_db or 0)
    assert chosen_attempt(artifact, attempts) == len(attempts) - 1


LAYERS = tuple(NoisyLayer(name, 0.25, 0.25) for name in ("features.0", "features.4", "features.8", "classifier"))


@pytest.mark.parametrize(("agreement", "recipes"), [
    (97.5, ["static", "static, observer auto", "mixed, 2 of 4 layers in float"]),
    (97.0, ["static", "static, observer auto"]),
    (50.0, ["static"]),
])
def test_nothing_passes(agreement: float, recipes: list[str]) -> None:
    """No artifact, but the table of all that was tried; what would leave less than half in INT8 is not tried, but told."""
    with pytest.raises(GateError) as caught:
        pass_gate(
            lambda _: digits_artifact(), lambda _: Measured(50, agreement, 12.0), config=QuantizationConfig(),
            target=GateTarget(), float_order=lambda _: LAYERS,
        )
    assert [attempt.recipe for attempt in caught.value.attempts] == recipes
    rows = [line for line in caught.value.message.splitlines() if f"{agreement:.2f}" in line]
    assert len(rows) == len(recipes)
    assert ("layers in float, and" in caught.value.message) is (agreement > 50)


def test_a_model_wholly_in_float_is_no_int8_model() -> None:
    """It agrees, but nobody asked for it."""
    with pytest.raises(GateError):
        pass_gate(
            lambda _: digits_artifact("none"), lambda _: Measured(50, 100.0, None), config=QuantizationConfig(),
            target=GateTarget(), float_order=lambda _: LAYERS,
        )


def test_dynamic_is_never_calibrated() -> None:
    """Where it is asked for there may be no calibration images at all."""
    asked: list[QuantizationConfig] = []

    def make(config: QuantizationConfig) -> ModelArtifact:
        asked.append(config)
        return digits_artifact("dynamic")

    artifact, _ = pass_gate(
        make, lambda _: Measured(50, 99.0 if asked[-1].float_layers else 90.0, 12.0),
        config=QuantizationConfig(recipe="dynamic"), target=GateTarget(),
        float_order=lambda _: (NoisyLayer("features.0", 0.9, 0.1), NoisyLayer("features.4", 0.1, 0.9)),
    )
    assert [(config.recipe, config.float_layers) for config in asked] == [("dynamic", ()), ("dynamic", ("features.0",))]
    assert artifact.manifest.accuracy["agreement"] == 99.0


@pytest.mark.parametrize(("measured", "warns"), [
    (Measured(40, 100.0, 30.0, standard_error=3.1, boxes=80), True),
    (Measured(4000, 99.5, 30.0, standard_error=0.1, boxes=8000), False),
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


@pytest.mark.parametrize(("bound", "warns"), [(0.6, True), (0.5, False)])
def test_warns_where_images_are_too_few_to_know(bound: float, warns: bool, caplog: pytest.LogCaptureFixture) -> None:
    """An expected loss that meets the target, and a bound that does not."""
    with caplog.at_level(logging.WARNING):
        pass_gate(
            lambda _: digits_artifact(), lambda _: Measured(40, 95.0, 30.0, expected_loss=0.2, expected_loss_at_most=bound),
            config=QuantizationConfig(), target=GateTarget(), float_order=lambda _: (),
        )
    assert ("Hint: give more calibration images" in caplog.text) is warns


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
    assert measure_pixels(reference, calibration.images, GateTarget())(reference) == Measured(
        12, None, None, standard_error=0.0, mean_cosine=1.0, least_cosine=1.0,
    )
    walk = partial(
        pass_gate, lambda config: make(config=config), measure_pixels(reference, calibration.images, GateTarget()),
        config=QuantizationConfig(rounding="nearest"), float_order=lambda _: LAYERS[:1],
    )
    with pytest.raises(GateError, match="a mean cosine similarity of at least 1 with the float model's") as caught:
        walk(target=GateTarget(min_cosine=1.0, task="embedding"))
    assert "--min-cosine" in str(caught.value.hint)
    found, attempts = walk(target=GateTarget(task="embedding"))
    assert len(attempts) == 1 and found.manifest.accuracy["mean_cosine"] > 0.99


def test_a_model_against_itself() -> None:
    """All agrees, nothing differs, and of twelve images that is still no certainty, in however many views."""
    floating = digits_artifact("none")
    measure = measure_pixels(floating, calibration_set(digit_files(12), PREPROCESS).images, GateTarget())
    found = measure(floating)
    assert (found.images, found.agreement, found.sqnr_db, found.expected_loss, found.views) == (12, 100.0, None, 0.0, VIEWS)
    assert (found.expected_loss_at_most or 0) > 0.5
    assert (measure(digits_artifact()).sqnr_db or 0) > 20


def test_looks_no_longer_than_needed() -> None:
    """Of hundreds of images a few tell that a good model is good, and of a broken one that it is not."""
    pixels = calibration_set(digit_files(250), PREPROCESS).images
    measure = measure_pixels(digits_artifact("none"), pixels, GateTarget(max_accuracy_drop=3.0))
    good, bad = measure(digits_artifact()), measure(one_label_artifact())
    assert good.images < 250 and good.views == 1 and (good.expected_loss_at_most or 9) <= 3.0
    assert bad.images == 40 and bad.views == 1 and (bad.expected_loss or 0) > 50
    asked = measure_pixels(digits_artifact("none"), pixels, GateTarget(min_agreement=0.9))(digits_artifact())
    assert asked.images == 250
