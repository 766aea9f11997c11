"""Parts that the engines of GPU libraries share: vLLM and TensorRT-LLM's LLM API, in an interpreter of their own.

The base of their engines (engine), options under a library's names with `extra` beside them (extra), LoRA adapters as PEFT
saves them (adapters), bounds of a request (bounds), the memory that a checkpoint takes (footprint), the words of a start that
failed (startup). Imports no engine's library. Imports from errors, types, checkpoint and engines.
"""
