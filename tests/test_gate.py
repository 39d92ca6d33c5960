"""The gate: what is tried in which order, what counts as reached, and that nothing passes below."""
from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from models import REFERENCES, digit_files, digits_artifact, digits_net, reference_files, reference_model

from sparkq.artifact import ModelArtifact
from sparkq.config import QuantizationConfig
from sparkq.digits import PREPROCESS
from sparkq.errors import ConfigError, GateError, InputError
from sparkq.gate import Attempt, GateTarget, Measured, candidates, gate_table, measure_held_out, pass_gate, split_held_out
from sparkq.quantization import quantize


@pytest.mark.parametrize(("measured", "reached"), [
    (Measured(100, 10.0, 5.0, 70.0, 0.5), True),
    (Measured(100, 100.0, 5.0, 70.0, 0.6), False),
    (Measured(100, 100.0, 5.0, 71.0, -1.0), True),
    (Measured(100, 98.0, 5.0), True),
    (Measured(100, 97.9, 50.0), False),
    (Measured(1000, 50.0, 5.0, 49.9, 50.4 - 49.9), True),
])
def test_labels_decide_where_there_are_any(measured: Measured, reached: bool) -> None:
    """Half a point, or 98 % agreement, exactly reached counts as reached."""
    assert GateTarget().holds(measured) is reached


@pytest.mark.parametrize("wrong", [{"min_agreement": 98}, {"min_agreement": -0.1}, {"max_accuracy_drop": -1.0}])
def test_a_target_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        GateTarget(**wrong)


@pytest.mark.parametrize("recipe", ["static", "mixed", "dynamic"])
def test_order(recipe: str) -> None:
    """What was asked for comes first, mixed with ever more in float comes last, and nothing is tried twice."""
    config = QuantizationConfig(recipe=recipe)
    tried = [candidate for _, candidate in candidates(config)]
    assert tried[0] == config and tried[-1].recipe == "mixed"
    assert all(tried.count(candidate) == 1 for candidate in tried)
    levels = [candidate.minimum_sqnr_db for candidate in tried if candidate.recipe == "mixed"]
    assert levels == sorted(levels)


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
        partial(measure_held_out, float_artifact=digits_artifact("none"), items=held_out),
        config=QuantizationConfig(), target=GateTarget(),
    )
    assert [attempt.recipe for attempt in attempts] == ["static"]
    assert artifact.manifest.accuracy["agreement"] == attempts[0].measured.agreement >= 98
    assert attempts[0].artifact_bytes == pytest.approx(len(artifact.dumps()), rel=0.01)
    assert attempts[0].images_per_second > 0 and attempts[0].int8_macs_percent == 100


def test_walks_to_mixed(shared_data: Path) -> None:
    """ResNet-20 at a signal-to-noise ratio that all layers in INT8 do not reach: some stay in float, and it is reached."""
    preprocess = REFERENCES["resnet20"].preprocess
    calibration = reference_files(shared_data, "resnet20", 32)
    model = reference_model(shared_data, "resnet20")
    make = partial(quantize, model, preprocess=preprocess)
    floating = make(calibration=calibration[:1], config=QuantizationConfig(recipe="none"))

    def agreement_of_sqnr(artifact: ModelArtifact) -> Measured:
        """Which labels flip is luck at this size; how much noise there is, is not."""
        found = measure_held_out(artifact, floating, calibration)
        return Measured(found.images, 100.0 if (found.sqnr_db or 1000) > 36 else 0.0, found.sqnr_db)

    artifact, attempts = pass_gate(
        lambda config: make(calibration=calibration, config=config), agreement_of_sqnr,
        config=QuantizationConfig(rounding="nearest"), target=GateTarget(),
    )
    assert len(attempts) > 3 and attempts[-1].recipe.startswith("mixed")
    assert 0 < artifact.manifest.int8_macs_percent < 100 and artifact.manifest.float_layers
    assert (attempts[0].measured.sqnr_db or 0) < 36 < (attempts[-1].measured.sqnr_db or 0)


def test_nothing_passes() -> None:
    """No artifact, but the table of all that was tried, one row each."""
    artifact = digits_artifact()
    with pytest.raises(GateError) as caught:
        pass_gate(lambda _: artifact, lambda _: Measured(50, 97.0, 12.0), config=QuantizationConfig(), target=GateTarget())
    rows = [line for line in caught.value.message.splitlines() if "97.00" in line]
    assert len(rows) == len(list(candidates(QuantizationConfig())))
    assert "--min-agreement" in str(caught.value.hint)


def test_table() -> None:
    """Every figure that the issue names, columns in line."""
    table = gate_table([
        Attempt("static", Measured(10, 97.0, 20.0, 50.0, 1.25), 100.0, 1_500_000, 12.5),
        Attempt("mixed, 25 dB", Measured(10, 100.0, None), 80.0, 15_000_000, 1000.0),
    ]).splitlines()
    assert len({len(line) for line in table}) == 1
    assert table[1].split() == ["static", "50.00", "1.25", "97.00", "20.00", "100.00", "1.50", "12.50"]
    assert table[2].split() == ["mixed,", "25", "dB", "-", "-", "100.00", "infinite", "80.00", "15.00", "1000.00"]


def test_held_out_images_that_do_not_decode() -> None:
    """They are left out; when none is left, it is said."""
    int8, floating = digits_artifact(), digits_artifact("none")
    files = list(digit_files(12))
    found = measure_held_out(int8, floating, [b"", *files, b"no image"])
    assert found == measure_held_out(int8, floating, files) and found.images == 12
    assert measure_held_out(floating, floating, files) == Measured(12, 100.0, None)
    with pytest.raises(InputError):
        measure_held_out(int8, floating, [b""])
