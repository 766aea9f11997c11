"""Where the repository, the tests' data and the stand-in models lie; tests ask here, so that they may move."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"
CONTRACT = DATA / "contract"
STANDINS = ROOT / "tests" / "support" / "live"
