"""`qwen-triton bench agents`: agents that send their whole history every turn, and what a neighbour's small question waits.

Printed, never judged: it knows no model's speed. Imports from run and targets of this package, and from qwen_triton_build.
"""
