"""`qwen-triton bench overhead`: what the server costs beside the engine, by process, on the replay engine.

Knows no model's speed. Imports from run, targets and prompts of this package, and from qwen_triton_build.
"""
