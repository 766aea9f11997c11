"""Runs the processes of a deployment: tritonserver and the OpenAI shim, supervised, ended together or restarted by policy.

Knows no subcommand and no argument of qwen-triton. Imports from deployment, trtllm and processes.
"""
