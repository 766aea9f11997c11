"""TensorRT-LLM's engines: how one is built from a checkpoint, and what a built one says of itself.

tools/ knows the releases and their flags, plan/ makes the command lines, run/ runs them. Imports nothing of TensorRT-LLM;
imports from deployment and processes.
"""
