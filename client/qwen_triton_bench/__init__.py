"""Benchmark of a running server: prompts sent to a target by a plan, raw samples of the answers, figures from them.

A run keeps each answer's raw samples; every figure is computed after it. Knows no engine. Imports from all
packages before it: core, client, openai and build.
"""
