"""Draw docs/compare.svg, the losses of a sweep over learning rates: `python docs/compare.py`, in a few minutes."""

import dataclasses
from pathlib import Path

import clearformer

base = clearformer.RECIPES["pydocs"]()
model = dataclasses.replace(base.model, d_model=64, num_heads=4, num_layers=2, d_ff=256)
runs = []
for peak in (3e-4, 1e-3, 3e-3, 1e-2):
    schedule = dataclasses.replace(base.train.schedule, peak=peak)
    train = dataclasses.replace(base.train, steps=300, validate_every=25, schedule=schedule)
    config = dataclasses.replace(base, model=model, train=train)
    folder = Path("runs/sweep") / f"peak-{peak:g}"
    begun = (folder / "config.json").exists()
    runs.append(clearformer.open_run(folder).resume() if begun else clearformer.train(config, out=folder))

comparison = clearformer.compare(*runs)
print(comparison)
comparison.save(Path(__file__).with_suffix(".svg"))
