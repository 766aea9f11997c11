"""TensorRT-LLM's tools: which versions take which flags, the plan of a build, its steps, its manifest.

Imports nothing of TensorRT-LLM. Imports from deployment and processes.
"""
