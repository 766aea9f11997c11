"""Chat markup: messages to a prompt by the checkpoint's template, and an answer to reasoning, content and tool calls.

Knows no engine, no tensors and no HTTP. Imports from errors, types, checkpoint and text.
"""
