"""What is known of Triton's vulnerabilities: which releases have them, and what closed APIs keep callers from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from qwen_triton_build.deployment.schema import Deployment
from qwen_triton_build.doctor import machine_checks
from qwen_triton_build.doctor.check import Finding, run_checks
from qwen_triton_build.doctor.machine_checks import CHECKS
from qwen_triton_build.doctor.site import Site
from qwen_triton_build.doctor.triton_bulletins import FIXES, NEWEST, closed_here, format_release, parse_release, unfixed
from qwen_triton_build.launch.installation import Installation
from tests.support.folders import ROOT


@pytest.fixture
def image(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tritonserver of NVIDIA's image."""
    found = Installation(Path("/opt/tritonserver/bin/tritonserver"), Path("/backends"), (), packaged=False)
    monkeypatch.setattr(machine_checks, "find_installation", lambda _: found)


def finding(release: str = "", **server: Any) -> Finding:
    deployment = Deployment.model_validate({"model": "m", "engine": {"kind": "replay"}, "server": server})
    environment = {"NVIDIA_TRITON_SERVER_VERSION": release} if release else {}
    (check,) = [check for check in CHECKS if check.name == "open Triton"]
    return run_checks([check], Site(deployment, environment=environment))[0]


def test_every_number_is_one_and_stands_once() -> None:
    numbers = [number for fix in FIXES for number in fix.numbers]
    assert len(numbers) == len(set(numbers))
    assert all(re.fullmatch(r"CVE-202[4-6]-\d{4,5}", number) for number in numbers)
    assert [fix.release for fix in FIXES] == sorted(fix.release for fix in FIXES)
    assert NEWEST == (26, 7)


def test_closed_apis_close_what_needs_them() -> None:
    """The chain over shared memory and code execution by a model's name need an API that is closed unless opened."""
    chain = {"CVE-2025-23319", "CVE-2025-23320", "CVE-2025-23334"}
    by_name = {"CVE-2025-23316"}
    assert chain | by_name <= set(closed_here((24, 10), []))
    assert not (chain | by_name) & set(unfixed((24, 10), []))
    assert chain <= set(unfixed((24, 10), ["shared-memory"]))
    assert by_name <= set(unfixed((24, 10), ["model-repository"]))
    assert {"CVE-2025-23310", "CVE-2025-23311"} <= set(unfixed((24, 10), []))


def test_a_release_has_what_later_ones_fix() -> None:
    everything = ["shared-memory", "model-repository"]
    assert len(unfixed((24, 10), everything)) == sum(len(fix.numbers) for fix in FIXES)  # type: ignore[arg-type]  words
    assert unfixed((26, 6), []) == ["CVE-2026-16497"]
    assert unfixed((26, 7), []) == unfixed((27, 1), []) == []


@pytest.mark.parametrize(
    ("text", "release"), [("24.10", (24, 10)), ("25.07", (25, 7)), ("", None), ("main", None), ("24.x", None)]
)
def test_releases_as_the_images_name_them(text: str, release: tuple[int, int] | None) -> None:
    assert parse_release(text) == release


@pytest.mark.usefixtures("image")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "gpu-7"])
def test_an_open_old_server_is_a_warning_with_its_numbers(host: str) -> None:
    found = finding("26.06", host=host)
    assert (found.outcome, found.remedy[:32]) == ("warning", "take an image of 26.07 or newer,")
    where = f"Triton's http at {host} and grpc at {host}, of release 26.06, has 1 known vulnerabilities: CVE-2026-16497"
    assert found.found == where


@pytest.mark.usefixtures("image")
@pytest.mark.parametrize(
    ("release", "server"),
    [
        ("24.10", {}),
        ("24.10", {"host": "127.0.0.2"}),
        ("24.10", {"host": "::1"}),
        ("24.10", {"host": "localhost"}),
        ("24.10", {"host": "0.0.0.0", "expose": []}),
        ("24.10", {"host": "0.0.0.0", "expose": ["metrics"]}),
        ("26.07", {"host": "0.0.0.0"}),
    ],
)
def test_loopback_or_a_new_release_is_well(release: str, server: dict[str, Any]) -> None:
    assert finding(release, **server).outcome == "ok"


@pytest.mark.usefixtures("image")
def test_an_open_server_of_an_unknown_release_is_a_warning() -> None:
    assert finding(host="0.0.0.0").found == (
        "Triton's http at 0.0.0.0 and grpc at 0.0.0.0, of a release that is not known here"
    )


def test_the_page_has_a_row_for_every_fix() -> None:
    """In docs/security.md, newest first."""
    page = (ROOT / "docs" / "security.md").read_text()
    rows = [line.split(" | ") for line in page.splitlines() if "| CVE-" in line]
    assert [(row[0].removeprefix("| "), row[1]) for row in rows] == [
        (format_release(fix.release), ", ".join(fix.numbers)) for fix in reversed(FIXES)
    ]
    assert all(("closed API" in row[3]) == bool(fix.apis) for row, fix in zip(rows, reversed(FIXES), strict=True))
