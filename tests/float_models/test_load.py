"""Float models: factories of the user's and named architectures."""
from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sparkq.demo.digits import DigitsNet
from sparkq.errors import ModelError
from sparkq.float_models.load import load_float_model

DIGITS = "sparkq.demo.digits:DigitsNet"


def _assert_clear(error: ModelError, *words: str) -> None:
    """One line that names each of `words`, and a next action."""
    assert "\n" not in str(error)
    assert error.hint
    for word in words:
        assert word in error.message


def _assert_same_weights(model: nn.Module, state: dict[str, Tensor]) -> None:
    loaded = model.state_dict()
    assert loaded.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(loaded[name], tensor), name


@pytest.fixture
def factory_file(tmp_path: Path) -> Path:
    """A module beside a helper module, outside of sys.path, with dataclasses as users write them."""
    (tmp_path / "widths_of_mine.py").write_text("HIDDEN = 5\n")
    path = tmp_path / "nets_of_mine.py"
    path.write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "import torch\n"
        "from widths_of_mine import HIDDEN\n"
        "@dataclass\n"
        "class Options:\n"
        "    hidden: int = HIDDEN\n"
        "def make():\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3, Options().hidden)).train()\n"
        "def make_double():\n"
        "    return make().double()\n"
        "def make_number():\n"
        "    return 7\n"
        "def make_nothing():\n"
        "    raise KeyError('no such\\ncheckpoint')\n"
        "NOT_CALLABLE = 3\n"
    )
    return path


class TestFactories:
    """``module:factory`` and ``file.py:factory``."""

    def test_module_on_the_path(self) -> None:
        model = load_float_model(DIGITS)
        assert isinstance(model, DigitsNet)
        assert not model.training

    def test_file_with_a_neighbour_and_a_dataclass(self, factory_file: Path) -> None:
        before = list(sys.path)
        model = load_float_model(f"{factory_file}:make")
        assert model(torch.zeros(2, 3)).shape == (2, 5)
        assert not model.training
        assert sys.path == before

    def test_module_in_the_working_directory(self, factory_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(factory_file.parent)
        assert load_float_model("nets_of_mine:make")(torch.zeros(1, 3)).shape == (1, 5)

    def test_two_files_of_one_name(self, tmp_path: Path) -> None:
        for folder, width in (("a", 2), ("b", 3)):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "net.py").write_text(f"import torch\ndef make():\n    return torch.nn.Linear(1, {width})\n")
        widths = [load_float_model(f"{tmp_path / folder / 'net.py'}:make").out_features for folder in ("a", "b")]
        assert widths == [2, 3]

    def test_float32_whatever_the_factory_gives(self, factory_file: Path) -> None:
        assert {parameter.dtype for parameter in load_float_model(f"{factory_file}:make_double").parameters()} == {torch.float32}

    def test_no_warning_without_weights(self) -> None:
        """The factory may have filled them in itself."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            load_float_model(DIGITS)

    @pytest.mark.parametrize(("name", "words"), [
        ("make_number", "int"),
        ("make_nothing", "KeyError"),
        ("NOT_CALLABLE", "callable"),
        ("no_such_name", "no_such_name"),
    ])
    def test_factory_that_gives_no_model(self, factory_file: Path, name: str, words: str) -> None:
        with pytest.raises(ModelError) as caught:
            load_float_model(f"{factory_file}:{name}")
        assert "\n" not in str(caught.value)
        assert words in str(caught.value) and name in str(caught.value)

    @pytest.mark.parametrize("source", ["no_such_package_at_all", "sparkq.no_such_module", "no/such/file.py"])
    def test_module_not_found(self, source: str) -> None:
        with pytest.raises(ModelError) as caught:
            load_float_model(f"{source}:make")
        _assert_clear(caught.value, source)

    def test_module_that_does_not_compile(self, tmp_path: Path) -> None:
        (tmp_path / "broken.py").write_text("def make(:\n")
        with pytest.raises(ModelError, match="SyntaxError"):
            load_float_model(f"{tmp_path / 'broken.py'}:make")

    @pytest.mark.parametrize("spec", ["resnet50", ":make", "module:", ""])
    def test_spec_without_source_or_name(self, spec: str) -> None:
        with pytest.raises(ModelError) as caught:
            load_float_model(spec)
        _assert_clear(caught.value, "module:factory", "timm:NAME", "torchvision:NAME")


class TestNamedArchitectures:
    """``timm:NAME`` and ``torchvision:NAME``, whose wheel does not import beside a CPU build of torch by itself."""

    @pytest.mark.parametrize("spec", ["timm:resnet10t", "torchvision:squeezenet1_1"])
    def test_without_weights_twice_the_same_and_a_warning(self, spec: str) -> None:
        models = []
        for ambient_seed in (1, 2):
            torch.manual_seed(ambient_seed)
            with pytest.warns(UserWarning, match=f"{spec}: no weights given, so they are random"):
                models.append(load_float_model(spec))
        _assert_same_weights(models[0], models[1].state_dict())
        assert not models[0].training

    def test_the_callers_random_numbers_go_on(self) -> None:
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        with pytest.warns(UserWarning, match="random"):
            load_float_model("torchvision:squeezenet1_1")
        assert torch.equal(torch.rand(3), expected)

    def test_with_weights_no_warning(self, tmp_path: Path) -> None:
        with pytest.warns(UserWarning, match="random"):
            state = load_float_model("torchvision:squeezenet1_1").state_dict()
        changed = {name: tensor + 1 for name, tensor in state.items()}
        save_file(changed, tmp_path / "w.safetensors")
        _assert_same_weights(load_float_model("torchvision:squeezenet1_1", str(tmp_path / "w.safetensors")), changed)

    @pytest.mark.parametrize("source", ["timm", "torchvision"])
    def test_unknown_name(self, source: str) -> None:
        with pytest.raises(ModelError) as caught:
            load_float_model(f"{source}:resnet51")
        _assert_clear(caught.value, "resnet51", source)


def test_a_module_or_factory_that_ends_the_process(tmp_path: Path) -> None:
    """``sys.exit()`` of a script without a main guard is the user's mistake, and is said; it does not end sparkq."""
    (tmp_path / "script.py").write_text("raise SystemExit(0)\n")
    (tmp_path / "exits.py").write_text("import sys\ndef factory():\n    sys.exit('no weights')\n")
    for spec in ("script.py:factory", "exits.py:factory"):
        with pytest.raises(ModelError, match="SystemExit"):
            load_float_model(str(tmp_path / spec))
