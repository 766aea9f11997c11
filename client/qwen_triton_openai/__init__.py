"""An OpenAI-compatible server in front of Triton: endpoints over one service, with middleware before them.

Knows neither an engine nor a deployment file. Imports from the core's errors, types, chat, tensors, kserve,
serving.local and engines.process.
"""
