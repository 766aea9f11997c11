"""Token answers whose chunks ask postprocessing for an acknowledgement.

Knows no Triton and no sockets.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from ..serving.answer import ChoiceIndex
from ..serving.token_answer import TokenEncoder
from ..tensors.arrays import Array
from ..tensors.engine_inputs import EngineRow
from ..tensors.engine_outputs import OUTPUTS
from ..text.tokenizer import Tokenizer
from ..types import TextChunk
from .ack_ledger import AckLedger
from .ack_tag import AckTag, append_tag

_IDS = OUTPUTS[0]


class TaggedTokenEncoder(TokenEncoder):
    """A `TokenEncoder` that tags each chunk and enters it in the ledger.

    `load`: the number of the engine model's load. The last chunk of a sequence has no tag: where it ends the answer, nobody
    asks any more whether the client is there.
    """

    def __init__(
        self, rows: Sequence[EngineRow], tokenizer: Tokenizer | None, ledger: AckLedger, load: int, request_number: int
    ) -> None:
        super().__init__(rows, tokenizer)
        self._ledger = ledger
        self._load = load
        self._request_number = request_number

    def piece(self, piece: TextChunk, place: ChoiceIndex) -> Mapping[str, Array]:
        arrays = super().piece(piece, place)
        if piece.finish is not None:
            return arrays
        now_ns = time.monotonic_ns()
        self._ledger.on_send(self._request_number, now_ns)
        return {**arrays, _IDS: append_tag(arrays[_IDS], AckTag(self._load, self._request_number, now_ns))}
