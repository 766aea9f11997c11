"""Trains the demo's tokenizer on its own conversations and writes the tokenizer's files of a Hugging Face folder.

    python -m demo.make_tokenizer demo/checkpoint

It splits text as Qwen2.5's does, holds all 256 bytes, and has the added tokens of Qwen3. For the training alone, words
of the vocabulary, Chinese numerals, emoji and a sign in front of a letter are cut off from their surroundings, so that
no token joins the end of a question to the word it is about.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from .make_data import conversations
from .word_lists import CHINESE, CHINESE_CITIES, CHINESE_NAMES, EMOJI, ENGLISH, ENGLISH_CITIES, ENGLISH_NAMES

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = (
    "<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|> <|box_end|> "
    "<|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|>"
).split()
ADDED = (
    "<tool_call> </tool_call> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|> <|repo_name|> <|file_sep|> "
    "<tool_response> </tool_response> <think> </think>"
).split()
LEARNT_TOKENS = 4000
CONVERSATIONS, SEED = 60_000, 20
CONTEXT = 2048
TEMPLATE = Path(__file__).parent / "chat_template.jinja"


def write_tokenizer(folder: Path, count: int = CONVERSATIONS) -> None:
    """Writes tokenizer.json, tokenizer_config.json and generation_config.json, from `count` conversations."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = trained(count)
    tokenizer.save(str(folder / "tokenizer.json"))
    ends = [tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<|endoftext|>")]
    _write(folder / "tokenizer_config.json", _config(tokenizer))
    _write(folder / "generation_config.json", {"do_sample": False, "eos_token_id": ends, "pad_token_id": ends[1]})


def trained(count: int) -> Tokenizer:
    """The tokenizer: the text of `count` conversations decides on its merges."""
    split = pre_tokenizers.Split(Regex(SPLIT), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tokenizer = Tokenizer(models.BPE(fuse_unk=False, byte_fallback=False))
    tokenizer.normalizer = normalizers.NFC()
    words = pre_tokenizers.Split(Regex(_boundaries()), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, split, byte_level])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=LEARNT_TOKENS, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(_texts(count), trainer)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL])
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in ADDED])
    return tokenizer


def _texts(count: int) -> Iterator[str]:
    for conversation in islice(conversations(SEED), count):
        example = conversation.example
        yield from (message["content"] for message in example.messages)
        yield example.text(conversation.thinking)
        yield from (json.dumps(tool, ensure_ascii=False) for tool in example.tools[:1])
    for _ in range(count // 100):
        yield TEMPLATE.read_text()


def _boundaries() -> str:
    english = "|".join((*ENGLISH, *ENGLISH_NAMES, *ENGLISH_CITIES))
    chinese = "|".join((*CHINESE, *CHINESE_NAMES, *CHINESE_CITIES, *(names[1] for names in EMOJI.values())))
    emoji = "|".join(map(re.escape, EMOJI))
    words = rf" ?(?<!\p{{L}})(?:{english})(?!\p{{L}})| ?(?:{chinese})"
    return rf"{words}|{emoji}|[零一二三四五六七八九十百千]|[^\s\p{{L}}\p{{N}}](?=\p{{L}})"


def _config(tokenizer: Tokenizer) -> dict[str, Any]:
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    added = tokenizer.get_added_tokens_decoder()
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(i): {"content": token.content, **flags, "special": token.special} for i, token in sorted(added.items())
        },
        "additional_special_tokens": SPECIAL[1:],
        "bos_token": None,
        "chat_template": TEMPLATE.read_text(),
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": CONTEXT,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="train the demo's tokenizer")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    write_tokenizer(folder)
    print(f"{folder}: tokenizer of {LEARNT_TOKENS} learnt and {len(SPECIAL) + len(ADDED)} added tokens")


if __name__ == "__main__":
    main()
