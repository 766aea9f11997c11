"""An OpenAI-compatible server as a target: chat completions, or completions, which take prompts in token ids."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from qwen_triton.errors import ConfigurationError

from ..prompts.prompt import Prompt
from .http_answers import AnswerError, HttpAnswers
from .target import AnswerListener, Counts

_CONNECT_S = 10.0


class OpenAiTarget:
    """A `Target`. `url` is the server's address up to, without, /v1. `chat`: chat completions, else completions."""

    def __init__(self, url: str, model: str, *, chat: bool, streamed: bool, key: str = "") -> None:
        self.streamed = streamed
        self._model = model
        self._chat = chat
        self._url = f"{url}/v1/{'chat/' if chat else ''}completions"
        self._http = HttpAnswers({"Authorization": f"Bearer {key}"} if key else {})

    def send(self, request: int, prompt: Prompt, listener: AnswerListener) -> None:
        answer = _Answer(request, listener)
        self._http.post(self._url, self._body(prompt), listener, request, answer.on_event, answer.on_end)

    def close(self) -> None:
        self._http.close()

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self._model, "max_tokens": prompt.output_tokens, "stream": self.streamed}
        if self._chat:
            body["messages"] = prompt.messages or [{"role": "user", "content": prompt.text}]
        else:
            body["prompt"] = prompt.text if prompt.text is not None else prompt.token_ids
        if self.streamed:
            body["stream_options"] = {"include_usage": True}
        if prompt.exact:
            body["ignore_eos"] = True
        return body


class _Answer:
    """One answer under way."""

    __slots__ = ("_finish", "_listener", "_request", "_usage")

    def __init__(self, request: int, listener: AnswerListener) -> None:
        self._request = request
        self._listener = listener
        self._usage: dict[str, Any] = {}
        self._finish: str | None = None

    def on_event(self, event: dict[str, Any]) -> None:
        if "error" in event:
            error = event["error"]
            raise AnswerError(str(error.get("message", error) if isinstance(error, dict) else error))
        self._usage = event.get("usage") or self._usage
        for choice in event.get("choices", ()):
            message = choice.get("delta") or choice.get("message") or choice
            text = message.get("content") or message.get("reasoning_content") or message.get("text") or ""
            self._finish = choice.get("finish_reason") or self._finish
            content = text.encode()
            self._listener.on_response(self._request, content, len(content))

    def on_end(self) -> None:
        cached = (self._usage.get("prompt_tokens_details") or {}).get("cached_tokens")
        usage = (self._usage.get("prompt_tokens"), self._usage.get("completion_tokens"), cached)
        self._listener.on_end(self._request, Counts(*usage, self._finish))


def first_model(url: str, key: str) -> str:
    """The model that the server serves. Raises ConfigurationError when nothing answers."""
    request = urllib.request.Request(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"} if key else {})
    try:
        with urllib.request.urlopen(request, timeout=_CONNECT_S) as reply:
            return str(json.load(reply)["data"][0]["id"])
    except urllib.error.HTTPError as error:
        raise ConfigurationError(f"{url}/v1/models answers HTTP {error.code}; --api-key gives a key") from None
    except (OSError, ValueError, LookupError, TypeError):
        raise ConfigurationError(f"no OpenAI-compatible server answers at {url}; start one, or give --url") from None
