"""Reads the files of a Hugging Face folder that concern text.

tokenizer.json          required: vocabulary, merges, added tokens
tokenizer_config.json   eos_token, pad_token and other named tokens, chat_template, model_max_length
generation_config.json  eos_token_id (one or several), pad_token_id
config.json             max_position_embeddings, vocab_size; eos_token_id where there is no generation_config.json
chat_template.jinja, chat_template.json, additional_chat_templates/*.jinja
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from ..errors import ConfigurationError
from .json_file import read_json_object

UNLIMITED = 10**9
"""From here on a context length means none: model_max_length is 10^30 in folders that set no limit."""
_REMEDY = "fetch the checkpoint's files again"
NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class TokenizerFolder:
    """Fields of the folder's files, not interpreted by a tokenizer. Every fault is a ConfigurationError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not (path / "tokenizer.json").is_file():
            remedy = "give the folder of a Hugging Face checkpoint with a fast tokenizer"
            what = "has no tokenizer.json" if path.is_dir() else "is not a folder"
            raise ConfigurationError(f"tokenizer_dir: {path} {what}; {remedy}")
        self._config = self._json("tokenizer_config.json")
        self._generation = self._json("generation_config.json")
        self._model = self._json("config.json")

    def load(self) -> tokenizers.Tokenizer:
        """A new tokenizer object from tokenizer.json, with truncation and padding off.

        Raises ConfigurationError for a file that the library cannot read.
        """
        file = self.path / "tokenizer.json"
        try:
            backend = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception for every fault of the file
            raise ConfigurationError(f"{file} cannot be read: {error}; {_REMEDY}") from error
        backend.no_truncation()
        backend.no_padding()
        return backend

    def token(self, name: str) -> str | None:
        """The text of a named token such as eos_token; None where the folder has none."""
        return _content(self._config.get(name))

    @property
    def named_tokens(self) -> dict[str, str | list[str]]:
        """The named tokens that are set, by the names that chat templates use."""
        found: dict[str, str | list[str]] = {n: text for n in NAMED_TOKENS if (text := self.token(n)) is not None}
        more = [text for t in self._config.get("additional_special_tokens") or () if (text := _content(t)) is not None]
        return {**found, "additional_special_tokens": more} if more else found

    @property
    def tokenizer_class(self) -> str | None:
        """The name of transformers' class for this tokenizer."""
        name = self._config.get("tokenizer_class")
        return name if isinstance(name, str) else None

    @property
    def generation_end_ids(self) -> tuple[int, ...]:
        """eos_token_id of generation_config.json, else of config.json; one or several.

        Raises ConfigurationError for values that are no integers.
        """
        name = "generation_config.json" if self._generation else "config.json"
        given = (self._generation or self._model).get("eos_token_id")
        ids = given if isinstance(given, list) else [] if given is None else [given]
        if not all(isinstance(i, int) for i in ids):
            raise ConfigurationError(f"{self.path / name}: eos_token_id must be an integer or a list of them")
        return tuple(ids)

    @property
    def generation_pad_id(self) -> int | None:
        """pad_token_id of generation_config.json."""
        pad = self._generation.get("pad_token_id")
        return pad if isinstance(pad, int) else None

    @property
    def model_vocab_size(self) -> int | None:
        """Ids that the model may generate, unused ones included: vocab_size of config.json."""
        size = self._model.get("vocab_size")
        return size if isinstance(size, int) else None

    @property
    def context_length(self) -> int | None:
        """The most tokens of prompt and answer together, as the model was trained; None where no file has it."""
        text = self._model.get("text_config")
        nested = text.get("max_position_embeddings") if isinstance(text, dict) else None
        given = self._model.get("max_position_embeddings") or nested or self._config.get("model_max_length")
        return int(given) if isinstance(given, (int, float)) and given < UNLIMITED else None

    @cached_property
    def chat_templates(self) -> dict[str, str]:
        """The folder's chat templates by name, the usual one as "default". Empty where the checkpoint has none."""
        found = self._listed_templates()
        for file in sorted((self.path / "additional_chat_templates").glob("*.jinja")):
            found[file.stem] = self._text(file)
        if (file := self.path / "chat_template.jinja").is_file():
            found["default"] = self._text(file)
        return found

    def _listed_templates(self) -> dict[str, str]:
        listed = self._config.get("chat_template") or self._json("chat_template.json").get("chat_template") or {}
        if isinstance(listed, list) and all(isinstance(t, dict) for t in listed):
            listed = {str(t.get("name")): t.get("template") for t in listed}
        named = {"default": listed} if isinstance(listed, str) else listed
        if not isinstance(named, dict) or not all(isinstance(t, str) for t in named.values()):
            raise ConfigurationError(
                f"{self.path / 'tokenizer_config.json'}: chat_template must be text or a list of {{name, template}}"
            )
        return dict(named)

    def _text(self, file: Path) -> str:
        try:
            return file.read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{file} cannot be read: {error}; {_REMEDY}") from error

    def _json(self, name: str) -> dict[str, Any]:
        file = self.path / name
        return read_json_object(file, _REMEDY) if file.is_file() else {}


def _content(token: object) -> str | None:
    """A token is written as its text or as an object with its text and flags."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None
