"""Make what tests of one subject share importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
