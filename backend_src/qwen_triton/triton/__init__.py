"""The models that tritonserver loads, each a thin adapter of Triton's Python API to the rest of the core.

The only modules that import triton_python_backend_utils. Imports from all other packages of the core.
"""
