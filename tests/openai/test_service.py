"""What a request must pass before it reaches the model: the table of limits, with OpenAI's names of the fields."""

from __future__ import annotations

import json
from typing import Any

import pytest

from qwen_triton.tensors.limits import LIMITS, Limits
from tests.support.fake_triton import FakeTriton, chat_body, completion_body, shim_client

SMALL = Limits(**dict.fromkeys(LIMITS, 4) | {"user_bytes": 5})
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
MESSAGE = {"role": "user", "content": "x"}
TOOL = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("path", "body", "param", "limit"),
    [
        (CHAT, chat_body(messages=[MESSAGE] * 5), "messages", "messages"),
        (CHAT, chat_body(tools=[TOOL] * 5), "tools", "tools"),
        (CHAT, chat_body(stop=["a"] * 5), "stop", "stop_strings"),
        (CHAT, chat_body(stop="abcde"), "stop", "stop_bytes"),
        (CHAT, chat_body(stop_token_ids=[1] * 5), "stop_token_ids", "stop_ids"),
        (CHAT, chat_body(logit_bias={str(i): 1 for i in range(5)}), "logit_bias", "biases"),
        (CHAT, chat_body(n=5), "n", "sequences"),
        (CHAT, chat_body(user="漢漢"), "user", "user_bytes"),
        (CHAT, chat_body(metadata={str(i): "" for i in range(5)}), "metadata", "metadata"),
        (CHAT, chat_body(metadata={"key": "va"}), "metadata", "metadata_bytes"),
        (COMPLETIONS, completion_body(prompt="漢漢"), "prompt", "prompt_bytes"),
        (COMPLETIONS, completion_body(prompt=[1] * 5), "prompt", "prompt_tokens"),
        (COMPLETIONS, completion_body(prompt=["x"] * 3, n=2), "n", "sequences"),
        (COMPLETIONS, completion_body(prompt=["x"], best_of=5), "n", "sequences"),
    ],
)
def test_what_is_above_a_limit_is_refused(path: str, body: dict[str, Any], param: str, limit: str) -> None:
    triton = FakeTriton()
    with shim_client(triton, limits=SMALL) as client:
        reply = client.post(path, json=body)
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (400, param)
    assert f"(limits.{limit}); send less" in error["message"]
    assert triton.sent == []


@pytest.mark.parametrize("name", ["allow_control_tokens", "chat_template"])
@pytest.mark.parametrize("path", [CHAT, "/tokenize"])
def test_template_options_that_no_caller_may_choose(path: str, name: str) -> None:
    triton = FakeTriton()
    with shim_client(triton) as client:
        reply = client.post(path, json={"model": "qwen", "messages": [MESSAGE], "chat_template_kwargs": {name: "x"}})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, f"chat_template_kwargs.{name}")
    assert (triton.sent, triton.inferred) == ([], [])


def test_a_chat_template_in_the_body_is_unknown() -> None:
    with shim_client() as client:
        reply = client.post(CHAT, json=chat_body(chat_template="{{ 1 }}"))
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "unknown_parameter")


def test_notes_of_a_caller_end_no_line_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    with shim_client() as client:
        body = chat_body(user="a\n{}\u2028\x7f", metadata={"k\r": "v\u202e"})
        assert client.post(CHAT, json=body).status_code == 200
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert len(lines) == 1
    entry = json.loads(lines[0])
    assert (entry["user"], entry["metadata"]) == ("a\n{}\u2028\x7f", {"k\r": "v\u202e"})


def test_a_long_path_is_cut_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    with shim_client() as client:
        assert client.get("/" + "x" * 50_000).status_code == 404
    assert len(json.loads(capsys.readouterr().out)["path"]) == 1024
