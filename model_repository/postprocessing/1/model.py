"""What Triton loads; the logic is in qwen_triton.triton.postprocessing."""

from qwen_triton.triton.postprocessing import PostprocessingModel as TritonPythonModel

__all__ = ["TritonPythonModel"]
