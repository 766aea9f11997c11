"""OpenTelemetry traces: a span for each request, and the trace context for Triton as gRPC metadata."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Scope

from qwen_triton.errors import ConfigurationError

from .observe import RequestRecord

TRACED_PATHS = ("/v1/", "/tokenize", "/detokenize")
_PARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_SERVER_FAULT = 500


def tracing(endpoint: str | None, environment: Mapping[str, str] = os.environ) -> TraceForwarder | Tracing:
    """A watcher: `Tracing` where spans have a collector (setting or environment), else `TraceForwarder`.

    Raises ConfigurationError when OpenTelemetry is needed and not installed.
    """
    if endpoint is None and not any(name in environment for name in _VARIABLES):
        return TraceForwarder()
    return Tracing(_provider(endpoint))


class TraceForwarder:
    """Forwards a client's valid `traceparent` to Triton and makes no spans."""

    def watch(self, record: RequestRecord, scope: Scope) -> None:
        del record
        parent = Headers(scope=scope).get("traceparent", "")
        if _PARENT.fullmatch(parent):
            scope["triton_metadata"] = (("traceparent", parent),)


class Tracing:
    """Makes a span for each request to the API, a child of the client's span if it sends a `traceparent`."""

    def __init__(self, provider: Any) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("qwen_triton_openai")
        self._propagator = TraceContextTextMapPropagator()

    def watch(self, record: RequestRecord, scope: Scope) -> Callable[[], None] | None:
        if not record.path.startswith(TRACED_PATHS):
            return None
        span = self._span(record, scope)
        span.__enter__()

        def leave() -> None:
            span.__exit__(*sys.exc_info())

        return leave

    @contextlib.contextmanager
    def _span(self, record: RequestRecord, scope: Scope) -> Iterator[None]:
        from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context

        parent = self._propagator.extract(dict(Headers(scope=scope)))
        with self._tracer.start_as_current_span(
            f"{record.method} {record.path}", parent, SpanKind.SERVER, end_on_exit=True
        ) as span:
            sent: dict[str, str] = {}
            self._propagator.inject(sent, set_span_in_context(span))
            scope["triton_metadata"] = tuple(sent.items())
            try:
                yield
            finally:
                span.set_attributes(_attributes(record))
                if record.status >= _SERVER_FAULT:
                    span.set_status(StatusCode.ERROR)

    def close(self) -> None:
        """Sends the spans that are still buffered."""
        self._provider.shutdown()


def _attributes(record: RequestRecord) -> dict[str, str | int | float]:
    found: dict[str, str | int | float] = {
        "http.request.method": record.method,
        "url.path": record.path,
        "http.response.status_code": record.status,
        "qwen_triton.request_id": record.request_id,
        "qwen_triton.key": record.key_name,
    }
    if record.model:
        found |= {
            "gen_ai.request.model": record.model,
            "gen_ai.usage.input_tokens": record.prompt_tokens,
            "gen_ai.usage.output_tokens": record.completion_tokens,
        }
    if record.first_at is not None:
        found["qwen_triton.first_token_s"] = record.first_at - record.started
    return found


def _provider(endpoint: str | None) -> Any:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise ConfigurationError(
            "openai.otlp_endpoint: OpenTelemetry is not installed; run: pip install 'qwen-triton[otel]'"
        ) from None
    provider = TracerProvider(resource=Resource.create({"service.name": "qwen-triton-shim"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
    return provider
