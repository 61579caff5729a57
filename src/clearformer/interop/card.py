"""The model card of an exported run: what it was trained on and how, and how well, with its loss curve."""

import json
from pathlib import Path
from typing import Any

from clearformer import __version__
from clearformer.inspection.figures import loss_figure, png
from clearformer.inspection.report import DISPLAY_NAMES, NAMES, uniform_loss, unit
from clearformer.interop.formats import Format
from clearformer.models.initial import count_parameters
from clearformer.runs import metrics
from clearformer.runs.checkpoint import newest_step
from clearformer.runs.folder import RunFolder

PICTURE = "loss.png"
TASKS = {
    "gpt": ("text-generation", "AutoModelForCausalLM"),
    "bert": ("fill-mask", "AutoModelForMaskedLM"),
    "transformer": ("translation", "AutoModelForSeq2SeqLM"),
}


def write_card(run: RunFolder, format_: Format, folder: Path) -> None:
    """Write README.md, and the loss curve if the run has metrics."""
    step = newest_step(run.trained) or 0
    lines = [line for line in metrics.read(run.metrics) if line["step"] <= step]
    if lines:
        (folder / PICTURE).write_bytes(png(loss_figure(lines, uniform_loss(run.config.model), unit(run))))
    (folder / "README.md").write_text(_card(run, format_, step, lines), encoding="utf-8")


def _card(run: RunFolder, format_: Format, step: int, lines: list[dict[str, Any]]) -> str:
    model, task = run.config.model, TASKS[format_.kind]
    figures = {
        "Model": f"{NAMES[model.kind]} of {count_parameters(model):,} parameters, as a {format_.architecture}",
        "Data": _data(run),
        "Training": f"{step:,} steps with {DISPLAY_NAMES[run.config.train.optimizer]}",
        **_losses(lines),
    }
    rows = "\n".join(f"| {name} | {value} |" for name, value in figures.items())
    curve = f"\n![The loss over the steps of training]({PICTURE})\n" if lines else ""
    settings = json.dumps({name: json.loads(run.config.to_json())[name] for name in ("model", "train")}, indent=2)
    return f"""---
library_name: transformers
pipeline_tag: {task[0]}
tags:
- clearformer
---

# {run.folder.resolve().name}

Exported by clearformer {__version__} from the run `{run.folder.resolve().name}`.

| | |
| --- | --- |
{rows}
{curve}
```python
from transformers import {task[1]}, AutoTokenizer

model = {task[1]}.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
```

The settings it was trained with:

```json
{settings}
```
"""


def _data(run: RunFolder) -> str:
    """The data's name, without the paths of this machine, and the sizes of its splits."""
    known = json.loads((run.folder / "data.json").read_text(encoding="utf-8"))
    if "source" in known:
        return f"imported from {Path(known['source']).name}, and not trained since"
    sizes = ", ".join(f"{split} {size:,}" for split, size in known.get("sizes", {}).items())
    return f"{known.get('name')} ({sizes} {known.get('kind')})"


def _losses(lines: list[dict[str, Any]]) -> dict[str, str]:
    if not lines:
        return {}
    measured = [line["validation_loss"] for line in lines if "validation_loss" in line]
    validation = {"Validation loss": f"{measured[-1]:.3f} nats per token"} if measured else {}
    return {"Training loss": f"{lines[-1]['loss']:.3f} nats per token"} | validation
