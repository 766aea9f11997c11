"""TensorRT-LLM's releases and command-line tools: versions, their flags, and the installation on this machine.

Knows no model and no plan of a build. Imports from deployment (the section `build:`) and the core's errors.
"""
