"""`qwen-triton doctor`: checks of the machine, the model, the repository and the engine, each with expected and remedy.

Changes nothing. Imports from deployment, repository, trtllm and launch.
"""
