"""The chat page: one file that needs nothing from elsewhere."""

from __future__ import annotations

from tests.support.fake_triton import completion_body, shim_client


def test_the_page_is_one_file_without_outside_resources() -> None:
    """Its policy would forbid them; it can be left out."""
    with shim_client() as client:
        page = client.get("/")
        assert client.post("/v1/completions", json=completion_body()).status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http://" not in page.text
    assert "https://" not in page.text
    with shim_client(chat_page=False) as client:
        assert client.get("/").status_code == 404
