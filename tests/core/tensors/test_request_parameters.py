"""Keys of a request that nobody reads are refused by name."""

from __future__ import annotations

import pytest

from qwen_triton.errors import InvalidRequest
from qwen_triton.tensors.request_parameters import check_parameters


def test_what_stock_s_clients_send_passes() -> None:
    """With every whole request and every stop, and it decides nothing."""
    check_parameters(["Streaming"])


def test_what_the_server_reads_itself_passes() -> None:
    check_parameters(["id", "priority", "timeout", "sequence_id", "sequence_start", "sequence_end"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("max_token", "max_token: no input has this name; did you mean max_tokens?"),
        ("zzz", "zzz: no input has this name; leave it out"),
        ("best_of", "best_of: this model has no such input, tensorrt_llm_bls has; ask there or leave it out"),
    ],
)
def test_a_name_that_nobody_reads_is_refused(name: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check_parameters(["id", name])
    assert str(refusal.value) == message
    assert refusal.value.field == name
