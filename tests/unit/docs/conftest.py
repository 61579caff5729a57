"""The site's generator stands outside the package, so tests import it from the checkout."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))
