"""The table of engines agrees with itself, with the recipes, and with the extras that are offered."""
from __future__ import annotations

import configparser
import importlib.util
import re
import sys
from dataclasses import replace

import pytest
import torch

from sparkq.config.quantization import RECIPES
from sparkq.engines import registry
from sparkq.engines.base import LoadOptions
from sparkq.engines.load import absent_engines, load_engine
from sparkq.engines.node import describe_node
from sparkq.engines.registry import ENGINE_NAMES, ENGINES, EngineSpec, engines_in_words, fitting_engines, spec_of
from sparkq.errors import EngineError
from tests import ROOT

OPTIONS = LoadOptions((16, 16))


@pytest.mark.parametrize("spec", ENGINES, ids=ENGINE_NAMES)
def test_an_entry(spec: EngineSpec) -> None:
    """Its loader is there; it runs known recipes, INT8 or float; and if a node may lack it, there is advice."""
    module, function = spec.loader.split(":")
    assert callable(getattr(importlib.import_module(f"sparkq.engines.{module}"), function))
    assert spec.recipes and set(spec.recipes) <= set(RECIPES)
    assert spec.is_int8 == ("none" not in spec.recipes)
    assert (spec.advice is not None) == (spec.torch_backend or spec.package is not None)


def test_every_recipe_has_a_default() -> None:
    assert len(set(ENGINE_NAMES)) == len(ENGINES)
    assert {recipe: fitting_engines(recipe)[0] for recipe in RECIPES} == {
        "static": "fbgemm", "mixed": "fbgemm", "dynamic": "fbgemm", "none": "float32",
    }


@pytest.mark.parametrize("package", registry.engine_packages())
def test_a_needed_package_is_an_extra_of_its_name(package: str) -> None:
    """``pip install 'sparkq[NAME]'``, as the hint says, installs it."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    extra = settings.get("options.extras_require", package)
    assert package in {re.split(r"[<>=~!\[ ]", line)[0] for line in extra.split("\n")}


def test_the_readme_names_them() -> None:
    """Its table has every engine, in the table's order."""
    table = re.search(r"^\| `--engine` \|.+?\n\n", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert table is not None
    first_cells = " ".join(line.split("|")[1].partition("(`pip")[0] for line in table.group().strip().splitlines()[2:])
    assert re.findall(r"`(\w+)`", first_cells) == [*ENGINE_NAMES, "auto"]


def test_in_words() -> None:
    assert engines_in_words() == "fbgemm, x86, onednn or openvino (INT8), float32 or bfloat16 (float artifacts)"


def test_unknown_name() -> None:
    with pytest.raises(EngineError, match="engine tensorrt: expected one of fbgemm, x86"):
        spec_of("tensorrt")


class TestLack:
    """A node without what an engine needs says what it lacks, and what to do."""

    def test_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "openvino", None)
        assert absent_engines() == {"openvino": "the package openvino is not installed"}
        with pytest.raises(EngineError) as caught:
            load_engine(b"", "openvino", OPTIONS)
        assert caught.value.message.startswith(f"engine openvino on {describe_node()}: expected a node that can run it; ")
        assert "the package openvino is not installed" in caught.value.message
        assert caught.value.hint == "pip install 'sparkq[openvino]' on every node."

    @pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino, an optional extra, is not installed")
    def test_package_that_is_broken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is there, a part of it cannot be imported."""
        for module in [name for name in sys.modules if name.startswith("sparkq.engines.openvino")]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setitem(sys.modules, "openvino.opset15", None)
        with pytest.raises(EngineError, match="expected a package openvino that can be imported; got .*opset15") as caught:
            load_engine(b"", "openvino", OPTIONS)
        assert caught.value.hint == "pip install 'sparkq[openvino]' on every node."

    def test_backend_of_torch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As on an ARM CPU."""
        # A property of the module's class; whoever asks the module for it gets the list.
        monkeypatch.setattr(type(torch.backends.quantized), "supported_engines", ["onednn", "qnnpack"])
        assert set(absent_engines()) == {"fbgemm", "x86"}
        with pytest.raises(EngineError, match=r"engine fbgemm .* does not offer it, only onednn, qnnpack\.") as caught:
            load_engine(b"", "fbgemm", OPTIONS)
        assert caught.value.hint == "run on x86 nodes with AVX2, or take engine onednn."

    def test_a_module_of_our_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An engine without a package whose module cannot be imported is a fault of sparkq's, not of the node."""
        broken = replace(spec_of("float32"), loader="nowhere:load")
        monkeypatch.setattr(registry, "ENGINES", (broken,))
        with pytest.raises(ImportError, match="nowhere"):
            load_engine(b"", "float32", OPTIONS)
