"""Renders model_repository/: fills its placeholders, lays overlays over it, and writes the result to a folder.

Faults are found before anything is written: a placeholder without a value where Triton needs one, a value without a
placeholder, a file that is no model configuration. The output folder appears complete or not at all.
"""

from __future__ import annotations

import re
import shutil
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from qwen_triton.errors import ConfigurationError
from qwen_triton.tensors.contract import BLS, ENSEMBLE, POSTPROCESSING, PREPROCESSING, TENSORRT_LLM

from ..trtllm.built_engine import BuiltEngine
from ..trtllm.tools.versions import served_version
from . import xgrammar_tokenizer
from .overlay import PYTHON, lay_over, overlay_text, steps_for
from .placeholders import Values

MODELS = (PREPROCESSING, TENSORRT_LLM, POSTPROCESSING, BLS, ENSEMBLE)
_PLACEHOLDER = re.compile(r"\$\{(\w+)\}")
_MARK = ".qwen-triton"


def template_repository() -> Path:
    """The folder model_repository/: beside the source, or where an installation put it.

    Raises ConfigurationError when it is at neither place.
    """
    source = Path(__file__).resolve().parents[3] / "model_repository"
    installed = Path(sysconfig.get_path("data")) / "share" / "qwen-triton" / "model_repository"
    found = next((p for p in (source, installed) if (p / ENSEMBLE / "config.pbtxt").is_file()), None)
    if found is None:
        raise ConfigurationError(f"no model_repository at {source} or {installed}; install qwen-triton again")
    return found


def fill(template: str, values: Mapping[str, object], model: str) -> str:
    """Fills one config.pbtxt. A placeholder inside quotes without a value becomes empty, which means «not set».

    Raises ConfigurationError for one outside quotes without a value.
    """

    def replace(match: re.Match[str]) -> str:
        name, quoted = match[1], template[match.start() - 1] == '"'
        value = values.get(name)
        if value is None and not quoted:
            raise ConfigurationError(f"{model}/config.pbtxt: ${{{name}}} has no value")
        return _literal(value, quoted)

    return _PLACEHOLDER.sub(replace, template)


def _literal(value: object, quoted: bool) -> str:
    if value is None:
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") if quoted else text


def check_config(text: str, model: str) -> model_config_pb2.ModelConfig:
    """Parses a config.pbtxt as Triton does. Raises ConfigurationError with the line at fault."""
    try:
        return text_format.Parse(text, model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        raise ConfigurationError(f"{model}/config.pbtxt: not a model configuration: {error}") from None


def steps_of(values: Values) -> tuple[str, ...]:
    """The engine's overlays: `python` for one of this project, for NVIDIA's those up to the version that built it."""
    if values.get("triton_backend") == "python":
        return (PYTHON,)
    return steps_for(served_version(BuiltEngine.read(Path(str(values.get("engine_dir")))).version))


def configure(values: Values, steps: tuple[str, ...], template: Path) -> dict[str, str]:
    """{model: text of its config.pbtxt}. Raises ConfigurationError for a missing or unknown value or a wrong file."""
    texts = {model: (template / model / "config.pbtxt").read_text(encoding="utf-8") for model in MODELS}
    overlays = {(model, step): overlay_text(step, model) for model in MODELS for step in steps}
    known = {name for text in (*texts.values(), *overlays.values()) for name in _PLACEHOLDER.findall(text)}
    unknown = sorted(name for name in set(values) - known if values[name] is not None)
    if unknown:
        raise ConfigurationError(f"{unknown[0]}: no config.pbtxt of this engine has such a placeholder; leave it out")
    return {model: _configure_model(model, text, values, overlays, steps) for model, text in texts.items()}


def _configure_model(
    model: str, text: str, values: Values, overlays: Mapping[tuple[str, str], str], steps: tuple[str, ...]
) -> str:
    config = check_config(fill(text, values, model), model)
    for step in steps:
        lay_over(config, step, fill(overlays[model, step], values, model))
    body: str = text_format.MessageToString(config, as_utf8=True)
    return f"# {model}: rendered by qwen-triton; edit the deployment instead.\n\n{body}"


def render(values: Values, output: Path, template: Path | None = None) -> Path:
    """Writes the filled repository to `output`, replacing an earlier rendering. Returns `output`.

    Where TensorRT-LLM keeps forms and no file of its tokenizer is given, that file is written too.
    """
    template = template or template_repository()
    files: dict[Path, str] = {}
    if values.get("guided_decoding_backend") and not values.get("xgrammar_tokenizer_info_path"):
        file = Path(TENSORRT_LLM, xgrammar_tokenizer.FILE)
        files[file] = xgrammar_tokenizer.tokenizer_info(Path(str(values["tokenizer_dir"])))
        values = {**values, "xgrammar_tokenizer_info_path": str(output.absolute() / file)}
    _write(configure(values, steps_of(values), template), files, template, output)
    return output


def _write(filled: Mapping[str, str], files: Mapping[Path, str], template: Path, output: Path) -> None:
    if output.exists() and any(output.iterdir()) and not (output / _MARK).exists():
        raise ConfigurationError(f"{output}: holds something that render did not write; give an empty or new folder")
    output.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        for model, text in filled.items():
            shutil.copytree(template / model, aside / model, ignore=shutil.ignore_patterns("__pycache__"))
            (aside / model / "config.pbtxt").write_text(text, encoding="utf-8")
        for file, text in files.items():
            (aside / file).write_text(text, encoding="utf-8")
        (aside / _MARK).write_text("rendered by qwen-triton; edit the deployment instead\n")
        aside.chmod(0o755)
        if output.exists():
            shutil.rmtree(output)
        aside.rename(output)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
