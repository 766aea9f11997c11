"""The command `qwen-triton`: from a deployment to a built engine, a model repository and running processes.

Knows the server only from outside: it imports settings, contract and checkpoint of the core, and the settings of the
shim; it never imports the benchmark (cli names it as text).
"""
