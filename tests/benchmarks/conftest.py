"""The benchmarks are scripts: their folder is not a package, and is on the path only for their own tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
