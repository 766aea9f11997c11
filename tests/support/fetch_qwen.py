"""Builds Qwen's real tokenizers and chat templates in `.cache/qwen/` from packages of the package index.

With them comes `bfcl/`: questions, tools and the calls that are right, of the Berkeley function-calling leaderboard.

    python -m tests.support.fetch_qwen [--output DIR]

The vocabulary is `qwen.tiktoken` of the package dashscope, the chat templates are those of the package trl, the function
calls those of bfcl-eval (all Apache-2.0; the vocabulary is by the Qwen team, Alibaba Group). The files of the published
checkpoints are rebuilt from them and checked against their known sha256. Nothing of it is committed. A complete folder is
left unchanged.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.folders import ROOT

CACHE = ROOT / ".cache" / "qwen"
PACKAGES = ("dashscope==2.0.2", "trl==1.16.0", "bfcl-eval==2026.3.23")
SPLIT_REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


SPECIAL = _words(
    "<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|> <|box_end|> "
    "<|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|>"
)
ADDED = _words(
    "<tool_call> </tool_call> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|> <|repo_name|> <|file_sep|>"
)
ADDED_QWEN3 = _words("<tool_response> </tool_response> <think> </think>")
SHA256 = {
    "qwen.tiktoken": "b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186",
    "vocab.json": "ca10d7e9fb3ed18575dd1e277a2579c16d108e32f27439684afa0e10b1440910",
    "qwen2.5/tokenizer_config.json": "5b5d4f65d0acd3b2d56a35b56d374a36cbc1c8fa5cf3b3febbbfabf22f359583",
    "qwen3/tokenizer.json": "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4",
    "qwen3/tokenizer_config.json": "d5d09f07b48c3086c508b30d1c9114bd1189145b74e982a265350c923acd8101",
}


@dataclass(frozen=True)
class Family:
    """What distinguishes one generation's files from another's."""

    name: str
    model_type: str
    template: str
    added: tuple[str, ...]
    newer: bool
    model_max_length: int
    max_position_embeddings: int


FAMILIES = (
    Family("qwen2.5", "qwen2", "qwen2_5.jinja", ADDED, False, 131072, 32768),
    Family("qwen3", "qwen3", "qwen3.jinja", (*ADDED, *ADDED_QWEN3), True, 131072, 40960),
)
OTHER_TEMPLATES = (
    "qwen3_instruct_2507.jinja", "qwen3_5_think.jinja", "qwen3_5_nothink.jinja", "qwen3_6.jinja", "qwen3_8.jinja",
)  # fmt: skip
CALL_SETS = _words(
    "simple_python simple_java simple_javascript multiple parallel parallel_multiple live_simple live_multiple "
    "live_parallel live_parallel_multiple"
)
CALL_FILES = tuple(f"{folder}BFCL_v4_{name}.json" for name in CALL_SETS for folder in ("data/", "possible_answer/"))


def fetch(output: Path = CACHE) -> Path:
    """Makes `output` complete and returns it; several processes may do so at once."""
    done = output / "complete"
    if done.is_file() and done.read_text() == _fingerprint():
        return output
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as scratch:
        built = Path(scratch) / "qwen"
        _build(Path(scratch), built)
        (built / "complete").write_text(_fingerprint())
        _replace(built, output)
    return output


def _fingerprint() -> str:
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


def _replace(built: Path, output: Path) -> None:
    if output.exists():
        shutil.rmtree(output, ignore_errors=True)
    try:
        os.rename(built, output)
    except OSError:
        if not (output / "complete").is_file():  # otherwise another process was first, with the same content
            raise


def _build(scratch: Path, output: Path) -> None:
    files = _download(scratch)
    _check("qwen.tiktoken", files["qwen.tiktoken"])
    ranks = _ranks(files["qwen.tiktoken"])
    letters = _byte_letters()
    vocab = {"".join(letters[b] for b in token): rank for token, rank in ranks.items()}
    merges = [tuple("".join(letters[b] for b in part) for part in pair) for pair in _merges(ranks)]
    _check("vocab.json", json.dumps(vocab, ensure_ascii=False, separators=(",", ":")).encode())
    for family in FAMILIES:
        folder = output / family.name
        folder.mkdir(parents=True)
        _write(folder / "tokenizer.json", _tokenizer(family, vocab, merges))
        config = _tokenizer_config(family, files[family.template].decode())
        _write(folder / "tokenizer_config.json", config, "\n" if family.newer else "")
        _write(folder / "generation_config.json", {"eos_token_id": [151645, 151643], "pad_token_id": 151643})
        lengths = {"max_position_embeddings": family.max_position_embeddings}
        _write(folder / "config.json", {"model_type": family.model_type, **lengths})
    for name in OTHER_TEMPLATES:
        (output / name).write_bytes(files[name])
    for name in CALL_FILES:
        file = output / "bfcl" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(files[name])


def _download(scratch: Path) -> dict[str, bytes]:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(scratch), *PACKAGES]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if result.returncode:
        raise SystemExit(f"pip could not download {' '.join(PACKAGES)}: {result.stderr.strip()}")
    wanted = {"qwen.tiktoken", *(f.template for f in FAMILIES), *OTHER_TEMPLATES, *CALL_FILES}
    files: dict[str, bytes] = {}
    for wheel in scratch.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                name = member.rsplit("/", 1)[-1]
                name = "/".join(member.split("/")[-2:]) if name.startswith("BFCL") else name
                if name in wanted:
                    files[name] = archive.read(member)
    return files


def _check(name: str, data: bytes) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256.get(name, found):
        raise SystemExit(f"{name} is not what it was: sha256 {found}, expected {SHA256[name]}")


def _ranks(tiktoken: bytes) -> dict[bytes, int]:
    lines = (line.split() for line in tiktoken.splitlines())
    return {base64.b64decode(token): int(rank) for token, rank in lines}


def _byte_letters() -> list[str]:
    """The letter that byte-level BPE writes for each byte: itself where printable, else U+0100 onwards."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def _merges(ranks: dict[bytes, int]) -> Iterator[tuple[bytes, bytes]]:
    """The pair each token was merged from: what BPE makes of its bytes with all lower ranks known."""
    for token, rank in ranks.items():
        if len(token) == 1:
            continue
        parts = [bytes([b]) for b in token]
        while len(parts) > 2:
            found = [ranks.get(parts[i] + parts[i + 1], rank) for i in range(len(parts) - 1)]
            best = min(range(len(found)), key=found.__getitem__)
            parts[best : best + 2] = [parts[best] + parts[best + 1]]
        yield parts[0], parts[1]


def _added_token(content: str, special: bool) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"content": content, **flags, "special": special}


def _added_tokens(family: Family) -> dict[int, dict[str, Any]]:
    tokens = [(t, True) for t in SPECIAL] + [(t, False) for t in family.added]
    return {151643 + i: _added_token(content, special) for i, (content, special) in enumerate(tokens)}


def _tokenizer(family: Family, vocab: dict[str, int], merges: list[tuple[str, ...]]) -> dict[str, Any]:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": SPLIT_REGEX}, "behavior": "Isolated", "invert": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, **token} for i, token in _added_tokens(family).items()],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            **({"ignore_merges": False} if family.newer else {}),
            "vocab": vocab,
            "merges": merges if family.newer else [" ".join(pair) for pair in merges],
        },
    }


def _tokenizer_config(family: Family, template: str) -> dict[str, Any]:
    order = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
    tokens = {str(i): {key: token[key] for key in order} for i, token in _added_tokens(family).items()}
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": tokens,
        "additional_special_tokens": list(SPECIAL[1:]),
        "bos_token": None,
        "chat_template": template,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": family.model_max_length,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }


def _write(path: Path, content: dict[str, Any], end: str = "") -> None:
    data = (json.dumps(content, ensure_ascii=False, indent=2) + end).encode()
    _check(f"{path.parent.name}/{path.name}", data)
    path.write_bytes(data)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.fetch_qwen",
        description="fetch Qwen's tokenizers and chat templates for the tests",
    )
    parser.add_argument("--output", type=Path, default=CACHE)
    print(fetch(parser.parse_args().output))


if __name__ == "__main__":
    main()
