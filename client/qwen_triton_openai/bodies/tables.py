"""The tables of parameters by API, of which bodies, the OpenAPI document, the pages and the tests are made."""

from __future__ import annotations

from .body_parameter import BOTH, CHAT, COMPLETIONS, COUNT_TOKENS, MESSAGES, RESPONSES, BodyParameter, markdown_table
from .messages_parameters import MESSAGES_API, MESSAGES_PARAMETERS
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


def parameters_of(endpoint: str) -> tuple[BodyParameter, ...]:
    """The rows of an endpoint, of every class."""
    return tuple(p for p in TABLES[endpoint] if endpoint in p.endpoints)


def parameter_table() -> str:
    """The table of chat and completions as Markdown (docs/openai.md has it)."""
    return markdown_table(PARAMETERS, BOTH)


def responses_parameter_table() -> str:
    """That of /v1/responses (docs/responses.md has it)."""
    return markdown_table(RESPONSES_PARAMETERS, (RESPONSES,))


def messages_parameter_table() -> str:
    """That of Anthropic's API (docs/anthropic.md has it)."""
    return markdown_table(MESSAGES_PARAMETERS, MESSAGES_API)
