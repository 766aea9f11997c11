"""What Triton loads; the logic is in qwen_triton.triton.engine."""

from qwen_triton.triton.engine import EngineModel as TritonPythonModel

__all__ = ["TritonPythonModel"]
