"""Clients of the line: a Triton session, command lines, the OpenAI-compatible shim and the benchmark."""
