"""A tag stands behind a chunk's ids, where the length ends them; what is no tag is none."""

from __future__ import annotations

import numpy as np
import pytest

from qwen_triton.ensemble.ack_tag import AckTag, append_tag, read_tag
from qwen_triton.ensemble.postprocess import Postprocessor
from qwen_triton.text.tokenizer import Tokenizer


def ids(*values: int) -> np.ndarray:
    return np.array([[values]], dtype=np.int32)


@pytest.mark.parametrize("length", [0, 1, 50])
@pytest.mark.parametrize(("request_number", "sent_ns"), [(0, 0), (2**31 - 1, 2**62 - 1), (77, 3_600_123_456_789)])
def test_what_is_appended_is_read(length: int, request_number: int, sent_ns: int) -> None:
    tag = AckTag(2**31 - 1 - request_number, request_number, sent_ns)
    tagged = append_tag(ids(*range(length)), tag)
    assert tagged.dtype == np.int32
    assert tagged[0, 0, :length].tolist() == list(range(length))
    assert read_tag(tagged) == tag


@pytest.mark.parametrize("plain", [ids(), ids(1), ids(1, 2, 3, 4, 5), ids(5, -1, -1, -1, -1, -1), ids(0, 0, 0, 0, 0)])
def test_ids_with_and_without_padding_have_no_tag(plain: np.ndarray) -> None:
    assert read_tag(plain) is None


def test_rows_have_no_tag() -> None:
    """Whole answers, several at once: only chunks are tagged."""
    tagged = append_tag(ids(1), AckTag(1, 1, 1))
    assert read_tag(np.concatenate([tagged, tagged])) is None
    assert read_tag(np.concatenate([tagged, tagged], axis=1)) is None


def test_a_tag_leaves_no_text(qwen25: Tokenizer) -> None:
    chunk = ids(*qwen25.encode("你好"))
    text = Postprocessor(qwen25).decode(append_tag(chunk, AckTag(6, 7, 8)), np.array([[chunk.size]]), "")
    assert text.tolist() == ["你好".encode()]
