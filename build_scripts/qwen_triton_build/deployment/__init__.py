"""deployment.yaml: its schema, its file, and faults as lines with path, reason and remedy.

Knows no process and no server. Imports from the core (an engine's options are defined beside the engine).
"""
