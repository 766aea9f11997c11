"""`qwen-triton tune`: measures variants of a deployment one after another and names the best.

Knows no protocol. Imports from run and report of this package and from qwen_triton_build.
"""
