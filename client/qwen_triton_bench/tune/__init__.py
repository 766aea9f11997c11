"""`qwen-triton tune`: settings of a deployment tried one after another, and the best named.

Knows no protocol. Imports from run and report of this package and from qwen_triton_build.
"""
