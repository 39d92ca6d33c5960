"""Weights of float models: they fit or are refused, and nothing in their files is executed."""
from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sparkq.errors import InputError, ModelError
from sparkq.float_models.load import load_float_model
from tests.models import REFERENCES, SmallNet, digits_net, reference_model

DIGITS = "sparkq.demo.digits:DigitsNet"


def _zip(value: object, path: Path) -> None:
    torch.save(value, path)


def _legacy(value: object, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def _bare_pickle(value: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(value, protocol=2))


def _assert_clear(error: ModelError | InputError, *words: str) -> None:
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
def trained() -> dict[str, Tensor]:
    """Real trained weights of a DigitsNet."""
    return dict(digits_net().state_dict())


class TestWeights:
    """Files of weights."""

    @pytest.mark.parametrize("write", [_zip, _legacy])
    def test_state_dict(self, write: Callable[[object, Path], None], trained: dict[str, Tensor], tmp_path: Path) -> None:
        write(trained, tmp_path / "w.pt")
        _assert_same_weights(load_float_model(DIGITS, str(tmp_path / "w.pt")), trained)

    def test_safetensors(self, trained: dict[str, Tensor], tmp_path: Path) -> None:
        save_file(trained, tmp_path / "w.safetensors")
        _assert_same_weights(load_float_model(DIGITS, str(tmp_path / "w.safetensors")), trained)

    def test_uri(self, trained: dict[str, Tensor], tmp_path: Path) -> None:
        save_file(trained, tmp_path / "w.safetensors")
        _assert_same_weights(load_float_model(DIGITS, (tmp_path / "w.safetensors").as_uri()), trained)

    @pytest.mark.parametrize("key", ["state_dict", "model"])
    def test_inside_a_training_checkpoint(self, key: str, trained: dict[str, Tensor], tmp_path: Path) -> None:
        torch.save({"epoch": 3, key: trained}, tmp_path / "w.pt")
        _assert_same_weights(load_float_model(DIGITS, str(tmp_path / "w.pt")), trained)

    def test_names_of_a_parallel_wrapper(self, trained: dict[str, Tensor], tmp_path: Path) -> None:
        torch.save({f"module.{name}": tensor for name, tensor in trained.items()}, tmp_path / "w.pt")
        _assert_same_weights(load_float_model(DIGITS, str(tmp_path / "w.pt")), trained)

    def test_model_with_a_part_that_is_called_module(self, tmp_path: Path) -> None:
        (tmp_path / "net.py").write_text(
            "import torch\n"
            "def make():\n"
            "    return torch.nn.ModuleDict({'module': torch.nn.Linear(2, 3)})\n"
        )
        state = {"module.weight": torch.ones(3, 2), "module.bias": torch.zeros(3)}
        torch.save(state, tmp_path / "w.pt")
        _assert_same_weights(load_float_model(f"{tmp_path / 'net.py'}:make", str(tmp_path / "w.pt")), state)

    def test_without_batchnorm_counters(self, trained: dict[str, Tensor], tmp_path: Path) -> None:
        """Converters leave them out, and inference does not use them."""
        lean = {name: tensor for name, tensor in trained.items() if not name.endswith("num_batches_tracked")}
        assert len(lean) < len(trained)
        torch.save(lean, tmp_path / "w.pt")
        loaded = load_float_model(DIGITS, str(tmp_path / "w.pt")).state_dict()
        assert all(torch.equal(loaded[name], tensor) for name, tensor in lean.items())

    @pytest.mark.parametrize("name", REFERENCES)
    def test_real_ones(self, name: str, shared_data: Path) -> None:
        model = reference_model(shared_data, name)
        assert isinstance(model, nn.Module) and not model.training

    @pytest.mark.parametrize(("change", "words"), [
        (lambda state: state.pop("classifier.bias"), ("missing", "classifier.bias")),
        (lambda state: state.update(extra=torch.zeros(1)), ("unknown", "extra")),
        (lambda state: state.update({"classifier.bias": torch.zeros(1000)}), ("classifier.bias", "[1000]", "[10]")),
        (lambda state: state.clear(), ("missing",)),
    ], ids=["missing", "unknown", "another_shape", "nothing"])
    def test_that_do_not_fit(
        self, change: Callable[[dict[str, Tensor]], object], words: tuple[str, ...], trained: dict[str, Tensor], tmp_path: Path,
    ) -> None:
        change(trained)
        save_file(trained, tmp_path / "w.safetensors")
        with pytest.raises(ModelError) as caught:
            load_float_model(DIGITS, str(tmp_path / "w.safetensors"))
        _assert_clear(caught.value, "w.safetensors", "DigitsNet", *words)

    @pytest.mark.parametrize("value", [
        [1, 2], torch.zeros(3), {"epoch": 3}, {"net": {"a": torch.zeros(1)}}, {0: torch.zeros(1)},
    ], ids=["list", "tensor", "numbers", "nested_elsewhere", "numbered"])
    def test_that_are_no_state_dict(self, value: object, tmp_path: Path) -> None:
        torch.save(value, tmp_path / "w.pt")
        with pytest.raises(ModelError) as caught:
            load_float_model(DIGITS, str(tmp_path / "w.pt"))
        _assert_clear(caught.value, "w.pt")

    def test_missing_file(self) -> None:
        with pytest.raises(InputError) as caught:
            load_float_model(DIGITS, "no/such/weights.pt")
        _assert_clear(caught.value, "no/such/weights.pt")


class _CreatesAFile:
    """Unpickling it opens a file for writing: what a malicious checkpoint would do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.path), "w")


class TestHostileWeights:
    """Nothing that a weights file holds is executed, and damage is one sentence."""

    @pytest.mark.parametrize("suffix", [".pt", ".bin", ".safetensors"])
    @pytest.mark.parametrize("write", [_zip, _legacy, _bare_pickle])
    @pytest.mark.parametrize("inside", [False, True], ids=["bare", "as_a_value"])
    def test_pickle_does_not_execute(
        self, suffix: str, write: Callable[[object, Path], None], inside: bool, tmp_path: Path,
    ) -> None:
        mark, weights = tmp_path / "executed", tmp_path / f"w{suffix}"
        write({"features.0.weight": _CreatesAFile(mark)} if inside else _CreatesAFile(mark), weights)
        with pytest.raises(ModelError) as caught:
            load_float_model(DIGITS, str(weights))
        _assert_clear(caught.value, weights.name)
        assert not mark.exists()

    def test_the_pickle_above_is_a_real_one(self, tmp_path: Path) -> None:
        pickle.loads(pickle.dumps(_CreatesAFile(tmp_path / "executed"))).close()
        assert (tmp_path / "executed").exists()

    def test_whole_model_is_refused(self, tmp_path: Path) -> None:
        torch.save(SmallNet(), tmp_path / "model.pt")
        with pytest.raises(ModelError, match="save model.state_dict"):
            load_float_model(DIGITS, str(tmp_path / "model.pt"))

    @pytest.mark.parametrize("write", [_zip, _legacy])
    @pytest.mark.parametrize("share", [0, 1, 50, 99])
    def test_truncated(
        self, write: Callable[[object, Path], None], share: int, trained: dict[str, Tensor], tmp_path: Path,
    ) -> None:
        write(trained, tmp_path / "w.pt")
        data = (tmp_path / "w.pt").read_bytes()
        (tmp_path / "w.pt").write_bytes(data[:len(data) * share // 100])
        with pytest.raises(ModelError) as caught:
            load_float_model(DIGITS, str(tmp_path / "w.pt"))
        _assert_clear(caught.value, "w.pt")

    @pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
    def test_changed_bytes_are_one_sentence(self, suffix: str, tmp_path: Path) -> None:
        """Whatever torch's unpickler stumbles over; each of these bytes is changed in turn."""
        stream = io.BytesIO()
        torch.save({"a": torch.zeros(2)}, stream, _use_new_zipfile_serialization=False)
        data = stream.getvalue()
        for position in range(0, len(data), 3):
            (tmp_path / f"w{suffix}").write_bytes(data[:position] + bytes([data[position] ^ 0x15]) + data[position + 1:])
            with pytest.raises(ModelError):  # even where it reads, the names do not fit
                load_float_model(DIGITS, str(tmp_path / f"w{suffix}"))
