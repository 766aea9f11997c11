"""Tokenizer: exact ids of Qwen's vocabulary, what a folder says, and the faults of folders and texts."""

from __future__ import annotations

import ctypes
import gc
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest

from qwen_triton.errors import ConfigurationError, InvalidRequest
from qwen_triton.text.tokenizer import Tokenizer


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Hello, world!", [9707, 11, 1879, 0]),
        ("你好，你叫什么名字", [108386, 3837, 56568, 99882, 99245, 101419]),
        ("🙂👨‍👩‍👧", [145080, 145367, 378, 235, 145233, 378, 235, 145665]),
        ("", []),
        ("  two\n\n", [220, 1378, 271]),
        ("\x00", [188]),
        ("e\u0301", [963]),
        ("café 123 it's", [924, 58858, 220, 16, 17, 18, 432, 594]),
    ],
)
def test_encode_gives_qwens_ids(qwen3: Tokenizer, text: str, ids: list[int]) -> None:
    """Chinese, emoji with joiners, blanks, a control character, and NFC; nothing is put before or behind.

    The ids are those of another implementation, tiktoken, for the same ranks.
    """
    assert qwen3.encode(text) == ids


def test_control_tokens_in_a_text_are_text_unless_asked_for(qwen3: Tokenizer) -> None:
    """Both ways decode to the same text; <think> is one id either way, as in transformers."""
    text = "<|im_start|>hi<think>"
    assert qwen3.encode(text) == [27, 91, 318, 4906, 91, 29, 6023, 151667]
    assert qwen3.encode(text, control_tokens=True) == [151644, 6023, 151667]
    assert qwen3.decode(qwen3.encode(text), skip_special_tokens=False) == text
    assert qwen3.decode([151644, 6023, 151667]) == "hi<think>"


def test_a_folder_tells_ends_padding_and_context(qwen25: Tokenizer, qwen3: Tokenizer) -> None:
    """Both end ids of generation_config.json; the tokenizer's own is one of them."""
    assert (qwen25.eos_id, qwen25.end_ids, qwen25.pad_id) == (151645, (151645, 151643), 151643)
    assert (qwen25.context_length, qwen3.context_length) == (32768, 40960)
    assert (qwen25.vocab_size, qwen3.vocab_size) == (151665, 151669)


def test_token_bytes_are_those_of_the_one_token_alone(qwen3: Tokenizer) -> None:
    """Part of a character, a control token's literal text, and nothing beyond the vocabulary."""
    assert qwen3.token_bytes(108386) == "你好".encode()
    assert qwen3.token_bytes(378) == b"\xe2\x80"
    assert qwen3.token_bytes(151645) == b"<|im_end|>"
    assert qwen3.token_bytes(151669) == qwen3.token_bytes(-1) == b""
    assert [i for i in range(151640, 151669) if qwen3.is_special(i)] == list(range(151643, 151657))


def test_half_a_surrogate_pair_is_the_callers_fault(qwen3: Tokenizer) -> None:
    """It cannot be written in UTF-8, so no tokenizer can take it."""
    with pytest.raises(InvalidRequest, match="text_input: not valid Unicode"):
        qwen3.encode("a\ud83d")


def test_threads_share_one_tokenizer(qwen3: Tokenizer) -> None:
    """Eight threads that encode the two ways at once get what one thread gets."""
    text = "<|im_end|>你好" * 20
    wanted = [qwen3.encode(text, control_tokens=bool(n % 2)) for n in range(2)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: qwen3.encode(text, control_tokens=bool(n % 2)), range(400)))
    assert found == wanted * 200


@pytest.fixture
def folder(qwen3_folder: Path, tmp_path: Path) -> Path:
    """A copy of Qwen3's folder that a test may change."""
    return Path(shutil.copytree(qwen3_folder, tmp_path / "checkpoint"))


def change(file: Path, **values: Any) -> None:
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, **values}))


@pytest.mark.parametrize(
    ("generation", "eos", "ends", "pad"),
    [
        ({"eos_token_id": 151643}, "<|im_end|>", (151643, 151645), 151643),
        ({"eos_token_id": [7, 8]}, {"content": "<|im_end|>", "special": True}, (7, 8, 151645), 151643),
        ({}, None, (), 151643),
    ],
)
def test_end_ids_are_all_that_the_folder_names(
    folder: Path, generation: dict[str, Any], eos: Any, ends: tuple[int, ...], pad: int
) -> None:
    """One or several in generation_config.json, then the tokenizer's, which may be text or an object."""
    (folder / "generation_config.json").write_text(json.dumps(generation))
    change(folder / "tokenizer_config.json", eos_token=eos)
    tokenizer = Tokenizer.from_folder(folder)
    assert (tokenizer.end_ids, tokenizer.pad_id) == (ends, pad)


def test_context_length_falls_back_to_the_tokenizers(folder: Path) -> None:
    """Without config.json, model_max_length; its «no limit» is None; a nested text_config is read."""
    (folder / "config.json").unlink()
    assert Tokenizer.from_folder(folder).context_length == 131072
    change(folder / "tokenizer_config.json", model_max_length=1e30)
    assert Tokenizer.from_folder(folder).context_length is None
    (folder / "config.json").write_text('{"text_config": {"max_position_embeddings": 4096}}')
    assert Tokenizer.from_folder(folder).context_length == 4096


def test_a_folder_without_a_fast_tokenizer_is_refused(tmp_path: Path) -> None:
    """The message names the folder and the remedy."""
    with pytest.raises(
        ConfigurationError, match=r"has no tokenizer.json; give the folder of a Hugging Face checkpoint"
    ):
        Tokenizer.from_folder(tmp_path)
    with pytest.raises(ConfigurationError, match="is not a folder"):
        Tokenizer.from_folder(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "config.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_corrupt_file_is_named(folder: Path, name: str, content: bytes) -> None:
    """Cut off, of the wrong kind, or not text."""
    (folder / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"{name}.*fetch the checkpoint's files again"):
        Tokenizer.from_folder(folder)


def test_a_tokenizer_that_is_not_byte_level_is_refused(folder: Path) -> None:
    """Its tokens have no bytes of their own, so no stream could be exact."""
    change(folder / "tokenizer.json", decoder={"type": "WordPiece", "prefix": "##", "cleanup": True})
    with pytest.raises(ConfigurationError, match="its decoder is not ByteLevel"):
        Tokenizer.from_folder(folder)


def test_nothing_is_put_before_or_behind_a_text(folder: Path) -> None:
    """Even where tokenizer.json would: a prompt is what the template made it."""
    one = {"Sequence": {"id": "A", "type_id": 0}}
    begin = {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}
    known = {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [151643], "tokens": ["<|endoftext|>"]}}
    adding = {"type": "TemplateProcessing", "single": [begin, one], "pair": [one, one], "special_tokens": known}
    change(folder / "tokenizer.json", post_processor=adding, truncation=None)
    tokenizer = Tokenizer.from_folder(folder)
    assert tokenizer.encode("a") == tokenizer.encode("a", control_tokens=True) == [64]


def test_long_texts_are_neither_cut_nor_padded(folder: Path) -> None:
    """Whatever tokenizer.json was saved with."""
    truncation = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    padding = {
        "strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": None,
        "pad_id": 151643, "pad_type_id": 0, "pad_token": "<|endoftext|>",
    }  # fmt: skip
    change(folder / "tokenizer.json", truncation=truncation, padding=padding)
    tokenizer = Tokenizer.from_folder(folder)
    assert tokenizer.encode("a b c d e f") == [64, 293, 272, 294, 384, 282]
    assert tokenizer.encode("a") == [64]


def test_control_tokens_that_take_blanks_with_them_are_parsed_by_the_library(folder: Path) -> None:
    """Qwen has none, other byte-level checkpoints have: here <|im_end|> swallows the blanks behind it."""
    content = json.loads((folder / "tokenizer.json").read_text())
    next(token for token in content["added_tokens"] if token["id"] == 151645)["rstrip"] = True
    (folder / "tokenizer.json").write_text(json.dumps(content))
    tokenizer = Tokenizer.from_folder(folder)
    assert tokenizer.encode("a<|im_end|> \n b", control_tokens=True) == [64, 151645, 65]
    assert tokenizer.decode(tokenizer.encode("a<|im_end|> \n b")) == "a<|im_end|> \n b"


def test_added_tokens_decode_as_in_the_library(folder: Path) -> None:
    """An added token whose letters all stand for bytes is read as those bytes, «<é>» with 0xE9; others as text."""
    content = json.loads((folder / "tokenizer.json").read_text())
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    for i, text in enumerate(["<é>", "<é 1>", "<终>"]):
        content["added_tokens"].append({"id": 151669 + i, "content": text, **flags})
    (folder / "tokenizer.json").write_text(json.dumps(content))
    tokenizer = Tokenizer.from_folder(folder)
    ids = [151669, 151670, 151671]
    assert [tokenizer.token_bytes(i) for i in ids] == [b"<\xe9>", "<é 1>".encode(), "<终>".encode()]
    assert tokenizer.decode(ids) == b"".join(map(tokenizer.token_bytes, ids)).decode(errors="replace")


@pytest.mark.parametrize(
    "text", ["7" * 8_000_000, " " * 8_000_000, "a" * 8_000_000, "汉" * 2_000_000, "7" * 1_000_000, "hello " * 150_000]
)
def test_a_text_far_beyond_the_context_is_refused_before_it_is_encoded(
    qwen25: Tokenizer, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most twice as many tokens are made as the context holds: those of the whole text take many seconds."""
    made: list[int] = []
    encode = qwen25._ids

    def counted(*given: Any) -> list[int]:
        ids = encode(*given)
        made.append(len(ids))
        return ids

    monkeypatch.setattr(qwen25, "_ids", counted)
    with pytest.raises(InvalidRequest, match=r"maximum context length is 32768 tokens.*characters resulted in more"):
        qwen25.check_length(text, 32_768)
    assert sum(made) <= 2 * 32_768


@pytest.mark.parametrize(
    ("text", "context"), [("7" * 65_536, 8), ("hello " * 40_000, 32_768), (" " * 1_000_000, 32_768)]
)
def test_a_text_near_the_context_passes(qwen25: Tokenizer, text: str, context: int) -> None:
    """Its exact length is found when it is encoded; a million blanks are only some eight thousand tokens."""
    qwen25.check_length(text, context)


@pytest.mark.parametrize(("cached_words", "least", "most"), [(100, 0, 256), (None, 1024, 8192)])
def test_words_are_cached_up_to_a_number(qwen25_folder: Path, cached_words: int | None, least: int, most: int) -> None:
    """KiB in use after 5,000 words of 20 letters, of some 600 bytes each where they are kept."""
    tokenizer = Tokenizer.from_folder(qwen25_folder, cached_words)
    draw, letters = Random(1), "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(draw.choices(letters, k=20)) for _ in range(5000)]
    tokenizer.encode("warm")
    gc.collect()  # what other tests have left would be freed meanwhile
    before = malloc_in_use()
    for word in words:
        tokenizer.encode(word)
    assert least <= (malloc_in_use() - before) / 1024 <= most


class _MallocInfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "a", "b", "c", "mapped", "d", "e", "in_use", "f", "g")]


def malloc_in_use() -> int:
    """Bytes that glibc's malloc has given out in this process: the library's cache is in no object of Python's."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = _MallocInfo
    found = mallinfo()
    return int(found.in_use + found.mapped)
