"""Running processes: tritonserver and what belongs to it, watched, ended together, or started again by policy.

Knows no command line of ours. Imports from deployment, repository and processes.
"""
