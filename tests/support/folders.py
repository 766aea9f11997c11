"""Paths of the repository, the tests' data and the stand-in models."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"
CONTRACT = DATA / "contract"
STANDINS = ROOT / "tests" / "support" / "live"
