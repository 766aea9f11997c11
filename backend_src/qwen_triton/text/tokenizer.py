"""Qwen's tokenizer, read from a Hugging Face folder: text to token ids, token ids to text, token id to bytes.

Knows no chat templates, requests or streams. A `Tokenizer` may be used by any number of threads at once.
Text in, ids out, nothing added: no beginning-of-sequence id, no truncation, no padding.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache, partial
from pathlib import Path

import tokenizers
from tokenizers.decoders import ByteLevel

from ..checkpoint.text_files import TokenizerFolder
from ..errors import CONTEXT_EXCEEDED, ConfigurationError, InvalidRequest
from .token_cache import TokenCache

_UNUSED_IDS = 1024
"""Ids behind the vocabulary that a model may have, where the folder does not say; Qwen2.5 has 271 or 399 of them."""
_TYPICAL_CHARACTERS = 8
"""Characters of a token beyond which a text may be longer than it seems; prompts have three to five."""
_MOST_CHARACTERS = 32
"""Characters of a token that no prompt has on average: even a text of blanks alone, which has up to 128, is refused beyond."""
_NORMALIZED = 3
"""So many times shorter may Unicode's composed form, in which tokens are found, be than the text."""
_SLICE = 1 << 16
"""Characters that are encoded at a time to estimate a length."""
_SLACK = 64
_SHORT, _SHORT_PIECES = 128, 256
"""Characters of a short piece between two control tokens, and how many of them are kept with their ids."""


class Tokenizer:
    """A byte-level BPE tokenizer, with the end ids, the pad id and the context length of its folder.

    `vocab_size` counts ids that have a text, `model_vocab_size` those that a model may generate.
    `end_ids` end an answer: those of generation_config.json, then the tokenizer's own. `context_length` is in tokens,
    None where the folder has none. `special_tokens` maps the text of each control token to its id; `added_tokens` has the
    texts of the other added tokens, such as <tool_call>, by id; `special_pattern`
    matches them, and splits a text into pieces of which every second one is a control token. Raises ConfigurationError
    for a folder whose tokenizer cannot be read or is not byte-level.

    `cached_words`: how many words the library keeps with their ids, in each thread that encodes. None = its 10,000, with
    which it encodes prompts more than twice as fast; they take some 6 MiB, and 82 MiB where all have 250 bytes. `cache`:
    where the ids of pieces of long texts are kept.
    """

    def __init__(
        self, folder: TokenizerFolder, cached_words: int | None = None, cache: TokenCache | None = None
    ) -> None:
        self._folder = folder
        self._cached_words = cached_words
        self.cache = cache
        self._backend = self._load()
        self._short_ids = lru_cache(_SHORT_PIECES)(partial(self._ids, self._backend))
        self._backend.encode_special_tokens = True
        if not isinstance(self._backend.decoder, ByteLevel):
            raise ConfigurationError(
                f"{folder.path / 'tokenizer.json'}: its decoder is not ByteLevel; give a Qwen checkpoint's folder"
            )
        special = {i: t for i, t in self._backend.get_added_tokens_decoder().items() if t.special}
        self.special_tokens = {token.content: i for i, token in special.items()}
        self.added_tokens = {
            i: t.content for i, t in sorted(self._backend.get_added_tokens_decoder().items()) if not t.special
        }
        self._special_ids = frozenset(special)
        self.special_pattern = _any_of(self.special_tokens)
        self._takes_more = any(t.lstrip or t.rstrip or t.single_word or t.normalized for t in special.values())
        self._longest_token = max(map(len, self._backend.get_vocab(with_added_tokens=True)))
        self.vocab_size = self._backend.get_vocab_size(with_added_tokens=True)
        self.model_vocab_size = max(self.vocab_size, folder.model_vocab_size or self.vocab_size + _UNUSED_IDS)
        self.eos_id = self._id_of(folder.token("eos_token"))
        self.end_ids = self._end_ids()
        self.pad_id = self._pad_id()
        self.context_length = folder.context_length

    @classmethod
    def from_folder(
        cls, folder: str | Path, cached_words: int | None = None, cache: TokenCache | None = None
    ) -> Tokenizer:
        """Reads `folder`. Raises ConfigurationError, with the remedy, where it holds no usable fast tokenizer."""
        return cls(TokenizerFolder(Path(folder)), cached_words, cache)

    def encode(self, text: str, control_tokens: bool = False, field: str = "text_input") -> list[int]:
        """The ids of `text`. Control tokens such as <|im_end|> inside it are plain text unless `control_tokens`.

        Added tokens that control nothing (<tool_call>, <think>) are one id either way. Raises InvalidRequest, with
        `field` as the parameter at fault, for text that is not valid Unicode.
        """
        if not control_tokens:
            return self.encode_pieces((text,), field)
        if self._takes_more:
            return self._ids(self._parsing, text, field)
        return self.encode_pieces(self.special_pattern.split(text), field)

    def encode_pieces(self, pieces: Sequence[str], field: str = "text_input") -> list[int]:
        """The ids of a text in pieces: every second one is a control token, all others are plain text.

        Raises InvalidRequest, with `field`, for text that is not valid Unicode.
        """
        kept = self.cache is not None and sum(map(len, pieces)) >= self.cache.long_text
        ids: list[int] = []
        for i, piece in enumerate(pieces):
            if i % 2:
                ids.append(self.special_tokens[piece])
            elif piece:
                ids += self._kept_ids(piece, field) if kept else self._plain_ids(piece, field)
        return ids

    def check_length(self, text: str, context: int) -> None:
        """Raises InvalidRequest for a text that cannot fit into `context` tokens, without encoding more than about as much.

        Two bounds: the characters that so many tokens can have, and the tokens of the text's beginning. A text that comes near
        the context passes: its exact length is known only once it is encoded.
        """
        if len(text) <= max(context * _TYPICAL_CHARACTERS, _SLICE):
            return
        too_long = len(text) > context * min(self._longest_token * _NORMALIZED, _MOST_CHARACTERS)
        tokens, at = 0, 0
        while not too_long and at < len(text):
            tokens += len(self._ids(self._backend, text[at : at + _SLICE], "text_input"))
            at += _SLICE
            too_long = tokens > context + context // 4 + _SLACK
        if too_long:
            raise InvalidRequest(
                f"{CONTEXT_EXCEEDED} {context} tokens. However, the prompt of {len(text)} characters resulted in more; "
                "shorten it",
                "text_input",
            )

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of all `token_ids`; bytes that are not UTF-8 become U+FFFD, ids beyond the vocabulary ''."""
        known = [i for i in token_ids if i >= 0]
        return str(self._backend.decode(known, skip_special_tokens=skip_special_tokens))

    def prepare_decoding(self, skip_special_tokens: bool = True) -> None:
        """Builds the tables of token texts, which takes some tenths of a second: the first answer need not wait for them."""
        _ = self.shown_text if skip_special_tokens else self.full_text

    def is_special(self, token_id: int) -> bool:
        """Whether it is a control token (special: true), which a decoded text leaves out."""
        return token_id in self._special_ids

    def token_bytes(self, token_id: int) -> bytes:
        """The UTF-8 bytes, perhaps part of a character, that this token adds to a text; b'' for an id beyond the vocabulary."""
        return self.bytes_by_id.get(token_id, b"")

    @cached_property
    def bytes_by_id(self) -> dict[int, bytes]:
        """The bytes of every token; of a control token those of its literal text."""
        table = {i: _bytes_of(token) for token, i in self._backend.get_vocab(with_added_tokens=True).items()}
        # Where an added token has the id of an entry of the vocabulary, the library decodes the added token.
        table.update({i: _bytes_of(token.content) for i, token in self._backend.get_added_tokens_decoder().items()})
        return table

    def spelled_tokens(self) -> dict[int, str]:
        """Every token as tokenizer.json spells it, by id: those of the vocabulary in the letters of its bytes."""
        spelled = {i: token for token, i in self._backend.get_vocab(with_added_tokens=True).items()}
        return {**spelled, **{i: token.content for i, token in self._backend.get_added_tokens_decoder().items()}}

    def serialized(self) -> str:
        """The tokenizer in the format of tokenizer.json."""
        return str(self._backend.to_str())

    @cached_property
    def shown_text(self) -> dict[int, str]:
        """The text of every token of whole characters; '' for control tokens."""
        return {**self.full_text, **dict.fromkeys(self._special_ids, "")}

    @cached_property
    def full_text(self) -> dict[int, str]:
        """Like `shown_text`, with the literal text of control tokens."""
        return {i: text for i, data in self.bytes_by_id.items() if (text := _whole_characters(data)) is not None}

    @cached_property
    def _parsing(self) -> tokenizers.Tokenizer:
        """A second backend, which finds control tokens itself: for those that include blanks around them. No Qwen has any."""
        return self._load()

    def _load(self) -> tokenizers.Tokenizer:
        backend = self._folder.load()
        resize = getattr(backend.model, "_resize_cache", None)  # below 0.21 the library has one cache for all threads
        if self._cached_words is not None and resize is not None:
            resize(self._cached_words)
        return backend

    def _kept_ids(self, piece: str, field: str) -> Sequence[int]:
        """The ids of plain text, from the cache where they are kept."""
        cache = self.cache
        if cache is None or len(piece) < cache.shortest_piece:
            return self._plain_ids(piece, field)
        digest = cache.digest(piece)
        found = cache.find(digest)
        if found is not None:
            return found
        ids = self._ids(self._backend, piece, field)
        cache.add(digest, ids)
        return ids

    def _plain_ids(self, piece: str, field: str) -> Sequence[int]:
        """The ids of plain text. Short pieces are mostly the template's, the same in every prompt, and are kept."""
        return self._short_ids(piece, field) if len(piece) <= _SHORT else self._ids(self._backend, piece, field)

    def _ids(self, backend: tokenizers.Tokenizer, text: str, field: str) -> list[int]:
        try:
            # The batch call does not compute the tokens' offsets in the text, and releases the GIL meanwhile.
            ids: list[int] = backend.encode_batch_fast([text], add_special_tokens=False)[0].ids
        except (TypeError, UnicodeEncodeError):  # how the library refuses lone surrogates
            raise InvalidRequest("not valid Unicode: it holds half of a surrogate pair", field) from None
        return ids

    def _id_of(self, token: str | None) -> int | None:
        return None if token is None else self._backend.token_to_id(token)

    def _end_ids(self) -> tuple[int, ...]:
        own = () if self.eos_id is None else (self.eos_id,)
        return tuple(dict.fromkeys((*self._folder.generation_end_ids, *own)))

    def _pad_id(self) -> int:
        pad = self._id_of(self._folder.token("pad_token"))
        candidates = (pad, self._folder.generation_pad_id, *self.end_ids, 0)
        return next(i for i in candidates if i is not None)


def _any_of(tokens: Iterable[str]) -> re.Pattern[str]:
    """Matches any of these tokens, the longest where several begin at one place; as a group, for split."""
    longest_first = sorted(tokens, key=len, reverse=True)
    return re.compile("(" + "|".join(map(re.escape, longest_first)) + ")" if longest_first else "(?!)")


class _ByteOfLetter(dict[int, int]):
    """For str.translate: byte-level BPE's letter to the byte that it means; any other letter to one beyond Latin-1."""

    def __missing__(self, letter: int) -> int:
        return 0xFFFF


def _byte_of_letter() -> _ByteOfLetter:
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    rest = (byte for byte in range(256) if byte not in printable)
    return _ByteOfLetter({**{b: b for b in printable}, **{256 + i: byte for i, byte in enumerate(rest)}})


_BYTE_OF_LETTER = _byte_of_letter()


def _bytes_of(token: str) -> bytes:
    """As the library's decoder reads a token, added or not: as bytes if all its letters mean bytes, else as UTF-8."""
    try:
        return token.translate(_BYTE_OF_LETTER).encode("latin-1")
    except UnicodeEncodeError:
        return token.encode()


def _whole_characters(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
