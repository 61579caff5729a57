"""Draw README's picture, the cross-attention of a date: `python docs/picture.py runs/dates`, after training `dates`."""

import sys
from pathlib import Path

import clearformer

SOURCE, TARGET = "Thursday, March 30, 2023", "2023-03-30"

picture = Path(__file__).parent / "attention.svg"
clearformer.open_run(sys.argv[1]).attention(SOURCE, TARGET).save(picture)
print(picture)
