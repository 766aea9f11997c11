"""Adapters of a GPU engine: what is wrong with one is said before its library gets it, and all get room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qwen_triton.engines.gpu.adapters import Adapter, AdapterRoom, read_adapters, room_for
from qwen_triton.errors import ConfigurationError
from tests.support.gpu_library import write_adapter


def test_adapters_are_numbered_and_have_absolute_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library takes a relative folder that is not there for a name on a hub."""
    monkeypatch.chdir(tmp_path)
    write_adapter(Path("a"))
    write_adapter(Path("b"), r=8, rank_pattern={"v_proj": 64})
    assert read_adapters({"x": Path("a"), "y": Path("b")}, "vLLM") == (
        Adapter("x", 1, tmp_path / "a", 8, patterned=False, modules=("q_proj",)),
        Adapter("y", 2, tmp_path / "b", 64, patterned=True, modules=("q_proj",)),
    )


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3', only LORA can be served"),
        ({"r": 0}, "a rank must be a whole number from 1 to 512, got 0"),
        ({"r": True}, "a rank must be a whole number from 1 to 512, got True"),
        ({"rank_pattern": {"q_proj": 1024}}, "got 1024"),
        ({"use_dora": True}, "use_dora is not supported by vLLM"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is not supported by vLLM"),
        ({"bias": "all"}, "bias is not supported by vLLM"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights is 'pissa_niter_4', which changes the base model"),
    ],
)
def test_an_adapter_that_cannot_be_served_is_refused(tmp_path: Path, config: dict[str, Any], words: str) -> None:
    folder = write_adapter(tmp_path / "a", **config)
    with pytest.raises(ConfigurationError) as refusal:
        read_adapters({"pirate": folder}, "vLLM")
    assert str(refusal.value).startswith(f"engine.lora.pirate: {folder / 'adapter_config.json'}: ")
    assert words in str(refusal.value)


@pytest.mark.parametrize("missing", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_folder_without_an_adapter_is_refused(tmp_path: Path, missing: str) -> None:
    folder = write_adapter(tmp_path / "a")
    (folder / missing).unlink()
    with pytest.raises(
        ConfigurationError, match=f"engine.lora.pirate: {folder / missing}: no such file; give the folder"
    ):
        read_adapters({"pirate": folder}, "vLLM")


def test_a_plain_start_of_the_training_is_taken(tmp_path: Path) -> None:
    for n, start in enumerate((True, False, "gaussian", "Eva")):
        assert read_adapters({"a": write_adapter(tmp_path / str(n), init_lora_weights=start)}, "vLLM")


def adapters(*ranks: int) -> list[Adapter]:
    return [Adapter(f"a{n}", n, Path("/a"), rank, patterned=False) for n, rank in enumerate(ranks, 1)]


@pytest.mark.parametrize(
    ("ranks", "given", "expected"),
    [
        ((8,), (None, None, None), (8, 1, 1)),
        ((8, 20), (None, None, None), (20, 2, 2)),
        ((8,) * 12, (None, None, None), (8, 8, 12)),
        ((8, 8), (1, None, None), (8, 1, 2)),
        ((8,), (4, None, 64), (64, 4, 4)),
        ((8,), (None, 9, None), (8, 1, 9)),
    ],
)
def test_all_get_room(
    ranks: tuple[int, ...], given: tuple[int | None, int | None, int | None], expected: tuple[int, int, int]
) -> None:
    """The rank, places in a batch and in memory."""
    assert room_for(adapters(*ranks), *given) == AdapterRoom(*expected)


def test_a_rank_below_the_adapters_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"engine.max_lora_rank: 16 is less than the 20 of engine.lora.a2"):
        room_for(adapters(8, 20), None, None, 16)
