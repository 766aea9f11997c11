"""Loads a running server and says what it did: workloads, arrivals, targets, samples, statistics, tables and pages.

A benchmark is prompts (workloads) sent by a plan (arrivals) through one way in (targets), each answer kept as raw
samples, from which every figure is computed afterwards (statistics). Nothing here knows how the server works.
"""
