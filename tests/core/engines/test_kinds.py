"""From a JSON description to a loaded engine."""

from __future__ import annotations

import subprocess
import sys

import pytest

from qwen_triton.engines import kinds
from qwen_triton.engines.kinds import ENGINES, EngineKind, load_engine
from qwen_triton.engines.option import options_of
from qwen_triton.engines.replay.engine import ReplayEngine
from qwen_triton.engines.replay.options import ReplayOptions
from qwen_triton.errors import ConfigurationError


def test_the_engine_of_a_description_is_loaded_with_its_options() -> None:
    engine = load_engine({"engine": "replay", "mode": "scripts", "scripts": [[1, 2]], "max_context": 99})
    assert isinstance(engine, ReplayEngine)
    assert engine.info.max_context == 99


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"engine": "vlm"}, r"^engine: expected openvino or replay or llmapi or vllm, got 'vlm'$"),
        ({}, r"^engine: expected openvino or replay or llmapi or vllm, got None$"),
        ({"engine": ["replay"]}, r"^engine: expected openvino or replay or llmapi or vllm, got \['replay'\]$"),
        ({"engine": "replay", "slot": 1}, r"^engine\.slot: unknown option; known are crash_on, "),
        ({"engine": "replay", "slots": 0}, r"^engine\.slots: must be a whole number of at least 1, got 0$"),
        (
            {"engine": "replay", "mode": "scripts"},
            r"^engine\.scripts: mode «scripts» needs at least one list of token ids",
        ),
        ({"engine": "replay", "random_ids": [5, 5]}, r"^engine\.random_ids: the second must be larger than the first"),
        ({"engine": "openvino"}, r"^engine\.model: is missing; give it a value$"),
    ],
)
def test_a_wrong_description_is_refused(description: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_engine(description)


def test_a_library_that_is_not_installed_is_told_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = EngineKind(ReplayOptions, "replay.none:None", extra="replay")
    monkeypatch.setattr(kinds, "ENGINES", {"replay": kind})
    with pytest.raises(
        ConfigurationError, match=r"replay cannot be loaded \(.*\); pip install 'qwen-triton\[replay\]'"
    ):
        load_engine({"engine": "replay"})


def test_the_table_imports_no_engine_s_library_and_no_pydantic() -> None:
    """The deployment's schema reads it where no engine is installed, an engine's process where no pydantic is."""
    code = "import sys, qwen_triton.engines.kinds; print({'openvino', 'openvino_genai', 'pydantic'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "set()\n"


@pytest.mark.parametrize("kind", ENGINES)
def test_every_option_is_described(kind: str) -> None:
    assert [name for name, rule in options_of(ENGINES[kind].options).items() if not rule.doc] == []
