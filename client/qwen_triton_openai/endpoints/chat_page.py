"""GET /: the chat page, one HTML file whose policy forbids the browser everything but this server."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.responses import FileResponse

_PAGE = Path(__file__).with_name("chat_page.html")
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}


def add_chat_page(app: FastAPI) -> None:
    """Adds the page to the application, outside its OpenAPI document."""
    app.add_route("/", _page, include_in_schema=False)


async def _page(_request: object) -> FileResponse:
    return FileResponse(_PAGE, media_type="text/html; charset=utf-8", headers=_HEADERS)
