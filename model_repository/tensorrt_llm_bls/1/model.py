"""What Triton loads; the logic is in qwen_triton.triton.bls."""

from qwen_triton.triton.bls import BlsModel as TritonPythonModel

__all__ = ["TritonPythonModel"]
