"""What is sent: workloads, data sets, lengths and texts of prompts, drawn from a seed.

Knows no server and no time. Imports from the core's errors and text.
"""
