"""The object of /v1/responses: an answer's blocks as output items, and the response that has them.

Knows no events and no HTTP.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from qwen_triton.tensors.text_outputs import TextPiece
from qwen_triton.types import FinishReason

from ..errors import ApiError
from .blocks import Block, BlockReader
from .chat_message import new_call_id
from .usage import UsageCount

_PREFIXES = {"reasoning": "rs", "text": "msg", "call": "fc"}
_SERVER_ERROR, _LOWEST_SERVER_ERROR = "server_error", 500


class ResponseObject:
    """One response. `request`: the fields that repeat its request; `namespaces`: {a function's name as the model sees it: its
    namespace and its name there}. Ids are made once, so that all events have the same."""

    def __init__(
        self,
        request: Mapping[str, Any],
        reader: BlockReader,
        usage: UsageCount,
        namespaces: Mapping[str, tuple[str, str]] = MappingProxyType({}),
    ) -> None:
        self.reader = reader
        self._request = request
        self._usage = usage
        self._namespaces = namespaces
        self._id = f"resp_{secrets.token_hex(16)}"
        self._created = int(time.time())
        self._item_ids: list[str] = []
        self._call_ids: dict[int, str] = {}

    def item_id(self, block: Block) -> str:
        """The id of a block's item; blocks are asked for in their order first."""
        while len(self._item_ids) <= block.index:
            kind = self.reader.blocks[len(self._item_ids)].kind
            self._item_ids.append(f"{_PREFIXES[kind]}_{secrets.token_hex(16)}")
        return self._item_ids[block.index]

    def item(self, block: Block, status: str) -> dict[str, Any]:
        """A block as an output item. One that is in progress has no content yet."""
        head = {"id": self.item_id(block), "status": status}
        begun = status == "in_progress"
        if block.kind == "call":
            call_id = self._call_ids.setdefault(block.index, new_call_id())
            arguments = "" if begun else block.text
            return {**head, "type": "function_call", "call_id": call_id, **self.name_of(block), "arguments": arguments}
        content = [] if begun else [part(block, block.text)]
        if block.kind == "reasoning":
            return {**head, "type": "reasoning", "summary": [], "content": content}
        return {**head, "type": "message", "role": "assistant", "content": content}

    def name_of(self, block: Block) -> dict[str, str]:
        """The fields of a call with its function's name."""
        if block.name not in self._namespaces:
            return {"name": block.name}
        namespace, name = self._namespaces[block.name]
        return {"name": name, "namespace": namespace}

    def in_progress(self) -> dict[str, Any]:
        """The response before its answer."""
        return self._with(status="in_progress")

    def ended(self, finish: FinishReason) -> dict[str, Any]:
        """The response with its whole answer. `finish`: why that ended."""
        cut = finish != "stop"
        return self._with(
            status="incomplete" if cut else "completed",
            completed_at=None if cut else int(time.time()),
            incomplete_details={"reason": "max_output_tokens"} if cut else None,
            output=[self.item(block, item_status(block, finish)) for block in self.reader.blocks],
            usage=self._usage_json(),
        )

    def failed(self, error: ApiError) -> dict[str, Any]:
        """The response with what there is of its answer."""
        code = _SERVER_ERROR if error.status >= _LOWEST_SERVER_ERROR else error.code or "invalid_prompt"
        return self._with(
            status="failed",
            error={"code": code, "message": error.message},
            output=[self.item(block, "completed" if block.complete else "incomplete") for block in self.reader.blocks],
        )

    def whole(self, pieces: Sequence[TextPiece]) -> dict[str, Any]:
        """The response for all pieces of an answer."""
        finish: FinishReason = "stop"
        for piece in pieces:
            self._usage.add(piece)
            self.reader.feed(piece)
            finish = piece.finish or finish
        return self.ended(finish)

    def _with(self, **changing: Any) -> dict[str, Any]:
        head = {"id": self._id, "object": "response", "created_at": self._created, "completed_at": None}
        empty: dict[str, Any] = {"error": None, "incomplete_details": None, "output": [], "usage": None}
        return {**head, **empty, **self._request, **changing}

    def _usage_json(self) -> dict[str, Any]:
        usage = self._usage
        return {
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        }


def item_status(block: Block, finish: FinishReason) -> str:
    """`incomplete` for what an answer was cut within, which is its last item; else `completed`."""
    return "incomplete" if finish != "stop" and not block.complete else "completed"


def part(block: Block, text: str) -> dict[str, Any]:
    """The content part of a message or of thinking, with this text."""
    if block.kind == "reasoning":
        return {"type": "reasoning_text", "text": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
