"""API keys: their file, their hashes, reading them again, `qwen-triton key`."""

from __future__ import annotations

import argparse
import io
import os
from pathlib import Path

import pytest

from qwen_triton.errors import ConfigurationError
from qwen_triton_openai import key_command
from qwen_triton_openai.middleware.keys import VARIABLE, ApiKey, KeyLimits, KeyRing, digest_of, new_secret, parse_key

SECRET = "sk-" + "a" * 43
OTHER = "sk-" + "b" * 43


def line(name: str, secret: str, rest: str = "") -> str:
    return f"{name} sha256:{digest_of(secret)} {rest}".rstrip()


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def ring(file: Path | None = None, variable: str = "", clock: Clock | None = None) -> KeyRing:
    return KeyRing(file, {VARIABLE: variable} if variable else {}, clock or Clock())


def found(keys: KeyRing, secret: str) -> str | None:
    key = keys.find(secret)
    return key and key.name


def test_a_key_is_found_by_what_is_presented(tmp_path: Path) -> None:
    """Any number of keys, with limits of their own or none; comments and empty lines count for nothing."""
    file = tmp_path / "keys"
    file.write_text(f"# ours\n\n{line('alice', SECRET, 'concurrency=2 tokens_per_minute=9')}\n{line('bob', OTHER)}\n")
    keys = ring(file)
    assert keys.find(SECRET) == ApiKey("alice", digest_of(SECRET), KeyLimits(0, 9, 2))
    assert (found(keys, OTHER), found(keys, SECRET[:-1]), found(keys, ""), found(keys, "\udce4x")) == (
        "bob", None, None, None,
    )  # fmt: skip


def test_the_file_holds_no_key() -> None:
    """A key's line can be read back, the key cannot."""
    key = ApiKey("a", digest_of(SECRET), KeyLimits(requests_per_minute=5))
    assert SECRET not in key.line
    assert parse_key(key.line, "x") == key
    assert new_secret() != new_secret()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alice sk-abc", "keys:1: expected NAME sha256:HEX; `qwen-triton key alice` makes such a line"),
        ("alice sha256:12", "keys:1: expected NAME sha256:HEX"),
        ("a/b sha256:" + "0" * 64, "keys:1: a key's name is 1 to 64 letters"),
        ("a sha256:" + "0" * 64 + " rpm=5", "keys:1: expected requests_per_minute=N, .*, got 'rpm=5'"),
        (f"a sha256:{'0' * 64}\na sha256:{'1' * 64}", "keys: two keys are named a"),
    ],
)
def test_a_wrong_line_is_told_by_its_place(tmp_path: Path, text: str, message: str) -> None:
    """At the start, so that nobody serves with keys that are not what they seem."""
    (tmp_path / "keys").write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        ring(tmp_path / "keys")


def test_no_file_is_an_error_and_no_keys_means_nobody(tmp_path: Path) -> None:
    """A file that is named is needed; an empty one closes the door."""
    with pytest.raises(ConfigurationError, match=r"api_keys_file: .*missing: cannot be read"):
        ring(tmp_path / "missing")
    (tmp_path / "empty").write_text("")
    assert ring(tmp_path / "empty").required
    assert not ring().required


def test_keys_of_the_environment() -> None:
    """As they are, or hashed; too short a key and a missing name are refused without showing them."""
    keys = ring(variable=f"alice={SECRET}, bob=sha256:{digest_of(OTHER)}")
    assert (found(keys, SECRET), found(keys, OTHER)) == ("alice", "bob")
    for wrong in ("alice=short-secret", SECRET):
        with pytest.raises(ConfigurationError) as caught:
            ring(variable=wrong)
        assert "short-secret" not in str(caught.value)
        assert SECRET not in str(caught.value)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    """Within about a second; while the new one is wrong or gone, the old keys hold."""
    file, clock = tmp_path / "keys", Clock()
    file.write_text(line("alice", SECRET))
    keys = ring(file, clock=clock)
    file.write_text(line("alice", SECRET) + "\n" + line("bob", OTHER))
    assert found(keys, OTHER) is None
    clock.now = 1.5
    assert found(keys, OTHER) == "bob"
    file.write_text("nonsense")
    clock.now = 3.0
    assert found(keys, OTHER) == "bob"
    file.unlink()
    clock.now = 4.5
    assert found(keys, SECRET) == "alice"
    file.write_text(line("bob", OTHER))
    clock.now = 6.0
    assert (found(keys, SECRET), found(keys, OTHER)) == (None, "bob")


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    key_command.add_arguments(parser)
    return key_command.run(parser.parse_args(words))


def test_the_command_makes_a_key_that_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The key on stdout, its line in the file, which only its owner may read."""
    file = tmp_path / "keys"
    file.write_text(line("old", OTHER))
    assert run("alice", "--file", str(file), "--requests-per-minute", "60") == 0
    told = capsys.readouterr()
    key = ring(file).find(told.out.strip())
    assert key is not None
    assert (key.name, key.limits) == ("alice", KeyLimits(60))
    assert key.line in told.err
    assert told.out.strip() not in file.read_text()
    assert found(ring(file), OTHER) == "old"
    with pytest.raises(ConfigurationError, match="two keys are named alice"):
        run("alice", "--file", str(file))
    run("bob", "--file", str(tmp_path / "new"))
    assert os.stat(tmp_path / "new").st_mode & 0o077 == 0


def test_the_command_takes_an_own_key(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """From stdin, so that it stands in no history; not shown again."""
    monkeypatch.setattr("sys.stdin", io.StringIO(SECRET + "\n"))
    assert run("alice", "--own") == 0
    told = capsys.readouterr()
    assert (told.out, line("alice", SECRET) in told.err) == ("", True)
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    with pytest.raises(ConfigurationError, match="24 characters"):
        run("alice", "--own")
    with pytest.raises(ConfigurationError, match="a key's name"):
        run("a b")
