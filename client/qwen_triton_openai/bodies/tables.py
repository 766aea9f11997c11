"""The tables of parameters by API, of which bodies, the OpenAPI document, the pages and the tests are made."""

from __future__ import annotations

from .body_parameter import BOTH, CHAT, COMPLETIONS, BodyParameter, markdown_table
from .parameters import PARAMETERS

TABLES: dict[str, tuple[BodyParameter, ...]] = {CHAT: PARAMETERS, COMPLETIONS: PARAMETERS}
"""{endpoint: the table that has its rows}; a row names the endpoints that it belongs to."""


def parameters_of(endpoint: str) -> tuple[BodyParameter, ...]:
    """The rows of an endpoint, of every class."""
    return tuple(p for p in TABLES[endpoint] if endpoint in p.endpoints)


def parameter_table() -> str:
    """The table of chat and completions as Markdown (docs/openai.md has it)."""
    return markdown_table(PARAMETERS, BOTH)
