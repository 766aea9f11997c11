"""The Triton edge: the only modules that import triton_python_backend_utils. One class a model, each a thin adapter."""
