"""The plan of a build: the command lines of its steps, and everything that TensorRT-LLM would refuse, drop or misread.

Runs nothing and writes nothing; knows no GPU and no disk. Imports from trtllm.tools and deployment.
"""
