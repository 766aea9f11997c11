"""The process of a Python engine: its loop, its socket, its messages, the client of it and who keeps it running.

Knows no engine's library (main opens the kind that it is told) and no text. Imports from errors, types and engines.
"""
