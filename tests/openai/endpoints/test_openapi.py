"""The OpenAPI document."""

from __future__ import annotations

from qwen_triton_openai.bodies.body import BODIES
from tests.support.fake_triton import shim_client


def test_the_document_has_every_parameter() -> None:
    """The bodies that endpoints read by themselves are in it, with what each parameter does."""
    with shim_client() as client:
        document = client.get("/openapi.json").json()
        assert client.get("/docs").status_code == 200
    for model in BODIES.values():
        properties = document["components"]["schemas"][model.__name__]["properties"]
        assert set(properties) == set(model.model_fields)
        assert all(p["description"] for p in properties.values())
    operation = document["paths"]["/v1/chat/completions"]["post"]
    assert operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/ChatCompletionRequest")
    assert "422" not in operation["responses"]
