"""Loads a running server and reports what it did: prompts sent by a plan to a target, raw samples, figures of them.

A benchmark keeps each answer's raw samples, and every figure is computed afterwards. Knows no engine. Imports from all
packages before it: core, client, openai and build.
"""
