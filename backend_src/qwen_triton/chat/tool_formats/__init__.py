"""Formats of tool calls: the protocol of a format, and Qwen's (Hermes') JSON between tags.

Knows nothing of an answer around its calls. Imports from chat's deltas and tags.
"""
