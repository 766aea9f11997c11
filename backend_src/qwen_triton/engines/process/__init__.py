"""The process of a Python engine: its loop, its socket and messages, the client in a model, and its supervisor.

Knows no text and no engine's library but by the kind that `main` is told to load. Imports from errors, types, engines.
"""
