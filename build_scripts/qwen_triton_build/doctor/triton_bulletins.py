"""NVIDIA's security bulletins of Triton: which release fixes which vulnerabilities, and what else closes them.

A release is (year, month) of its container, such as (24, 10). Knows nothing of this machine. The rows are of the bulletins
published until September 2026; a vulnerability of a backend that is not used here (DALI, TensorRT, …) is not among them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ..deployment.schema import ClosedApi

Release = tuple[int, int]


@dataclass(frozen=True)
class Fix:
    """What one release fixes. `bulletin`: NVIDIA's number of it, 0 where it is not known here.

    `apis`: while these are closed, nobody can use the vulnerabilities; none = only the release or a port that strangers
    cannot reach helps. (The restriction itself had holes until 26.05, so a closed API is not counted as a fix there.)
    """

    release: Release
    bulletin: int
    what: str
    numbers: tuple[str, ...]
    apis: tuple[ClosedApi, ...] = ()


FIXES = (
    Fix((24, 12), 0, "integer overflow in loading a model", ("CVE-2024-53880",), ("model-repository",)),
    Fix((25, 7), 5687, "stack overflow by chunked HTTP bodies and deep JSON; double free by an early cancel",
        ("CVE-2025-23310", "CVE-2025-23311", "CVE-2025-23317", "CVE-2025-23322", "CVE-2025-23325")),
    Fix((25, 7), 5687, "the Python backend's shared memory, by registering its regions",
        ("CVE-2025-23318", "CVE-2025-23319", "CVE-2025-23320", "CVE-2025-23333", "CVE-2025-23334"), ("shared-memory",)),
    Fix((25, 8), 5691, "code execution by a model's name in the control API", ("CVE-2025-23316",), ("model-repository",)),
    Fix((25, 8), 5691, "the Python backend's shared memory", ("CVE-2025-23328", "CVE-2025-23329"), ("shared-memory",)),
    Fix((25, 9), 0, "stack overflow by a large body", ("CVE-2025-33202",)),
    Fix((25, 10), 0, "crash by a large or malformed body", ("CVE-2025-33201", "CVE-2025-33211")),
    Fix((26, 1), 0, "races; a compressed body", ("CVE-2025-33238", "CVE-2025-33254", "CVE-2026-24158")),
    Fix((26, 2), 0, "thousands of outputs; malformed requests and headers",
        ("CVE-2026-24146", "CVE-2026-24173", "CVE-2026-24174", "CVE-2026-24175")),
    Fix((26, 2), 0, "a path in a model's configuration", ("CVE-2026-24147",), ("model-repository",)),
    Fix((26, 3), 5828, "bypass of the restriction of APIs", ("CVE-2026-24206", "CVE-2026-24207")),
    Fix((26, 3), 5828, "path traversal in loading a model", ("CVE-2026-24208", "CVE-2026-24209"), ("model-repository",)),
    Fix((26, 3), 5828, "denial of service", ("CVE-2026-47487",)),
    Fix((26, 4), 0, "decompression bomb; use after free; missing authorization",
        ("CVE-2026-24264", "CVE-2026-24266", "CVE-2026-47625")),
    Fix((26, 5), 0, "exhausted memory, stack and descriptors; bypass of the restriction by another path",
        tuple(f"CVE-2026-{number}" for number in range(47476, 47483))),
    Fix((26, 6), 0, "path traversal and others",
        ("CVE-2026-47606", "CVE-2026-47627", "CVE-2026-47628", "CVE-2026-47629", "CVE-2026-47630")),
    Fix((26, 7), 0, "excessive iteration", ("CVE-2026-16497",)),
)  # fmt: skip
NEWEST: Release = max(fix.release for fix in FIXES)
"""The oldest release without a vulnerability of the table."""


def parse_release(text: str) -> Release | None:
    """The release in «24.10», as NVIDIA's images name it; None for anything else."""
    year, dot, month = text.partition(".")
    return (int(year), int(month)) if dot and year.isdigit() and month.isdigit() else None


def format_release(release: Release) -> str:
    return f"{release[0]}.{release[1]:02}"


def unfixed(release: Release, opened: Collection[ClosedApi]) -> list[str]:
    """CVE numbers of what the release has and a caller of its ports can use, while only the `opened` APIs are open."""
    return _numbers(fix for fix in FIXES if fix.release > release and (not fix.apis or set(fix.apis) & set(opened)))


def closed_here(release: Release, opened: Collection[ClosedApi]) -> list[str]:
    """CVE numbers of what the release has and closed APIs keep callers from."""
    left = unfixed(release, opened)
    return [number for number in _numbers(fix for fix in FIXES if fix.release > release) if number not in left]


def _numbers(fixes: Iterable[Fix]) -> list[str]:
    return [number for fix in fixes for number in fix.numbers]
