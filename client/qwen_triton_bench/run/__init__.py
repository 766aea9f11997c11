"""One measured run: arrivals, the load itself, its raw samples, their statistics, the machine and the server started for it.

Knows no protocol (a target is handed in). Imports from prompts and targets of this package and from qwen_triton_build.
"""
