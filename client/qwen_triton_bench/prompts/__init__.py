"""Prompts to send: workloads, data sets, lengths and texts, reproducible from a seed.

Knows no server and no time. Imports from the core's errors and text.
"""
