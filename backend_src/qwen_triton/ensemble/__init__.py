"""Parts that only an ensemble needs: text of single chunks, and acknowledgements that detect disconnected clients.

Knows no Triton Python API. Imports from errors, types, text, tensors, engines and serving.
"""
