"""The files of demo/checkpoint: Qwen's tokenizer and template, a size that a repository can carry, two end ids."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest

from demo.batches import Encoder, batch, batches
from demo.make_data import conversations
from demo.make_tokenizer import ADDED, SPECIAL, SPLIT, TEMPLATE, write_tokenizer
from qwen_triton.chat.template import ChatTemplate
from qwen_triton.checkpoint.weights import Checkpoint
from qwen_triton.engines.openvino.architecture import DenseQwen
from qwen_triton.text.tokenizer import Tokenizer
from tests.support import fetch_qwen
from tests.support.folders import ROOT

FOLDER = ROOT / "demo" / "checkpoint"
LIMIT_BYTES = 12_000_000


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_folder(FOLDER)


def test_folder_is_small_and_whole() -> None:
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert set(sizes) == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert sum(sizes.values()) <= LIMIT_BYTES


def test_config_is_that_of_a_qwen2_which_the_engine_reads() -> None:
    config = json.loads((FOLDER / "config.json").read_text())
    assert (config["architectures"], config["model_type"]) == (["Qwen2ForCausalLM"], "qwen2")
    shapes = DenseQwen.from_config(config).tensor_shapes()
    checkpoint = Checkpoint.open(FOLDER)
    assert {name: tuple(checkpoint.tensors[name].shape) for name in shapes} == dict(shapes)
    assert {tensor.dtype for tensor in checkpoint.tensors.values()} == {"BF16"}


def test_two_end_ids(tokenizer: Tokenizer) -> None:
    special = tokenizer.special_tokens
    assert tokenizer.end_ids == (special["<|im_end|>"], special["<|endoftext|>"])
    assert tokenizer.pad_id == special["<|endoftext|>"]
    assert tokenizer.context_length == 2048


def test_tokenizer_splits_as_qwen_does() -> None:
    """Regex, normalizer and added tokens are those of Qwen2.5 and Qwen3."""
    data = json.loads((FOLDER / "tokenizer.json").read_text())
    assert SPLIT == fetch_qwen.SPLIT_REGEX
    assert data["pre_tokenizer"]["pretokenizers"][0]["pattern"] == {"Regex": SPLIT}
    assert data["normalizer"] == {"type": "NFC"}
    assert tuple(SPECIAL) == fetch_qwen.SPECIAL
    assert tuple(ADDED) == fetch_qwen.ADDED + fetch_qwen.ADDED_QWEN3
    flags = {token["content"]: token["special"] for token in data["added_tokens"]}
    assert flags == {**dict.fromkeys(SPECIAL, True), **dict.fromkeys(ADDED, False)}


@pytest.mark.parametrize("text", ["你好，世界", "龘靐齉", "👨‍👩‍👧🇨🇳🙋🏽", "ไทย한국어עברית", "\t\r\n  x", "12+34"])
def test_any_text_goes_in_and_comes_out(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_all_bytes_are_in_the_vocabulary(tokenizer: Tokenizer) -> None:
    assert {bytes([byte]) for byte in range(256)} <= set(tokenizer.bytes_by_id.values())


def test_some_characters_are_split_over_tokens(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.encode("龘")) > 1
    assert len(tokenizer.encode("🦩")) > 1
    assert len(tokenizer.encode("北京")) == 1


def test_template_is_qwen3s_but_for_the_default_of_thinking(qwen3_folder: Path) -> None:
    config = json.loads((FOLDER / "tokenizer_config.json").read_text())
    assert config["chat_template"] == TEMPLATE.read_text()
    comment, _, template = config["chat_template"].partition("\n")
    assert "Apache-2.0" in comment
    sent, default = (
        "enable_thinking is defined and enable_thinking is false",
        "not (enable_thinking is defined and enable_thinking)",
    )
    assert (
        template.replace(default, sent)
        == json.loads((qwen3_folder / "tokenizer_config.json").read_text())["chat_template"]
    )


def test_thinking_is_off_unless_asked_for(tokenizer: Tokenizer) -> None:
    template = ChatTemplate.from_folder(FOLDER, tokenizer)
    messages = [{"role": "user", "content": "1+1"}]
    sent = "<|im_start|>user\n1+1<|im_end|>\n<|im_start|>assistant\n"
    assert template.render(messages) == sent + "<think>\n\n</think>\n\n"
    assert template.render(messages, options={"enable_thinking": False}) == sent + "<think>\n\n</think>\n\n"
    assert template.render(messages, options={"enable_thinking": True}) == sent


def test_batches_teach_the_answers_tokens_alone() -> None:
    made = batch([([5, 6, 7], [8, 9]), ([1], [2, 3, 4])], 6)
    assert made.token_ids.tolist() == [[5, 6, 7, 8, 9, 0], [1, 2, 3, 4, 0, 0]]
    assert made.positions.tolist() == [2, 3, 6, 7, 8]
    assert made.targets.tolist() == [8, 9, 2, 3, 4]
    assert made.starts.tolist() == [0, 2]


def test_a_batch_holds_what_the_server_sees_and_then_the_answer(tokenizer: Tokenizer) -> None:
    encoder = Encoder(FOLDER)
    encoded = [encoder(conversation) for conversation in islice(conversations(1), 40)]
    first, answer = encoded[0]
    conversation = next(conversations(1))
    assert (
        tokenizer.decode(answer, skip_special_tokens=False)
        == conversation.example.text(conversation.thinking) + "<|im_end|>"
    )
    made = next(batches(encoded, 128))
    assert made.token_ids.size >= 128
    assert len(first) > 4


def test_a_new_tokenizer_can_be_trained(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, count=300)
    tokenizer = Tokenizer.from_folder(tmp_path)
    assert tokenizer.decode(tokenizer.encode("你好 hello 🎉")) == "你好 hello 🎉"
    assert len(tokenizer.end_ids) == 2
