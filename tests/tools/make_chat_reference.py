"""Writes the prompts that transformers renders for every test conversation to tests/data/chat_template_cases.json.

    pip install transformers==5.23.0        # in any environment; needs no torch
    PYTHONPATH=backend_src python -m tests.tools.make_chat_reference

The tests compare with the stored file, so they do not need transformers. transformers parses control tokens inside
messages; that corresponds to `allow_control_tokens`.
"""

from __future__ import annotations

import json
from typing import Any

from tests.support.chat_conversations import CONVERSATIONS, Conversation
from tests.support.fetch_qwen import FAMILIES, fetch
from tests.support.folders import DATA

OUTPUT = DATA / "chat_template_cases.json"
TEMPLATES = {"qwen3-instruct-2507": ("qwen3", "qwen3_instruct_2507.jinja")}


def case(tokenizer: Any, conversation: Conversation, template: str | None) -> dict[str, Any]:
    """The text and ids of one conversation, rendered with the calls that a user of transformers makes."""
    going_on = conversation.options.get("continue_final_message", False)
    arguments = {
        "tools": conversation.tools or None,
        "chat_template": template,
        "add_generation_prompt": not going_on,
        **conversation.options,
    }
    text = tokenizer.apply_chat_template(conversation.messages, tokenize=False, **arguments)
    ids = tokenizer.apply_chat_template(conversation.messages, tokenize=True, return_dict=True, **arguments)[
        "input_ids"
    ]
    return {"text": text, "ids": ids}


def main() -> None:
    """Runs the command line."""
    import transformers

    folder = fetch()
    sources = {family.name: (family.name, None) for family in FAMILIES} | TEMPLATES
    cases: dict[str, dict[str, Any]] = {}
    for name, (family, file) in sources.items():
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder / family)
        template = (folder / file).read_text() if file else None
        cases[name] = {c.name: case(tokenizer, c, template) for c in CONVERSATIONS}
    lines = json.dumps({"transformers": transformers.__version__, "cases": cases}, ensure_ascii=False, indent=0)
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(_compact(lines) + "\n")
    print(f"{OUTPUT}: {sum(map(len, cases.values()))} cases by transformers {transformers.__version__}")


def _compact(lines: str) -> str:
    """One line per case instead of one line per id."""
    return lines.replace(",\n", ", ").replace("[\n", "[").replace("\n]", "]").replace('}, "', '},\n"')


if __name__ == "__main__":
    main()
