"""Plan of a chat: from a checked body, in the words of /v1/chat/completions, to the request to the model.

Other APIs with messages put their bodies into these words first, so that a prompt, its tools and its options are planned
in one place; `names` then puts the words of an error back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from qwen_triton.errors import QwenTritonError
from qwen_triton.tensors.contract import INPUT_IDS, TEXT_INPUT
from qwen_triton.types import GenerateRequest

from ..answers.chat_message import ChatChoice
from ..errors import ApiError, bad_request, to_api_error
from ..settings import ShimSettings
from .plan import base_request, with_template_options
from .tool_choice import with_messages

CHAT_NAMES = {TEXT_INPUT: "messages", INPUT_IDS: "messages", "top_logprobs": "top_logprobs"}
"""The model's name of a parameter → that of /v1/chat/completions."""


class ChatPlan(NamedTuple):
    """The request to the model, which says how its answer is read."""

    request: GenerateRequest

    def new_choice(self) -> ChatChoice:
        """A decoder of one choice of the answer."""
        return ChatChoice(self.request)


def plan_chat(given: Mapping[str, Any], settings: ShimSettings, names: Mapping[str, str] = CHAT_NAMES) -> ChatPlan:
    """The plan for the parameters of a chat. `names`: this module's name of a parameter → the endpoint's. Raises ApiError."""
    try:
        return _plan(given, settings)
    except QwenTritonError as error:
        raise to_api_error(error, names) from error
    except ApiError as error:
        raise error.renamed(names) from None


def _plan(given: Mapping[str, Any], settings: ShimSettings) -> ChatPlan:
    if len(given["messages"]) > settings.max_messages:
        message = f"messages: {len(given['messages'])} are more than the {settings.max_messages} that are taken here"
        raise bad_request(message, "messages", "too_many_messages")
    if "top_logprobs" in given and not given.get("logprobs"):
        raise bad_request("top_logprobs: needs logprobs = true", "top_logprobs")
    given = with_template_options(given)
    logprobs = given.get("top_logprobs", 0) if given.get("logprobs") else None
    return ChatPlan(with_messages(base_request(given, settings, logprobs), given))
