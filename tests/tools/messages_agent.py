"""An agent in the style of Anthropic's clients: asks, runs the tools that the model calls, sends their results, until it ends.

ANTHROPIC_BASE_URL=http://localhost:9000 ANTHROPIC_API_KEY=none python -m tests.tools.messages_agent MODEL QUESTION
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from anthropic import Anthropic

MOST_ROUNDS = 10
TOOLS: Any = [
    {
        "name": "read_file",
        "description": "The text of a file.",
        "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
        "cache_control": {"type": "ephemeral"},
    }
]
SYSTEM: Any = [{"type": "text", "text": "You help with files.", "cache_control": {"type": "ephemeral"}}]


def main(model: str, question: str) -> int:
    """0 when the model has ended its turn; what it says is printed as it comes."""
    messages: Any = [{"role": "user", "content": [{"type": "text", "text": question}]}]
    with Anthropic(max_retries=0) as client:
        for _ in range(MOST_ROUNDS):
            with client.messages.stream(
                model=model,
                max_tokens=8192,
                system=SYSTEM,
                messages=messages,
                tools=TOOLS,
                thinking={"type": "adaptive"},
            ) as stream:
                for text in stream.text_stream:
                    print(text, end="", flush=True)
                answer = stream.get_final_message()
            print()
            messages.append({"role": "assistant", "content": answer.content})
            if answer.stop_reason != "tool_use":
                return 0 if answer.stop_reason == "end_turn" else 1
            results = [_result(block) for block in answer.content if block.type == "tool_use"]
            messages.append({"role": "user", "content": results})
    return 1


def _result(call: Any) -> dict[str, Any]:
    try:
        text, failed = Path(call.input["path"]).read_text(encoding="utf-8"), False
    except OSError as error:
        text, failed = str(error), True
    content = [{"type": "text", "text": text}]
    return {"type": "tool_result", "tool_use_id": call.id, "content": content, "is_error": failed}


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
