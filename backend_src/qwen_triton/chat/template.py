"""Renders chat messages to a prompt by the checkpoint's own chat template.

Text and ids equal those of transformers' `apply_chat_template`, except for control tokens that a client wrote into a
message: they are plain text unless the option `allow_control_tokens` is true. Knows no requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from jinja2 import Template, meta, nodes
from jinja2.exceptions import TemplateError, TemplateSyntaxError

from ..checkpoint.text_files import TokenizerFolder
from ..errors import ConfigurationError, InvalidRequest
from ..text.tokenizer import Tokenizer
from ..types import ANSWER_PREFIX, ToolChoice
from .control_tokens import ControlTokens, Marks
from .jinja import template_environment
from .messages import Message, Tool, check_messages, check_tools, has_text_arguments, with_object_arguments
from .tool_choice import check_tool_choice, forced_beginning
from .tool_formats.formats import TOOL_FORMATS, ToolFormatSetting, format_of_template
from .tool_formats.qwen3_coder import QWEN3_CODER
from .tool_formats.tool_format import ToolFormat

CHATML = """
{%- if messages[0].role != 'system' %}
    {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
"""Qwen's format, for a checkpoint without a template: no tools, no thinking."""

SWITCHES = ("add_generation_prompt", "continue_final_message", "allow_control_tokens")
EFFORT = "reasoning_effort"
"""Options of this project, beside ANSWER_PREFIX; the template gets every other one."""
THINKING = "enable_thinking"
RESERVED = ("messages", "tools", *SWITCHES, ANSWER_PREFIX)
END_MARK = "\uf8ff"
"""Marks the end of a final message that is to be continued. A space follows it: if the template strips that, it strips
messages, and then the text before the mark is stripped as well."""


NOT_READ = "this checkpoint's chat template does not read it; leave it out"


class ChatTemplate:
    """The chat templates of one checkpoint, compiled. Thread-safe.

    Options: `add_generation_prompt` (default true, false with the next), `continue_final_message` (the model continues
    the last message), `allow_control_tokens`, `answer_prefix` (the beginning of the answer, with its control tokens, as
    part of the prompt; it closes a <think> block that the template opened), `reasoning_effort` (see `_with_effort`), and
    those that the template reads, such as `enable_thinking`. An option that the template does not read is refused, except
    `enable_thinking` where the prompt, as it is rendered, already is so: without a choice some templates open thinking and
    others do not.

    A choice of tools that forces a call makes its beginning the end of the prompt, without thinking before it.
    `tool_format`: the format of calls that the template teaches; auto: found in its text.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        sources: Mapping[str, str],
        named_tokens: Mapping[str, Any],
        tool_format: ToolFormatSetting = "auto",
    ) -> None:
        self._tokenizer = tokenizer
        self._control = ControlTokens(tokenizer)
        self._named_tokens = dict(named_tokens)
        self._templates = {name: _Compiled(name, source, tool_format) for name, source in sources.items()}
        if "default" not in self._templates:
            self._templates["default"] = _Compiled("default", CHATML, tool_format)

    @classmethod
    def from_folder(
        cls, folder: str | Path, tokenizer: Tokenizer, tool_format: ToolFormatSetting = "auto"
    ) -> ChatTemplate:
        """The templates of a Hugging Face folder, ChatML where it has none. Raises ConfigurationError for a broken one."""
        files = TokenizerFolder(Path(folder))
        return cls(tokenizer, files.chat_templates, files.named_tokens, tool_format)

    @property
    def tool_format(self) -> ToolFormat | None:
        """The format of the calls of an answer to a request with tools; None for a template that teaches no known one."""
        return self._for(tools=True).tool_format

    def render(
        self,
        messages: object,
        tools: object = (),
        options: Mapping[str, Any] | None = None,
        choice: ToolChoice = ToolChoice(),  # noqa: B008  immutable
    ) -> str:
        """The prompt as text. Raises InvalidRequest, naming the field, for what the template cannot render."""
        text, marks = self._prompt(messages, tools, options or {}, choice)
        return self._control.show(text, marks)

    def encode(
        self,
        messages: object,
        tools: object = (),
        options: Mapping[str, Any] | None = None,
        context: int | None = None,
        choice: ToolChoice = ToolChoice(),  # noqa: B008  immutable
    ) -> list[int]:
        """The prompt as token ids. Raises InvalidRequest as `render` does, and for what `context` tokens cannot hold."""
        text, marks = self._prompt(messages, tools, options or {}, choice)
        if context is not None:
            self._tokenizer.check_length(text, context)
        return self._control.encode(text, marks)

    def _for(self, tools: bool) -> _Compiled:
        return self._templates["tool_use" if tools and "tool_use" in self._templates else "default"]

    def _prompt(
        self, messages: object, tools: object, options: Mapping[str, Any], choice: ToolChoice
    ) -> tuple[str, Marks]:
        try:
            checked, functions = check_messages(messages), check_tools(tools or ())
            check_tool_choice(choice, functions)
            functions = [] if choice.mode == "none" else functions
            template = self._for(bool(functions))
            template.check_tools(functions)
            if choice.forced:
                options = _with_call(options, choice, functions, template.tool_format)
            if not has_text_arguments(checked):
                return self._fill(template, checked, functions, options)
            if template.tool_format is QWEN3_CODER:  # it goes through the arguments by their names
                return self._fill(template, with_object_arguments(checked), functions, options)
            try:
                return self._fill(template, checked, functions, options)
            except InvalidRequest:
                return self._fill(template, with_object_arguments(checked), functions, options)
        except RecursionError:
            raise InvalidRequest("messages, tools or options are nested too deeply", "messages") from None

    def _fill(
        self, template: _Compiled, messages: list[Message], tools: list[Tool], options: Mapping[str, Any]
    ) -> tuple[str, Marks]:
        """The rendered text, in which control tokens of messages and tools are hidden, and the marks that hide them."""
        switches = _switches(options)
        given = {key: value for key, value in options.items() if key not in (*SWITCHES, ANSWER_PREFIX)}
        given = _with_effort(given, template.reads)
        template.check_reads(given)
        thinking = given.get(THINKING)
        given |= {"messages": messages, "tools": tools or None}
        marks = {} if switches["allow_control_tokens"] else self._control.marks_for(given)
        if marks:
            given = self._control.hide(given, marks)
        if switches["continue_final_message"]:
            given["messages"] = _with_end_mark(given["messages"])
        prompt = switches["add_generation_prompt"]
        text = template.render({**self._named_tokens, **given, "add_generation_prompt": prompt})
        if switches["continue_final_message"]:
            text = _up_to_end_mark(text)
        text += _prefix(options, text)
        if THINKING not in template.reads:
            _check_thinking(thinking, text)
        return text, marks


class _Compiled:
    """One template, the names it reads, and the format of calls that it teaches."""

    def __init__(self, name: str, source: str, tool_format: ToolFormatSetting) -> None:
        environment = template_environment()
        try:
            parsed = environment.parse(source)
            self.reads = meta.find_undeclared_variables(parsed)
            self.tool_format = TOOL_FORMATS.get(tool_format) or format_of_template(_texts(parsed))
            self._template: Template = environment.from_string(source)
        except TemplateSyntaxError as error:
            raise ConfigurationError(
                f"chat_template ({name}), line {error.lineno}: {error.message}; fetch the checkpoint's files again"
            ) from error

    def check_tools(self, tools: Sequence[object]) -> None:
        """Raises InvalidRequest for tools that the template does not show, or whose calls nobody could read."""
        if tools and "tools" not in self.reads:
            raise InvalidRequest("this checkpoint's chat template takes no tools; leave them out", "tools")
        if tools and self.tool_format is None:
            known = " or ".join(TOOL_FORMATS)
            raise InvalidRequest(
                "this checkpoint's chat template teaches no format of tool calls that is known here; leave them out, "
                f"or set openai.tool_format to {known} in the deployment",
                "tools",
            )

    def check_reads(self, variables: Mapping[str, Any]) -> None:
        for name, value in variables.items():
            if name in RESERVED:
                raise InvalidRequest(
                    f"is not a template option; give {name} beside the options", f"chat_template_kwargs.{name}"
                )
            if name not in self.reads and not (name == THINKING and isinstance(value, bool)):
                raise InvalidRequest(NOT_READ, f"chat_template_kwargs.{name}")

    def render(self, variables: Mapping[str, Any]) -> str:
        try:
            return self._template.render(variables)
        except TemplateError as error:
            raise InvalidRequest(f"the chat template refuses them: {error}", "messages") from error
        except (
            TypeError,
            ValueError,
            AttributeError,
            LookupError,
            ArithmeticError,
        ) as error:  # a value it does not expect
            raise InvalidRequest(f"the chat template fails on them: {error}", "messages") from error


def _texts(template: nodes.Template) -> list[str]:
    """All that a template writes itself, without its comments."""
    plain = [part.data for part in template.find_all(nodes.TemplateData)]
    return plain + [part.value for part in template.find_all(nodes.Const) if isinstance(part.value, str)]


def _with_call(
    options: Mapping[str, Any], choice: ToolChoice, tools: Sequence[Tool], tool_format: ToolFormat | None
) -> dict[str, Any]:
    """The options of a prompt that ends with the beginning of a call. Where a model may think, it would begin with that."""
    if options.get(ANSWER_PREFIX):
        raise InvalidRequest(
            "a forced call is the beginning of the answer; leave one of them out",
            f"chat_template_kwargs.{ANSWER_PREFIX}",
        )
    begun = forced_beginning(choice, tools, tool_format) if tool_format else ""
    return {**options, ANSWER_PREFIX: begun, THINKING: False}


def _with_effort(options: dict[str, Any], reads: Set[str]) -> dict[str, Any]:
    """OpenAI's `reasoning_effort` in the words of a template: itself where it is read, and thinking off or on.

    «none» is no thinking, any other effort is thinking, unless `enable_thinking` is given. A template without the choice
    gets neither: then an effort is a hint. Raises InvalidRequest for one that is no text.
    """
    if EFFORT not in options:
        return options
    effort = options[EFFORT]
    if not isinstance(effort, str):
        raise InvalidRequest(
            f"must be a text such as 'none' or 'high', got {effort!r}", f"chat_template_kwargs.{EFFORT}"
        )
    kept = {key: value for key, value in options.items() if key != EFFORT or EFFORT in reads}
    if THINKING in reads:
        kept.setdefault(THINKING, effort != "none")
    return kept


def _switches(options: Mapping[str, Any]) -> dict[str, bool]:
    continues = options.get("continue_final_message", False)
    defaults = {
        "add_generation_prompt": continues is not True,
        "continue_final_message": False,
        "allow_control_tokens": False,
    }
    found = {name: options.get(name, default) for name, default in defaults.items()}
    for name, value in found.items():
        if not isinstance(value, bool):
            raise InvalidRequest(f"must be true or false, got {value!r}", f"chat_template_kwargs.{name}")
    if found["continue_final_message"] and found["add_generation_prompt"]:
        raise InvalidRequest(
            "goes with add_generation_prompt = false only", "chat_template_kwargs.continue_final_message"
        )
    return found


def _check_thinking(wanted: bool | None, prompt: str) -> None:
    """Raises InvalidRequest unless a prompt that nobody could choose the thinking of has it as it is wanted."""
    opened = prompt.rstrip("\n").endswith("<think>")
    if wanted is not None and wanted is not opened:
        reason = "this checkpoint's chat template always opens thinking; leave it out" if opened else NOT_READ
        raise InvalidRequest(reason, f"chat_template_kwargs.{THINKING}")


def _prefix(options: Mapping[str, Any], prompt: str) -> str:
    prefix = options.get(ANSWER_PREFIX, "")
    if not isinstance(prefix, str):
        raise InvalidRequest(f"must be a text, got {prefix!r}", f"chat_template_kwargs.{ANSWER_PREFIX}")
    thinking = prompt.rstrip("\n")
    if not prefix or not thinking.endswith("<think>"):
        return prefix
    line_ends = "\n" * max(0, 2 - (len(prompt) - len(thinking)))
    return f"{line_ends}</think>\n\n{prefix}"  # the empty block as Qwen's templates write it


def _with_end_mark(messages: list[Message]) -> list[Message]:
    final = messages[-1]
    return [*messages[:-1], {**final, "content": final["content"] + END_MARK + " "}]


def _up_to_end_mark(text: str) -> str:
    before, mark, after = text.rpartition(END_MARK)
    if not mark:
        raise InvalidRequest(
            "the chat template does not show the final message's text, so it cannot be continued",
            "chat_template_kwargs.continue_final_message",
        )
    return before if after.startswith(" ") else before.rstrip()
