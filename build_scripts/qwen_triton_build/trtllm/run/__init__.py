"""The run of a build: what the machine must have, the steps one after the other, their outputs, and the manifest.

Knows no flag of any tool; a step is a command to it. Imports from trtllm.plan, deployment and processes.
"""
