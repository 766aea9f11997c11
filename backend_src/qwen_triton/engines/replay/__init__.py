"""The engine without a model: answers follow from the prompt or a script, at a set pace, for tests and benchmarks.

Knows no weights and no clients. Imports from errors, types, text and engines.
"""
