"""The client library without a server: what is sent of a request, what is read of an answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import InferResult, service_pb2

from qwen_triton.errors import Cancelled, ConfigurationError, EngineError, InvalidRequest, Unavailable
from qwen_triton.kserve.declared_model import DeclaredInput, DeclaredModel, decode_model_config_json
from qwen_triton.kserve.messages import encode_infer_request
from qwen_triton.kserve.status import error_of
from qwen_triton.tensors import contract
from qwen_triton.tensors.arrays import NUMPY, Array, Arrays, encode_raw, encode_strings
from qwen_triton.tensors.text_inputs import decode_generate, encode_generate
from qwen_triton.tensors.text_outputs import TextPiece, decode_text_body, decode_text_outputs, encode_prompt_logprobs
from qwen_triton.types import GenerateRequest, SamplingParams, Usage
from qwen_triton_client import Session
from qwen_triton_client.chat_answer import ChatAnswer
from qwen_triton_client.parameters import PARAMETERS, build_request
from qwen_triton_client.session import open_transport
from qwen_triton_client.text_answer import TextAnswer
from qwen_triton_client.transport.ensemble import EnsembleResponses
from qwen_triton_client.transport.grpc import GrpcTransport
from qwen_triton_client.transport.http import HttpTransport, encode_body
from qwen_triton_client.transport.model_inputs import fit_arrays, wanted_outputs
from qwen_triton_client.transport.transport import transport_error


def declared(tensors: Sequence[contract.Tensor], required: Sequence[str] = ()) -> DeclaredModel:
    inputs = {t.name: DeclaredInput(t.dtype, t.name not in required) for t in tensors}
    return DeclaredModel("m", inputs, ("text_output", "sequence_index"))


OURS = declared(contract.BLS_INPUTS)
STOCK = declared(
    [t for t in contract.ENSEMBLE_INPUTS if t not in contract.ADDED_INPUTS], required=("text_input", "max_tokens")
)

SAMPLES: Mapping[str, Any] = {
    "temperature": 0.5, "top_p": 0.5, "min_p": 0.25, "repetition_penalty": 1.5, "presence_penalty": 1.0,
    "frequency_penalty": -1.0, "length_penalty": 2.0, "n": 1, "beam_width": 1, "best_of": 4,
    "stop": ["a", "b"], "stop_token_ids": [5, 6], "bad_words": ["no"], "logit_bias": {5: -2.0},
    "bias_words": {"maybe": 3.0}, "prompt_format": "chat", "chat_template_kwargs": {"enable_thinking": False},
    "lora_name": "pirate", "json_schema": {"type": "integer"}, "regex": "[a-z]+", "choice": ["yes", "no"],
    "grammar": "root ::= [a-z]",
    "include_stop_str_in_output": True, "ignore_eos": True, "echo": True, "accumulate": True, "parallel_tool_calls": False,
    "return_token_ids": True,
    "clamp_max_tokens": True,
}  # fmt: skip


def raw(arrays: Arrays) -> dict[str, bytes]:
    """Arrays as Triton sends them, with the types that our models declare."""
    dtypes = {t.name: NUMPY[t.dtype] for t in contract.BLS_OUTPUTS}
    return {name: encode_raw(array.astype(dtypes[name])) for name, array in arrays.items()}


class Played:
    """A reply of responses with these arrays; raises Cancelled once it was cancelled, `error` at the end."""

    def __init__(self, *responses: Arrays, error: Exception | None = None) -> None:
        self._responses = responses
        self._error = error
        self.cancelled = threading.Event()

    def __iter__(self) -> Iterator[list[TextPiece]]:
        for response in self._responses:
            if self.cancelled.is_set():
                raise Cancelled("cancelled")
            yield decode_text_outputs(raw(response))
        if self._error:
            raise self._error

    def cancel(self) -> None:
        self.cancelled.set()


def piece(text: str, finish: str = "", sequence: int | None = None) -> dict[str, Array]:
    arrays: dict[str, Array] = {"text_output": encode_strings([[text]]), "finish_reason": encode_strings([[finish]])}
    if finish:
        arrays |= {k: np.array([[v]]) for k, v in (("num_input_tokens", 3), ("num_output_tokens", 5))}
    return arrays if sequence is None else arrays | {"sequence_index": np.array([[sequence]])}


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda p: p.name)
def test_each_parameter_reaches_the_model_s_request(parameter: Any) -> None:
    """What a caller gives by name is what our models read from the arrays; nothing is lost on the way."""
    value = SAMPLES.get(parameter.name, 3)
    request = build_request({parameter.name: value}, prompt="x")
    assert request != GenerateRequest(prompt="x") or parameter.name in ("n", "beam_width")
    assert decode_generate(fit_arrays(encode_generate(request), OURS)) == [request]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tempratur": 1}, "tempratur: no such parameter; did you mean temperature?"),
        ({"top_k": 1.5}, "top_k: expected int, got 1.5"),
        ({"top_k": True}, "top_k: expected int, got True"),
        ({"ignore_eos": 1}, "ignore_eos: expected bool, got 1"),
        ({"logit_bias": [1]}, "logit_bias: expected a mapping, got list"),
        ({"logit_bias": {"a": 1}}, "logit_bias: expected numbers"),
        ({"temperature": -1.0}, "temperature: must be in [0, 100], got -1"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(given: dict[str, Any], message: str) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidRequest) as caught:
        build_request(given, prompt="x")
    assert str(caught.value) == message


def test_stock_models_get_stock_s_names() -> None:
    """Ours that stock has under another name go under that; types are the declared ones."""
    arrays = fit_arrays(
        encode_generate(build_request({"seed": 7, "min_tokens": 2, "max_tokens": 9}, prompt="x")), STOCK
    )
    assert {n: (a.dtype.name, a.tolist()) for n, a in arrays.items()} == {
        "text_input": ("object", [[b"x"]]),
        "max_tokens": ("int32", [[9]]),
        "random_seed": ("uint64", [[7]]),
        "min_length": ("int32", [[2]]),
    }


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (build_request({"stop_token_ids": [1], "max_tokens": 9}, prompt="x"), "stop_token_ids: model m has no such"),
        (build_request({"max_tokens": 9}, messages=({"role": "user", "content": "x"},)), "messages: this model takes"),
        (build_request({"max_tokens": 9}, token_ids=(1,)), "input_ids: only tensorrt_llm_bls of a qwen-triton"),
        (build_request({}, prompt="x"), "max_tokens: model m cannot do without it"),
    ],
)
def test_what_a_stock_model_cannot_take_is_refused(request_: GenerateRequest, message: str) -> None:
    """With the name of what is at fault, not sent and ignored."""
    with pytest.raises(InvalidRequest, match=message):
        fit_arrays(encode_generate(request_), STOCK)


def test_words_that_an_old_model_wants_sent_are_sent_empty() -> None:
    """Stock before v0.14 had bad_words and stop_words as required inputs; '' is its way to say none."""
    old = declared(contract.ENSEMBLE_INPUTS, required=("bad_words", "stop_words"))
    arrays = fit_arrays(encode_generate(build_request({"stop": "x"}, prompt="x")), old)
    assert arrays["bad_words"].tolist() == [[b""]]
    assert arrays["stop_words"].tolist() == [[b"x"]]


def test_a_model_without_batches_gets_arrays_without_rows() -> None:
    """max_batch_size 0 in its configuration."""
    model = decode_model_config_json(
        {
            "name": "m",
            "input": [{"name": "text_input", "data_type": "TYPE_STRING"}],
            "output": [{"name": "text_output"}],
        }
    )
    assert fit_arrays(encode_generate(GenerateRequest(prompt="x")), model)["text_input"].tolist() == [b"x"]
    assert wanted_outputs(["text_output", "logprobs"], model) == ["text_output"]


def test_an_answer_is_its_pieces() -> None:
    """Text as it comes; result, usage and end from the last piece."""
    answer = TextAnswer(Played(piece("He"), piece(""), piece("llo", "stop"), {}))
    assert list(answer) == ["He", "llo"]
    assert (answer.result.text, answer.result.finish_reason, answer.result.usage) == ("Hello", "stop", Usage(3, 5))


def test_answers_side_by_side_keep_apart() -> None:
    """Two sequences of one request; iterating for text alone would mix them and is refused."""
    played = Played(piece("a", sequence=0), piece("b", sequence=1), piece("B", "stop", 1), piece("A", "length", 0))
    answer = TextAnswer(played, sequences=2)
    with pytest.raises(InvalidRequest, match="n: several answers"):
        iter(answer)
    assert [(r.text, r.finish_reason) for r in answer.finish()] == [("aA", "length"), ("bB", "stop")]
    with pytest.raises(EngineError, match="more sequences than the 1 asked for"):
        TextAnswer(Played(piece("x", sequence=1))).finish()


def test_accumulated_pieces_replace_each_other() -> None:
    """With accumulate each piece is the whole text so far."""
    answer = TextAnswer(Played(piece("He"), piece("Hello", "stop")), accumulated=True)
    assert answer.finish()[0].text == "Hello"


def test_a_cancelled_answer_ends_without_an_error_and_keeps_its_text() -> None:
    """Whether by cancel() or by leaving the with block."""
    for leave in (False, True):
        played = Played(piece("a"), piece("b"), piece("c", "stop"))
        with TextAnswer(played) as answer:
            for _ in answer:
                if leave:
                    break
                answer.cancel()
        assert played.cancelled.is_set()
        assert (answer.result.text, answer.result.finish_reason) == ("a", "cancelled")


def test_a_finished_answer_is_not_cancelled() -> None:
    """Leaving the block after the end asks nothing of the server."""
    played = Played(piece("a", "stop"))
    with TextAnswer(played) as answer:
        list(answer)
    assert not played.cancelled.is_set()


def test_a_server_s_cancel_is_an_error() -> None:
    """Cancelled that we did not ask for, and any other failure, reaches the caller."""
    for error in (Cancelled("server"), Unavailable("queue"), EngineError("x")):
        with pytest.raises(type(error)):
            list(TextAnswer(Played(piece("a"), error=error)))


def test_stock_s_answers_have_no_end_and_no_usage() -> None:
    """What a model does not tell is None, not guessed."""
    result = TextAnswer(Played({"text_output": encode_strings([["hi"]])})).finish()[0]
    assert (result.text, result.finish_reason, result.usage) == ("hi", None, None)


def test_log_probs_of_both_kinds() -> None:
    """Ours as OpenAI's content, stock's as numbers a sequence."""
    ours = decode_text_outputs(raw({**piece("a"), "logprobs": encode_strings([['[{"token": "a", "logprob": -1}]']])}))
    assert ours[0].logprobs == [{"token": "a", "logprob": -1}]
    stock = {"text_output": encode_strings([["a", "b"]]), "output_log_probs": np.array([[[-1.0, -2.0], [-3.0, -4.0]]])}
    assert [p.logprobs for p in decode_text_outputs(raw(stock))] == [
        [{"logprob": -1.0}, {"logprob": -2.0}],
        [{"logprob": -3.0}, {"logprob": -4.0}],
    ]
    empty = {"text_output": encode_strings([["a"]]), "output_log_probs": np.zeros((1, 1, 0))}
    assert decode_text_outputs(raw(empty)) == [TextPiece("a")]


def test_grpc_messages_hold_the_arrays() -> None:
    """What is written as raw bytes is read back as it was."""
    arrays = fit_arrays(encode_generate(build_request({"stop": ["é", "中"], "seed": 2**63}, prompt="中文")), OURS)
    data = encode_infer_request(OURS.name, arrays, ["text_output"], "id-1")
    message = service_pb2.ModelInferRequest.FromString(data)
    assert (message.id, message.model_name, [o.name for o in message.outputs]) == ("id-1", "m", ["text_output"])
    response = service_pb2.ModelInferResponse()
    for tensor, contents in zip(message.inputs, message.raw_input_contents, strict=True):
        response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        response.raw_output_contents.append(contents)
    result = InferResult(response)
    assert {o.name: result.as_numpy(o.name).tolist() for o in response.outputs} == {
        n: a.tolist() for n, a in arrays.items()
    }


def test_json_bodies_hold_the_arrays() -> None:
    """One value for one, a list for many; answers are read as pieces."""
    arrays = encode_generate(build_request({"stop": ["é", "中"], "seed": 2**63, "ignore_eos": True}, prompt="中文"))
    body = {"text_input": "中文", "stop_words": ["é", "中"], "seed": 2**63, "ignore_eos": True, "id": "i"}
    assert encode_body(arrays, "i") == body
    read = decode_text_body(
        {"model_name": "m", "text_output": ["a", "b"], "num_output_tokens": [1, 2], "sequence_index": 0}
    )
    assert [(p.text, p.usage, p.sequence) for p in read] == [("a", Usage(0, 1), 0), ("b", Usage(0, 2), 1)]


def test_errors_keep_their_kind() -> None:
    """By gRPC code or HTTP status."""
    kinds = {"INVALID_ARGUMENT": InvalidRequest, 404: InvalidRequest, 503: Unavailable, "CANCELLED": Cancelled}
    assert {code: type(transport_error(code, "x")) for code in kinds} == kinds
    assert type(transport_error("INTERNAL", "x")) is type(transport_error(500, "x")) is EngineError


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("max_tokens: 9 is too large: the prompt has 3 tokens and the context is 8, which leaves 5", InvalidRequest),
        ("in ensemble 'ensemble', messages[2].role: must be one of system, user", InvalidRequest),
        ("Request for unknown model: 'nope' is not found", InvalidRequest),
        ("[request id: 7] unexpected inference input 'x' for model 'm'", InvalidRequest),
        ("8 requests are in flight, the most admitted at once; try again later", Unavailable),
        ("in ensemble 'ensemble', the engine is not running; it may be starting, try again", Unavailable),
        ("the server is shutting down", Unavailable),
        ("[request id: 7] Exceeds maximum queue size", Unavailable),
        ("Request timeout expired", Unavailable),
        ("the request was cancelled", Cancelled),
        ("internal error; the server's log has the cause under request 7", EngineError),
        ("Failed to process the request(s) for model instance 'm_0', message: boom", EngineError),
    ],
)
def test_a_text_without_a_code_tells_its_kind(text: str, kind: type[Exception]) -> None:
    """Over gRPC streams and HTTP that is all there is."""
    assert type(error_of(text)) is kind
    assert str(error_of(text)) == text


def test_an_address_says_which_way() -> None:
    """gRPC unless it says http; anything else is refused."""
    kinds = {
        "a:1": GrpcTransport,
        "grpcs://a:1": GrpcTransport,
        "http://a:1": HttpTransport,
        "https://a": HttpTransport,
    }
    for url, kind in kinds.items():
        transport = open_transport(url)
        assert isinstance(transport, kind)
        transport.close()
    for url in ("localhost", "ftp://a:1"):
        with pytest.raises(ConfigurationError, match="expected HOST:PORT"):
            open_transport(url)


@pytest.mark.parametrize("url", ["127.0.0.1:9", "http://127.0.0.1:9"])
def test_nobody_there_is_told_with_the_remedy(url: str) -> None:
    """Within the connection's own time, without a trace."""
    with Session(url) as session, pytest.raises(Unavailable, match=f"nothing answers at {url} .*qwen-triton serve"):
        session.generate("x")


def test_a_chat_has_one_answer() -> None:
    """n is refused before anything is asked of the server."""
    with Session("127.0.0.1:9") as session, pytest.raises(InvalidRequest, match="n: a chat has one answer"):
        session.chat([{"role": "user", "content": "x"}], n=2)


def test_sampling_is_greedy_when_nothing_is_given() -> None:
    """The client adds no defaults of its own."""
    assert build_request({}, prompt="x").sampling == SamplingParams()


def test_thinking_that_the_template_opened_is_thinking() -> None:
    """Where the model says so with its first piece; the answer then begins within it."""
    for opened, reasoning, content in ((True, "hm", "ok"), (False, "", "hm</think>\n\nok")):
        first = piece("hm</think>") | ({"reasoning_opened": np.array([[True]])} if opened else {})
        result = ChatAnswer(TextAnswer(Played(first, piece("\n\nok", "stop"))), GenerateRequest(messages=())).finish()
        assert (result.reasoning, result.content) == (reasoning, content)


class StopsFirst(Played):
    """A reply and the transport that it came by; notes what is asked of them, in order."""

    def __init__(self) -> None:
        super().__init__(piece("a"))
        self.sent: list[str] = []

    def describe(self, model: str) -> DeclaredModel:
        return replace(declared(contract.ENGINE_INPUTS), name=model)

    def send(self, model: DeclaredModel, arrays: Arrays, outputs: Any, request_id: str, several: bool) -> Played:
        del outputs, several
        self.sent.append(f"{model.name} {request_id} stop={bool(arrays['stop'].any())}")
        return Played()

    def cancel(self) -> None:
        self.sent.append("cancel")


def test_an_ensemble_is_stopped_before_its_stream_is_cancelled() -> None:
    """The server may abort when a stream is cancelled while its ensemble still answers."""
    transport: Any = StopsFirst()
    EnsembleResponses(transport, transport, "7").cancel()
    assert transport.sent == ["tensorrt_llm 7 stop=True", "cancel"]


def test_log_probs_of_a_prompt_are_in_the_first_sequence_s_result() -> None:
    content = [{"id": 5, "token": "a", "bytes": [97], "logprob": None, "top_logprobs": []}]
    told = piece("y", sequence=0) | encode_prompt_logprobs([content])
    responses = Played(piece("x", sequence=1), told, piece("z", sequence=0))
    first, second = TextAnswer(responses, 2).finish()
    assert (first.text, first.prompt_logprobs) == ("yz", tuple(content))
    assert (second.text, second.prompt_logprobs) == ("x", ())
