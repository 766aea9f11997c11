"""vLLM's engine without a server, run by vLLM's interpreter: python alone.py MODEL ARGUMENTS REQUESTS PROMPT ANSWER

ARGUMENTS: those of vLLM's `LLM`, as JSON. Prints a line BEGIN before the load and a line END SECONDS after it.
"""

from __future__ import annotations

import json
import random
import sys
import time


def main() -> None:
    from vllm import LLM, SamplingParams

    model, arguments = sys.argv[1], json.loads(sys.argv[2])
    requests, prompt, answer = map(int, sys.argv[3:6])
    rng = random.Random(0)
    engine = LLM(model=model, **arguments)

    def generate(count: int, length: int) -> int:
        prompts = [{"prompt_token_ids": [rng.randrange(1000, 150_000) for _ in range(prompt)]} for _ in range(count)]
        sampling = SamplingParams(max_tokens=length, ignore_eos=True, temperature=0.0, detokenize=False)
        answers = engine.generate(prompts, sampling, use_tqdm=False)
        return sum(len(one.outputs[0].token_ids) for one in answers)

    generate(64, 16)
    print("BEGIN", flush=True)
    began = time.perf_counter()
    tokens = generate(requests, answer)
    seconds = time.perf_counter() - began
    print("END", seconds, flush=True)
    if tokens != requests * answer:
        sys.exit(f"{tokens} tokens came of {requests * answer}")


if __name__ == "__main__":
    main()
