"""What only an ensemble needs: text of single chunks, and acknowledgements that detect clients which have disconnected.

Knows no Triton Python API. Imports from errors, types, text, tensors, engines and serving.
"""
