"""The tag by which postprocessing says that a chunk has come: behind the chunk's ids, where `sequence_length` ends them.

An ensemble gives postprocessing nothing but `output_ids` and `sequence_length`, and every reader of those two stops
where the length says. So what stands behind it needs no tensor of its own. An engine that does not tag has padding
there, or nothing.
"""

from __future__ import annotations

import numpy as np

from ..tensors.arrays import Array

_MARK = -1_902_071_443
"""No token id and no padding: those are not negative."""
_WORD = 1 << 31
_SIZE = 4


def append_tag(ids: Array, call: int, sent_ns: int) -> Array:
    """`ids` [1, 1, n] with the number of their call (below 2**31) and the moment they leave, monotonic nanoseconds."""
    tagged = np.empty((1, 1, ids.shape[2] + _SIZE), dtype=np.int32)
    tagged[:, :, :-_SIZE] = ids
    tagged[0, 0, -_SIZE:] = (_MARK, call, *divmod(sent_ns, _WORD))
    return tagged


def read_tag(ids: Array) -> tuple[int, int] | None:
    """(call, sent_ns) of ids that `append_tag` made; None where there is no tag."""
    if ids.shape[-1] < _SIZE or ids.size != ids.shape[-1]:
        return None
    mark, call, high, low = ids.reshape(-1)[-_SIZE:].tolist()
    return (call, high * _WORD + low) if mark == _MARK else None
