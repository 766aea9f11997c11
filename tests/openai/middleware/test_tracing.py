"""Traces: a client's context forwarded, spans joined to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwen_triton_openai.middleware import tracing
from tests.support.fake_triton import FakeTriton, shim_client
from tests.support.shim_requests import SECRET, WITH_KEY, chat

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_caller_s_trace_is_handed_on_to_triton() -> None:
    """Without OpenTelemetry as it came; what is no traceparent is not."""
    triton = FakeTriton()
    with shim_client(triton) as client:
        chat(client, traceparent=PARENT)
        chat(client, traceparent="nonsense")
    assert [metadata for _, metadata in triton.headed] == [(("traceparent", PARENT),), ()]


def test_spans_join_the_caller_s_trace(monkeypatch: pytest.MonkeyPatch, keys: Path) -> None:
    """One span a request to the API, its id handed on to Triton; health and metrics make none."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_provider", lambda _: provider)
    triton = FakeTriton()
    with shim_client(triton, otlp_endpoint="http://x/v1/traces", api_keys_file=keys) as client:
        client.get("/health")
        chat(client, **WITH_KEY, traceparent=PARENT)
    (span,) = exporter.get_finished_spans()
    assert span.context is not None
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{span.parent.span_id:016x}" == PARENT.split("-")[2]
    handed = dict(triton.headed[0][1])  # type: ignore[call-overload]
    assert handed == {"traceparent": f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01"}
    attributes = dict(span.attributes or {})
    assert {k: attributes[k] for k in ("gen_ai.request.model", "gen_ai.usage.output_tokens", "qwen_triton.key")} == {
        "gen_ai.request.model": "qwen", "gen_ai.usage.output_tokens": 3, "qwen_triton.key": "alice",
    }  # fmt: skip
    assert SECRET not in str(attributes)
