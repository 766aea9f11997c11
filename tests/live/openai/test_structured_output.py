"""Structured output of the demo: by openai, LangChain and pydantic-ai, and by Triton's own inputs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import openai
import pytest
import yaml
from langchain_openai import ChatOpenAI
from openai import OpenAI
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from demo.evaluate import DEPLOYMENT
from qwen_triton.tensors.contract import BLS, ENSEMBLE, TENSORRT_LLM
from qwen_triton_client import Session
from tests.live.conftest import Serve
from tests.support.folders import ROOT
from tests.support.form_answers import fault_of
from tests.support.form_schemas import SCHEMAS
from tests.support.live.client import Refused, generate
from tests.support.live.instructor import extract, instructor_python
from tests.support.live.llama_index import structured
from tests.support.live.servers import LiveServer
from tests.support.live.shims import MODEL, LiveShim, shimming

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]

QUESTION = "Answer in JSON with the keys name, age. name Anna, age 31"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0, "maximum": 120}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


class Person(BaseModel):
    """A person."""

    name: str
    age: int


class Mood(BaseModel):
    """How a text sounds, with things that are in no text."""

    mood: Literal["glad", "sad", "平静"]
    certain: bool


@pytest.fixture(scope="module")
def server(serve: Serve) -> LiveServer:
    deployment = yaml.safe_load(DEPLOYMENT.read_text())
    deployment["model"] = str(ROOT / "demo" / "checkpoint")
    deployment["engine"]["form_compile_s"] = 10  # hostile forms are refused soon
    return serve(deployment)


@pytest.fixture(scope="module")
def shim(server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveShim]:
    with shimming(server, tmp_path_factory.mktemp("shim")) as shim:
        yield shim


@pytest.fixture(scope="module")
def client(shim: LiveShim) -> Iterator[OpenAI]:
    with OpenAI(base_url=shim.v1, api_key="none", max_retries=0) as client:
        yield client


def ask(client: OpenAI, text: str = QUESTION, **more: Any) -> Any:
    return client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": text}], seed=7, max_tokens=400, **more
    )


def asked(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}


def test_parse_of_the_openai_package(client: OpenAI) -> None:
    found = client.chat.completions.parse(
        model=MODEL, messages=[{"role": "user", "content": QUESTION}], response_format=Person
    )
    assert found.choices[0].message.parsed == Person(name="Anna", age=31)
    assert found.choices[0].finish_reason == "stop"


def test_parse_of_a_response(client: OpenAI) -> None:
    """The same of /v1/responses, whole and streamed."""
    found = client.responses.parse(model=MODEL, input=QUESTION, text_format=Person, max_output_tokens=400)
    assert found.output_parsed == Person(name="Anna", age=31)
    with client.responses.stream(model=MODEL, input=QUESTION, text_format=Person, max_output_tokens=400) as stream:
        stream.until_done()
        assert stream.get_final_response().output_parsed == Person(name="Anna", age=31)


def test_what_the_model_would_not_say_is_said_in_the_form(client: OpenAI) -> None:
    """Without the form the demo greets back. Its thinking stands before the form."""
    found = client.chat.completions.parse(
        model=MODEL,
        messages=[{"role": "user", "content": "hi"}],
        response_format=Mood,
        n=3,
        seed=7,
        extra_body={"enable_thinking": True},
    )
    assert all(
        choice.message.parsed and choice.message.parsed.mood in ("glad", "sad", "平静") for choice in found.choices
    )
    assert all("reasoning_content" in (choice.message.model_extra or {}) for choice in found.choices)


@pytest.mark.parametrize(
    "name", ["nested", "Chinese keys", "Chinese enum", "some optional", "date-time", "one of by const", "odd keys"]
)
def test_streamed_equals_whole_and_is_an_instance(client: OpenAI, name: str) -> None:
    """At temperature 1, with usage, finish reason and log probs as without a form."""
    whole = ask(client, response_format=asked(SCHEMAS[name]), logprobs=True)
    pieces = list(
        ask(client, response_format=asked(SCHEMAS[name]), stream=True, stream_options={"include_usage": True})
    )
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert text == whole.choices[0].message.content
    assert (whole.choices[0].finish_reason, fault_of(text, SCHEMAS[name])) == ("stop", "")
    assert pieces[-1].usage == whole.usage
    assert len(whole.choices[0].logprobs.content) == whole.usage.completion_tokens - 1


@pytest.mark.parametrize(
    ("given", "param", "place"),
    [
        ({"response_format": asked({"type": "object", "properties": {"a": {"not": {}}}})}, "response_format",
         "#/properties/a/not"),
        ({"response_format": asked({"type": "text"})}, "response_format", "#/type"),
        ({"extra_body": {"structured_outputs": {"regex": "(a"}}}, "structured_outputs", "in the pattern at 2"),
        ({"extra_body": {"guided_grammar": "root ::= x"}}, "guided_grammar", "there is no rule 'x'"),
        ({"response_format": {"type": "json_object"}, "extra_body": {"min_tokens": 5}}, "min_tokens",
         "ends where its form does"),
    ],
)  # fmt: skip
def test_a_form_that_is_not_kept_is_a_400_that_names_the_place(
    client: OpenAI, given: dict[str, Any], param: str, place: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        ask(client, **given)
    assert refusal.value.param == param
    assert place in refusal.value.message


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        ({"structured_outputs": {"choice": ["yes", "no"]}}, r"yes|no"), ({"guided_regex": "[a-c]{2}x"}, r"[a-c]{2}x"),
        ({"structured_outputs": {"grammar": 'root ::= "你" ("好" | "们")'}}, "你好|你们"), ({"guided_choice": ["猫"]}, "猫"),
    ],
)  # fmt: skip
def test_vllm_s_fields(client: OpenAI, given: dict[str, Any], allowed: str) -> None:
    content = ask(client, extra_body=given).choices[0].message.content
    assert content in {"yes", "no", "你好", "你们", "猫"} or (allowed.startswith("[") and len(content) == 3)
    completion = client.completions.create(model=MODEL, prompt="Say", max_tokens=50, extra_body=given)
    assert completion.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
def test_langchain(shim: LiveShim, method: Literal["json_schema", "function_calling", "json_mode"]) -> None:
    chat = ChatOpenAI(model=MODEL, base_url=shim.v1, api_key="none", seed=7)  # type: ignore[arg-type]  # it takes a text
    assert chat.with_structured_output(Person, method=method).invoke(QUESTION) == Person(name="Anna", age=31)


@pytest.mark.parametrize("output", [NativeOutput(Person), Person])
def test_pydantic_ai(shim: LiveShim, output: Any) -> None:
    """By a schema, and by default by a call that is forced."""
    model = OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=shim.v1, api_key="none"))
    found = Agent(model, output_type=output, model_settings={"temperature": 0}).run_sync(QUESTION)
    assert found.output == Person(name="Anna", age=31)


@pytest.mark.parametrize("mode", ["JSON", "JSON_SCHEMA", "TOOLS"])
def test_instructor(shim: LiveShim, mode: str) -> None:
    """Whole, and as a stream of objects that grow."""
    found = extract(instructor_python(), shim.v1, MODEL, mode, "Answer in JSON with the keys city. city Oslo")
    assert found.whole == found.partial[-1] == {"city": "Oslo"}
    assert found.finish_reason == ("tool_calls" if mode == "TOOLS" else "stop")


def test_llama_index(shim: LiveShim) -> None:
    """`as_structured_llm` and `structured_predict`, by a schema and by a call."""
    person = {"name": "Anna", "age": 31}
    assert structured(shim.v1, MODEL, QUESTION) == {"schema": [person, person], "call": [person, person]}


_RULES = "root ::= a0\n" + "".join(f"a{i} ::= a{i + 1} a{i + 1}?\n" for i in range(40)) + "a40 ::= [^x]\n"
HOSTILE: dict[str, tuple[str, Any]] = {
    "repetitions within repetitions": ("structured_outputs", {"regex": "(?:(?:.*)+(?:.*)+)+x" * 4}),
    "a grammar that doubles": ("guided_grammar", _RULES),
    "counts that multiply": ("guided_regex", "(a{1,1000}){1,1000}"),
    "many items": ("guided_json", {"type": "array", "items": {"type": "string"}, "maxItems": 10**6}),
    "long texts": ("guided_json", {"type": "string", "minLength": 10**6}),
    "many choices": ("guided_choice", [f"choice {i}" for i in range(5000)]),
    "a tag that doubles": ("structured_outputs", {"structural_tag": {
        "type": "structural_tag", "format": {"type": "grammar", "grammar": _RULES}}}),
}  # fmt: skip


def test_hostile_forms_are_refused_while_others_are_answered(server: LiveServer, client: OpenAI) -> None:
    """A 400 that names the limit, on OpenAI's API and on Triton's; neighbours with a form and without do not wait for them."""
    with ThreadPoolExecutor(len(HOSTILE) + 1) as threads:
        asked_for = {name: threads.submit(ask, client, extra_body=dict([form])) for name, form in HOSTILE.items()}
        by_triton = threads.submit(
            generate, server, TENSORRT_LLM, input_ids=[1, 2], input_lengths=[2], request_output_len=[4], end_id=[4],
            guided_decoding_guide=_RULES, guided_decoding_guide_type="ebnf_grammar",
        )  # fmt: skip
        answered = 0
        while not all(found.done() for found in asked_for.values()) or not answered:
            assert ask(client, response_format=asked(SCHEMA)).choices[0].finish_reason == "stop"
            assert ask(client, "hi").choices[0].message.content
            answered += 1
    for name, found in asked_for.items():
        error = found.exception()
        assert isinstance(error, openai.BadRequestError), name
        assert error.param == HOSTILE[name][0], name
        assert re.search(r"limits\.form_|engine\.form_compile_s", error.message), name
    with pytest.raises(Refused, match=r"engine\.form_compile_s") as refusal:
        by_triton.result()
    assert refusal.value.status == 400


@pytest.mark.parametrize("model", [BLS, ENSEMBLE])
def test_triton_s_own_inputs(server: LiveServer, model: str) -> None:
    """Stock's names. The prompt is raw, so there is no thinking."""
    answer = generate(
        server, model, text_input="JSON: ", max_tokens=200, temperature=1.0, random_seed=3,
        guided_decoding_guide_type="json_schema", guided_decoding_guide=json.dumps(SCHEMA),
    )  # fmt: skip
    assert fault_of(answer["text_output"], SCHEMA) == ""


def test_the_python_client(server: LiveServer) -> None:
    with Session(server.grpc) as session:
        result = session.generate(QUESTION, json_schema=SCHEMA, prompt_format="chat", max_tokens=300)
    assert fault_of(result.text, SCHEMA) == ""


def test_an_engine_that_keeps_no_form_refuses_it(
    replay_server: LiveServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with (
        shimming(replay_server, tmp_path_factory.mktemp("replay")) as shim,
        OpenAI(base_url=shim.v1, api_key="none") as client,
        pytest.raises(
            openai.BadRequestError, match="the replay engine keeps no form here: a script has the same answer"
        ),
    ):
        ask(client, response_format={"type": "json_object"})


def weather(*, strict: bool) -> Any:
    city = {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Oslo", "巴黎"]}},
        "required": ["city"],
    }
    return {"type": "function", "function": {"name": "get_weather", "strict": strict, "parameters": city}}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_forced_call_keeps_the_tool_s_schema(client: OpenAI, choice: Any) -> None:
    """The question is about none of the cities."""
    found = ask(client, "hi", tools=[weather(strict=False)], tool_choice=choice, n=4, parallel_tool_calls=False)
    calls = [call for option in found.choices for call in option.message.tool_calls]
    assert [json.loads(call.function.arguments)["city"] in ("Oslo", "巴黎") for call in calls] == [True] * 4
    assert {option.finish_reason for option in found.choices} == {"tool_calls"}


def test_a_strict_tool_keeps_its_schema_where_the_model_calls_it(client: OpenAI) -> None:
    """Without strict the demo asks for the city of the question."""
    tools, question = [weather(strict=True)], "What is the weather in Rome?"
    found = ask(client, question, tools=tools, n=4)
    calls = [call for option in found.choices for call in option.message.tool_calls or ()]
    assert all(json.loads(call.function.arguments)["city"] in ("Oslo", "巴黎") for call in calls)
    assert calls, "the demo calls the tool"


def test_a_strict_tool_is_refused_where_it_cannot_be_kept(client: OpenAI) -> None:
    tool = weather(strict=True)
    tool["function"]["parameters"] = {"type": "object", "not": {}}
    with pytest.raises(openai.BadRequestError, match="strict, and its schema is not kept") as refusal:
        ask(client, tools=[tool])
    assert refusal.value.param == "tools[0]"
