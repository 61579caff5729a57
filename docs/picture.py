"""Draw README's picture: the cross-attention of a date. `python docs/picture.py runs/dates` after training `dates`."""

import sys
from pathlib import Path

from clearformer.inspection.figures import attention_map
from clearformer.inspection.report import cross_attention
from clearformer.models.transformer import Transformer
from clearformer.runs.folder import open_run
from clearformer.runs.session import load_model

SOURCE, TARGET = "Thursday, March 30, 2023", "2023-03-30"

run = open_run(Path(sys.argv[1]), print)
model, _ = load_model(run)
assert isinstance(model, Transformer)
picture = Path(__file__).parent / "attention.svg"
picture.write_text(attention_map(*cross_attention(model, run.tokenizer, SOURCE, TARGET)), encoding="utf-8")
print(picture)
