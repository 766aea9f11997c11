"""Parts that the engines of GPU libraries share: vLLM and TensorRT-LLM's LLM API, in an interpreter of their own.

Options under a library's names with `extra` beside them (extra), LoRA adapters as PEFT saves them (adapters), the memory
that a checkpoint takes (footprint), the words of a start that failed (startup). Imports no engine's library. Imports from
errors, checkpoint and engines.
"""
