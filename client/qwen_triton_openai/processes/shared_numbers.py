"""Whole numbers in memory that processes share: one makes the memory, the others inherit its descriptor."""

from __future__ import annotations

import mmap
import os

_BYTES = 8


def new_numbers(name: str, count: int) -> int:
    """A descriptor of memory for so many numbers, all 0. Its owner closes it."""
    descriptor = os.memfd_create(name)
    os.ftruncate(descriptor, _BYTES * count)
    return descriptor


def numbers_in(descriptor: int) -> memoryview:
    """The numbers, to be read and set."""
    return memoryview(mmap.mmap(descriptor, 0)).cast("q")
