"""The Triton edge: the models that tritonserver loads, each a thin adapter over the rooms before this one.

The only modules that import triton_python_backend_utils. Imports from all rooms of the core.
"""
