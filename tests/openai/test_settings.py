"""Settings of the shim: unknown keys and unusable certificates are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwen_triton.errors import ConfigurationError
from qwen_triton_openai import settings
from qwen_triton_openai.settings import ShimSettings, check_certificate, processes_for
from tests.support.fake_triton import answer


def test_certificates_are_checked_before_the_start(tmp_path: Path) -> None:
    """One line for a file that is not there or is none, and for a key without a certificate."""
    (tmp_path / "c.pem").write_text("nonsense")
    for files, message in (
        ({"tls_key": tmp_path / "k.pem"}, "openai.tls_key: a key alone serves nothing"),
        (
            {"tls_certificate": tmp_path / "none.pem"},
            r"openai.tls_certificate: .*none\.pem cannot be used: No such file",
        ),
        ({"tls_certificate": tmp_path / "c.pem"}, r"openai.tls_certificate: .*c\.pem cannot be used"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            check_certificate(ShimSettings(**files))
    check_certificate(ShimSettings())


def test_settings_refuse_what_they_do_not_know() -> None:
    """A typo in a deployment is no setting."""
    with pytest.raises(ValueError, match="extra"):
        ShimSettings(drain=3)  # type: ignore[call-arg]
    assert answer("x").finish == "stop"


def test_workers_are_one_for_every_four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most four, unless the deployment says how many."""
    assert [processes_for(cores, 8) for cores in (1, 2, 15, 16, 32, 128)] == [1, 1, 1, 2, 4, 4]
    monkeypatch.setattr(settings, "usable_cores", lambda: 13)
    assert (ShimSettings().worker_count, ShimSettings(workers=6).worker_count) == (3, 6)
