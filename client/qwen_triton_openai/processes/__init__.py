"""The shim as processes: uvicorn with bounded connections, and workers on one port under a main process that decides for all.

Knows no endpoint and no parameter of a request. Imports the application, its middleware and its settings.
"""
