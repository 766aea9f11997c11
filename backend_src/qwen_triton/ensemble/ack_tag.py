"""Tag on a chunk's token ids by which postprocessing acknowledges the chunk.

An ensemble passes postprocessing only `output_ids` and `sequence_length`, and every reader of the two stops at that
length. So the tag stands in `output_ids` behind the chunk's ids and needs no tensor of its own. An engine that does not
tag its chunks has padding there, or nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..tensors.arrays import Array

_MARK = -1_902_071_443
"""Neither a token id nor padding, as those are not negative."""
_WORD = 1 << 31
_SIZE = 5


class AckTag(NamedTuple):
    """`load`: the number of the engine model's load; `request_number`: of the request there, both below 2**31.

    `send_begun_ns`: monotonic time.
    """

    load: int
    request_number: int
    send_begun_ns: int


def append_tag(ids: Array, tag: AckTag) -> Array:
    """`ids` [1, 1, n] as [1, 1, n + 5], with the tag behind them."""
    tagged = np.empty((1, 1, ids.shape[2] + _SIZE), dtype=np.int32)
    tagged[:, :, :-_SIZE] = ids
    tagged[0, 0, -_SIZE:] = (_MARK, tag.load, tag.request_number, *divmod(tag.send_begun_ns, _WORD))
    return tagged


def read_tag(ids: Array) -> AckTag | None:
    """The tag of ids [1, 1, n + 5] from `append_tag`; None for ids without one."""
    if ids.shape[-1] < _SIZE or ids.size != ids.shape[-1]:
        return None
    mark, load, request_number, high, low = ids.reshape(-1)[-_SIZE:].tolist()
    return AckTag(load, request_number, high * _WORD + low) if mark == _MARK else None
