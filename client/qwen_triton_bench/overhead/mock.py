"""`bench overhead --mock`: the form in which front ends are compared, with an engine that computes nothing.

Prompts of 32 tokens, answers of 512, the engine's chunks of one token, as fast as it goes, by concurrency. A server that
is busy sends several tokens together, so tokens a chunk are a column: only rows with 1 are a chunk a token on the wire.
"""

from __future__ import annotations

import resource
from collections.abc import Mapping, Sequence
from typing import Any

from qwen_triton.errors import ConfigurationError

from .measure import Cost

MOCK: Mapping[str, Any] = {
    "via": "openai",
    "concurrency": "64,128,256,512,1024,2048",
    "pace": None,
    "input_len": 32,
    "output_len": 512,
    "rounds": 2,
}
"""What the command line leaves out."""
_SPARE_FILES = 128
"""Files that this process, the shim or the server have open beside the connections of a load, at most."""
_WIDTHS = (9, 8, 9, 10, 9, 9, 10, 9, 9, 9, 13, 13, 8, 6)
_NAMES = (
    "via", "at once", "req/s", "tokens/s", "tok/chunk", "TTFT p50", "TTFT p99", "gap p50", "gap p99", "chunks/s",
    "CPU s/M tok", "client's", "batch", "errors",
)  # fmt: skip
LEGEND = """Times in ms. «tok/chunk»: tokens of a chunk that the client receives; «CPU s/M tok»: processor seconds of all server
processes, the engine that computes nothing included, for a million tokens; «client's»: those of this tool;
«batch»: mean sequences of a step of the engine."""


def check_files(targets: Sequence[str], protocol: str, concurrencies: Sequence[int]) -> None:
    """Raises ConfigurationError where this process may not open a connection for each request at once."""
    if "openai" not in targets and protocol != "http":
        return  # gRPC has one connection
    needed, (allowed, most) = max(concurrencies) + _SPARE_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY or needed <= allowed:
        return
    raisable = most == resource.RLIM_INFINITY or needed <= most
    remedy = f"run `ulimit -n {needed}` before" if raisable else f"let an administrator raise the limit (now {most})"
    raise ConfigurationError(
        f"--concurrency {max(concurrencies)}: needs {needed} open files, a connection for each request, and this shell allows "
        f"{allowed}; {remedy}, or give at most --concurrency {max(1, allowed - _SPARE_FILES)}"
    )


def mock_header() -> str:
    """Names of the columns."""
    return _columns(_NAMES)


def mock_row(cost: Cost) -> str:
    """One measurement."""
    f = cost.figures
    return _columns(
        (
            cost.via,
            str(cost.work.concurrency),
            f"{f.requests_per_second:.1f}",
            f"{f.output_tokens_per_second:,.0f}",
            f"{f.tokens_per_response:.2f}",
            *_ms(f.first_token.percentiles),
            *_ms(f.gaps.percentiles),
            f"{f.responses / f.seconds if f.seconds else 0.0:,.0f}",
            f"{cost.total:.1f}",  # microseconds a token are seconds a million
            f"{cost.client:.1f}",
            "-" if cost.batch is None else f"{cost.batch:.1f}",
            str(sum(f.errors.values())),
        )
    )


def _ms(percentiles: Mapping[int, float]) -> tuple[str, str]:
    return f"{1e3 * percentiles[50]:,.1f}", f"{1e3 * percentiles[99]:,.1f}"


def _columns(cells: Sequence[str]) -> str:
    return " ".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))
