"""What only an ensemble needs: text of chunks that come alone, and acknowledgements by which an abandoned one is found.

Knows no Triton Python API. Imports from errors, types, text, tensors and engines.
"""
