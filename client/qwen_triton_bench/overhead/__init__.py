"""`qwen-triton bench overhead`: processor time of the server's processes per token, measured on the replay engine.

Knows no model's speed. Imports from run, targets and prompts of this package, and from qwen_triton_build.
"""
