"""An agent of openai-agents with one tool and default settings; run by a Python that has that package.

    python agents_sdk.py BASE_URL MODEL STREAMED

Prints a JSON object: the cities that the tool was asked for, the final text, and the kinds of items of the run.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from agents import Agent, Runner, function_tool, set_default_openai_client, set_tracing_disabled
from openai import AsyncOpenAI

asked: list[str] = []


@function_tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    asked.append(city)
    return f"sunny in {city}"


async def main(base_url: str, model: str, streamed: bool) -> dict[str, Any]:
    """Runs the agent to its final text."""
    set_default_openai_client(AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0))
    set_tracing_disabled(True)
    agent = Agent(name="weather", instructions="Use the tool.", model=model, tools=[get_weather])
    run: Any
    if streamed:
        run = Runner.run_streamed(agent, "How is the weather?", max_turns=3)
        async for _ in run.stream_events():
            pass
    else:
        run = await Runner.run(agent, "How is the weather?", max_turns=3)
    return {"asked": asked, "final": run.final_output, "items": [item.type for item in run.new_items]}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3] == "streamed"))))
