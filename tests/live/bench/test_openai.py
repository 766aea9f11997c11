"""`qwen-triton bench openai` through the shim: both endpoints, whole and streamed; usage agrees with the tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qwen_triton_bench.run.server import running_shim
from tests.live.bench.test_bench import bench, check_consistency
from tests.support.live.servers import LiveServer

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def shim(replay_server: LiveServer) -> Iterator[str]:
    with running_shim(replay_server.grpc) as (url, _):
        yield url


@pytest.mark.parametrize("endpoint", ["chat", "completions"])
@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_both_endpoints_answer_with_the_tokens_asked_for(
    endpoint: str, stream: str, shim: str, replay_server: LiveServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Answers of 8 tokens; completions take the prompt as it is, a chat puts its template around."""
    options = ["--endpoint", endpoint, stream, "-c", "8", "--num-requests", "16", "--triton-url", replay_server.grpc]
    lengths = ["token-norm-dist", "--input-mean", "20", "--output-mean", "8"]
    result = bench("openai", shim, tmp_path / "r.json", *options, *lengths)
    check_consistency(result)
    assert {(s["output_tokens"], s["finish_reason"]) for s in result["samples"]} == {(8, "length")}
    prompts = {s["input_tokens"] for s in result["samples"]}
    if endpoint == "completions":
        assert prompts == {20}
        assert "all 16 counts are the tokenizer's" in capfd.readouterr().out
    else:
        assert min(prompts) > 20
    assert result["streamed"] is (stream == "--stream")
