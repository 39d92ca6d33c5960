"""`PredictionJob`: the keywords that notebooks and DAGs use, and the parts that it is made of."""
from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkq.config import DecodeLimits, ExecutionConfig, InferenceConfig, PredictionJob, limits_among
from sparkq.config.parsing import option_fields, parse_config, part_of, to_mapping
from sparkq.errors import ConfigError

KEYWORDS: dict[str, Any] = {
    "model": "m", "input": "i", "output": "o", "run_id": "nightly", "resume": True, "max_error_rate": 0.5, "quarantine": "q",
    "quarantine_bytes": True, "partition_by": ("label_name",), "overwrite": False, "engine": "auto", "batch_size": 8,
    "same_everywhere": True, "top_k": 3, "content_column": None, "uri_column": "uri", "max_image_pixels": 10,
    "max_image_bytes": 20, "max_decode_bytes": 30, "max_decode_seconds": 40, "input_format": "uri", "read": "spark",
    "glob": "*.jpg", "drift_sample": 0.1, "allow_saturation": True, "model_sha256": "0" * 64,
}
"""Every keyword of version 0.1."""


def test_every_keyword_is_taken_kept_and_told() -> None:
    """As an argument, an attribute, a key of a config file and a key of the settings in the run's manifest."""
    job = PredictionJob(**KEYWORDS)
    assert {name: getattr(job, name) for name in KEYWORDS} == KEYWORDS
    assert set(inspect.signature(PredictionJob).parameters) == set(KEYWORDS) == set(to_mapping(job))
    assert parse_config(PredictionJob, to_mapping(job), place="c.yaml") == job
    assert dataclasses.replace(job, max_image_bytes=21, engine="auto").max_image_bytes == 21


def test_its_parts_are_made_of_its_options() -> None:
    """An `InferenceConfig` and `DecodeLimits`, without the rest; a job in uris has its column."""
    job = PredictionJob(**KEYWORDS)
    config = job.inference()
    assert type(config) is InferenceConfig and type(job.limits) is type(config.limits) is DecodeLimits
    assert to_mapping(config) == {name: KEYWORDS[name] for name in to_mapping(config)}
    assert job.limits == config.limits == DecodeLimits(
        max_image_pixels=10, max_image_bytes=20, max_decode_bytes=30, max_decode_seconds=40,
    )
    assert part_of(ExecutionConfig, config).batch_size == 8


def test_required_options_come_first() -> None:
    """In the help, and in what a wrong key is answered with."""
    assert [entry.name for entry in option_fields(PredictionJob)][:3] == ["model", "input", "output"]
    assert all(entry.default is not dataclasses.MISSING for entry in option_fields(PredictionJob)[3:])


@pytest.mark.parametrize("name", ["max_image_pixels", "max_image_bytes", "max_decode_bytes", "max_decode_seconds"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "9", None])
def test_a_limit_is_a_whole_number(name: str, value: object) -> None:
    """Wherever it is set."""
    values: dict[str, Any] = {name: value}
    for make in (lambda: DecodeLimits(**values), lambda: PredictionJob(model="m", input="i", output="o", **values)):
        with pytest.raises(ConfigError, match=f"{name}: expected a whole number of at least 1"):
            make()


@given(st.builds(DecodeLimits, **{name: st.integers(1, 10**12) for name in to_mapping(DecodeLimits())}))
def test_limits_are_found_among_the_settings_of_a_run(limits: DecodeLimits) -> None:
    """A run without settings, which a notebook wrote, had the default ones."""
    job = PredictionJob(model="m", input="i", output="o", **to_mapping(limits))
    assert limits_among(to_mapping(job)) == limits
    assert limits_among({}) == DecodeLimits()
