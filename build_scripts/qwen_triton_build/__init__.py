"""The command `qwen-triton`: from a deployment to a built engine, a model repository and running processes.

Knows nothing of requests and answers. Imports from the core (errors, checkpoint, text, chat, contract, options of engines)
and the shim's settings; it never imports the benchmark, whose modules cli names as text.
"""
