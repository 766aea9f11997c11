"""The tables of parameters by API, of which bodies, the OpenAPI document, the pages and the tests are made."""

from __future__ import annotations

from functools import cache

from .body_parameter import BOTH, CHAT, COMPLETIONS, COUNT_TOKENS, MESSAGES, RESPONSES, BodyParameter, markdown_table
from .messages.messages_parameters import MESSAGES_PARAMETERS
from .parameters import PARAMETERS
from .responses.responses_parameters import RESPONSES_PARAMETERS

TABLES: dict[str, tuple[BodyParameter, ...]] = {
    CHAT: PARAMETERS,
    COMPLETIONS: PARAMETERS,
    RESPONSES: RESPONSES_PARAMETERS,
    MESSAGES: MESSAGES_PARAMETERS,
    COUNT_TOKENS: MESSAGES_PARAMETERS,
}
"""{endpoint: the table that has its rows}; a row names the endpoints that it belongs to."""


@cache
def parameters_of(endpoint: str) -> tuple[BodyParameter, ...]:
    """The rows of an endpoint, of every class."""
    return tuple(p for p in TABLES[endpoint] if endpoint in p.endpoints)


def parameter_table(endpoints: tuple[str, ...] = BOTH) -> str:
    """The table of these endpoints as Markdown (docs/openai.md, responses.md and anthropic.md have them)."""
    return markdown_table(TABLES[endpoints[0]], endpoints)
