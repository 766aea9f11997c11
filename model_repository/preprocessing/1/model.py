"""What Triton loads; the logic is in qwen_triton.triton.preprocessing."""

from qwen_triton.triton.preprocessing import PreprocessingModel as TritonPythonModel

__all__ = ["TritonPythonModel"]
