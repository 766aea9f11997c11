"""Tag on a chunk's token ids by which postprocessing acknowledges the chunk.

An ensemble passes postprocessing only `output_ids` and `sequence_length`, and every reader of the two stops at that
length. So the tag stands in `output_ids` behind the chunk's ids and needs no tensor of its own. An engine that does not
tag its chunks has padding there, or nothing.
"""

from __future__ import annotations

import numpy as np

from ..tensors.arrays import Array

_MARK = -1_902_071_443
"""Neither a token id nor padding, as those are not negative."""
_WORD = 1 << 31
_SIZE = 4


def append_tag(ids: Array, request_number: int, send_begun_ns: int) -> Array:
    """`ids` [1, 1, n] as [1, 1, n + 4]: behind them the request's number (below 2**31) and a monotonic time in ns."""
    tagged = np.empty((1, 1, ids.shape[2] + _SIZE), dtype=np.int32)
    tagged[:, :, :-_SIZE] = ids
    tagged[0, 0, -_SIZE:] = (_MARK, request_number, *divmod(send_begun_ns, _WORD))
    return tagged


def read_tag(ids: Array) -> tuple[int, int] | None:
    """(request_number, send_begun_ns) of ids [1, 1, n + 4] from `append_tag`; None for ids without a tag."""
    if ids.shape[-1] < _SIZE or ids.size != ids.shape[-1]:
        return None
    mark, request_number, high, low = ids.reshape(-1)[-_SIZE:].tolist()
    return (request_number, high * _WORD + low) if mark == _MARK else None
