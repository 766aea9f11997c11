"""A TensorRT-LLM that computes nothing: exactly the names that engines/llmapi touches, with the fields of the releases.

`write_fake_llmapi` makes a folder for PYTHONPATH, with stand-ins for torch and xgrammar too. Fields and keywords are data
(tests/data/llmapi), read in upstream's sources: one that a release does not take is an error here too. What it answers is in
library.py.
"""

from __future__ import annotations

from pathlib import Path

from tests.support.folders import DATA
from tests.support.gpu_library import write_metadata, write_package

VERSIONS = ("1.2.1", "1.4.0rc4")
LIBRARIES = ("tensorrt_llm", "torch", "xgrammar")
_NAMES = {
    "__init__.py": "LLM, SamplingParams",
    "executor/request.py": "LoRARequest",
    "executor/utils.py": "RequestError",
    "llmapi/llm_args.py": "TorchLlmArgs",
    "llmapi/llm_utils.py": "update_llm_args_with_extra_dict",
    "sampling_params.py": "GuidedDecodingParams",
}
_XGRAMMAR = """
class Grammar:
    @staticmethod
    def from_ebnf(text):
        if "root ::=" not in text:
            raise RuntimeError("EBNF parser error: the root rule is not defined")
"""


def write_fake_llmapi(folder: Path, version: str = "1.2.1") -> Path:
    """`folder`, with a package `tensorrt_llm` of that version that can be imported from it."""
    modules = {
        module: f"from tensorrt_llm._library import {', '.join(f'{one} as {one}' for one in names.split(', '))}\n"
        for module, names in _NAMES.items()
    }
    data = DATA / "llmapi" / f"{version if version in VERSIONS else VERSIONS[0]}.json"
    library = Path(__file__).with_name("library.py")
    write_package(folder / "tensorrt_llm", modules, {"_library.py": library, "names.json": data})
    (folder / "torch.py").write_text("def from_numpy(array):\n    return array\n")
    (folder / "xgrammar.py").write_text(_XGRAMMAR)
    write_metadata(folder, "tensorrt_llm", version)
    return folder
