"""Figures of the vLLM engine on a GPU: the engine alone, vLLM's own server and ours under the same loads, in one table.

`alone.py` and `load.py` run as programs and import the standard library (and vLLM) only. Imports from qwen_triton_bench.
"""
