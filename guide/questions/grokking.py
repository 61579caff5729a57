# %% [markdown]
# # Why does a model understand so long after it has memorised?
#
# **In short.** A small transformer that is shown half of all sums modulo 97 knows them by heart after some 200 steps,
# and of the other half it knows nothing. Trained on, it suddenly answers those as well. That is *grokking*. Nothing
# sudden happens inside: from the beginning two solutions grow side by side, a table of answers and a way to calculate,
# and weight decay makes the table dearer every step. The way to calculate can be read off the weights: the model places
# the numbers on circles and adds angles.
#
# Power et al. 2022 ([arXiv:2201.02177](https://arxiv.org/abs/2201.02177)) found it; Nanda et al. 2023
# ([arXiv:2301.05217](https://arxiv.org/abs/2301.05217)) took such a model apart. Here we do the same, with their model:
# one layer, no norms, 97 + 5 tokens, and *a b =* as its whole text.

# %%
import dataclasses
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

import clearformer
from clearformer.config import Config
from clearformer.inspection.grokking.activations import number_logits, number_rows
from clearformer.inspection.grokking.circuit import circuit
from clearformer.inspection.grokking.fourier import spectrum
from clearformer.inspection.grokking.history import history
from clearformer.models.initial import initial_weights, parameter_shapes
from clearformer.recipes import grok_quick
from clearformer.runs import metrics
from clearformer.runs.checkpoint import checkpoint_folders, load_checkpoint

FULL = os.environ.get("CLEARFORMER_GUIDE") != "short"
CONFIG = grok_quick()
CONFIG = dataclasses.replace(CONFIG, train=dataclasses.replace(CONFIG.train, weight_decay=1.0))  # half: it waits longer
if not FULL:
    CONFIG = dataclasses.replace(
        CONFIG,
        modular=dataclasses.replace(CONFIG.modular, modulus=7),
        model=dataclasses.replace(CONFIG.model, d_model=16, d_ff=32),
        train=dataclasses.replace(CONFIG.train, steps=12, validate_every=4, milestones=2),
    )
P = CONFIG.modular.modulus
folder = tempfile.TemporaryDirectory()


def trained(name: str, config: Config) -> clearformer.Run:
    return clearformer.train(config, out=Path(folder.name) / name)


def milestones(run: clearformer.Run) -> Iterator[tuple[int, Mapping[str, np.ndarray]]]:
    """Each step whose weights were kept, and these."""
    for path in checkpoint_folders(run.milestones):
        checkpoint = load_checkpoint(path, {"model": parameter_shapes(run.config.model)})
        yield checkpoint.step, checkpoint.tensors["model"]


# %% [markdown]
# Of the 97 · 97 sums we show the model half, all of them in every step. It starts from a uniform guess, a loss of ln
# 102 = 4.6 nats.
#
# **Predict.** Draw two curves over the steps, with a logarithmic axis: the loss of the sums that the model is shown,
# and that of the others. What does the second do while the first falls to nothing?

# %%
run = trained("grokking", CONFIG)
lines = metrics.read(run.metrics)
held_out = [line for line in lines if "validation_loss" in line]
first = {
    "shown": next((line["step"] for line in lines if line["loss"] < 0.1), None),
    "held out": next((line["step"] for line in held_out if line["validation_loss"] < 0.1), None),
}
for name, step in first.items():
    print(f"{name:<9} loss below 0.1 from step {step}")


def curves(*drawn: tuple[str, list[dict[str, float]], str]) -> plt.Figure:
    """Each with a name, lines of metrics, and the key to draw."""
    figure, axes = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
    for (name, points, key), style in zip(drawn, ("-", "o-", "s--"), strict=False):
        axes.plot([line["step"] for line in points], [line[key] for line in points], style, markersize=3, label=name)
    axes.set(xscale="log", yscale="log", xlabel="step", ylabel="loss (nats)")
    axes.legend(fontsize=8)
    return figure


curves(("shown", lines, "loss"), ("held out", held_out, "validation_loss"))

# %% [markdown]
# While the model learns its half by heart, the other half gets *worse* than a guess: it is sure of wrong answers. Any
# sensible person would have stopped training there. Then, with nothing left to learn, it comes down.
#
# **Predict.** Weight decay pulls every weight towards zero in every step. What happens without it?

# %%
settings = dataclasses.replace(CONFIG.train, weight_decay=0.0, steps=lines[-1]["step"])
without = trained("without", dataclasses.replace(CONFIG, train=settings))
no_decay = [line for line in metrics.read(without.metrics) if "validation_loss" in line]
print(f"loss of the held-out sums at step {no_decay[-1]['step']}")
print(f"weight decay {CONFIG.train.weight_decay:g}   {held_out[-1]['validation_loss']:8.3f}")
print(f"weight decay 0   {no_decay[-1]['validation_loss']:8.3f}")
curves(
    ("shown", lines, "loss"),
    ("held out", held_out, "validation_loss"),
    ("held out, no weight decay", no_decay, "validation_loss"),
)

# %% [markdown]
# Without weight decay nothing pushes the table out, and it stays.
#
# What has the model found? A number modulo 97 is a place on a circle, like the hour on a clock of 97 hours. So let us
# ask of what waves the embedding is made, as one asks of what tones a sound is: column by column, how much of it is a
# cosine or a sine that goes round once as the number goes from 0 to 96, how much goes round twice, and so on.
#
# **Predict.** The embedding of an untrained model is noise, which holds all frequencies alike. How many does the
# trained one hold?

# %%
embedding = number_rows(run.model.embedding.weight)
untrained = initial_weights(run.config.model, run.config.train.seed)["embedding.weight"]
figure, axes = plt.subplots(figsize=(6.4, 2.8), layout="constrained")
for offset, name, rows in ((-0.2, "untrained", number_rows(torch.from_numpy(untrained))), (0.2, "trained", embedding)):
    power = spectrum(rows)[1:].numpy()
    axes.bar(np.arange(1, len(power) + 1) + offset, power / power.sum(), 0.4, label=name)
axes.set(xlabel="frequency: times round as the number goes round once", ylabel="share of the embedding")
axes.legend(fontsize=8)
figure

# %% [markdown]
# A few stand out. But what is in the embedding need not be used. So we ask the answers themselves: of the logits of all
# equations, how much is a wave cos(w(a + b - c))? Such a wave is largest where c is the right answer. The fewest
# frequencies that hold 95 % of what stands above the noise are the *key frequencies*.
#
# **Predict.** Take the number's place on the circle of each key frequency, as the embedding holds it, and draw all 97
# numbers. In what order do they come round?

# %%
corpus = run.corpus
found = history(run.model, milestones(run), corpus, "add")
print("key frequencies:", *found.frequencies)


def circle(k: int) -> np.ndarray:
    """The place of each number, [P, 2]: the embedding along its own cosine and sine of frequency k."""
    angles = 2 * np.pi * k * np.arange(P) / P
    rows = embedding.numpy()
    waves = np.stack((np.cos(angles), np.sin(angles)), -1)
    directions = waves.T @ rows
    return rows @ (directions / np.linalg.norm(directions, axis=1, keepdims=True)).T


shown = found.frequencies[:4]
figure, axes = plt.subplots(1, len(shown), figsize=(7.2, 2.1), layout="constrained", squeeze=False)
for axis, k in zip(axes[0], shown, strict=True):
    places = circle(k)
    dots = axis.scatter(*places.T, c=np.arange(P) * k % P, cmap="twilight", s=14)
    axis.set(title=f"frequency {k}", aspect="equal", xticks=[], yticks=[])
    for number in (0, 1, 2):
        axis.annotate(str(number), places[number], fontsize=8)
figure

# %% [markdown]
# They stand on a circle, and from one number to the next one walks k steps of 97: at frequency 25, from 0 to 1 is a
# quarter round. On a circle adding is turning: the angle of a plus the angle of b is the angle of a + b. The layer does
# it by the identities of trigonometry: products of cosines and sines of a and b, which attention and ReLU provide, make
# the cosine and sine of a + b. The output matrix then compares that with the angle of every c.
#
# Then we should be able to do the model's work without the model.
#
# **Predict.** We write down the logits as nothing but Σ α cos(w(a + b - c)), with one number α for each key frequency,
# a handful of numbers in place of some 224,000. How many of all sums are right? And if we take these waves out of the
# model's own logits, how many are still?

# %%
understood = circuit(number_logits(run.model), found.frequencies)
print(
    f"numbers in the formula: {len(understood.frequencies)}, share of the logits' variance: {understood.explained:.1%}"
)
print(f"{'':<28}{'right':>8}{'loss':>10}")
for name, outcome in (
    ("the model", understood.model),
    ("the formula", understood.rebuilt),
    ("the model without the waves", understood.excluded),
):
    print(f"{name:<28}{outcome.accuracy:>8.1%}{outcome.loss:>10.4f}")

# %% [markdown]
# The formula is right everywhere, so the model has been understood; and without its waves the model knows nothing, not
# even the sums that it was shown.
#
# One question is left. The held-out loss hides what happens before it falls. Now that we know what the model is on its
# way to, we can ask every earlier one how much of it is there: the *restricted* loss is that of the waves alone, the
# *excluded* loss that of the shown sums without the waves, which is what the table of answers can do.
#
# **Predict.** Which of the three falls first: the restricted, or the held-out loss? And when does the excluded rise?

# %%
steps = [each.step for each in found.measures]
excluded = [each.excluded_loss for each in found.measures]
restricted = next((each.step for each in found.measures if each.restricted_loss < 0.1), None)
print(f"excluded   lowest at step {steps[excluded.index(min(excluded))]}")
print(f"restricted below 0.1 from step {restricted}")
print(f"held out   below 0.1 from step {first['held out']}")
figure, axes = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
for name, style, values in (
    ("held out", "o-", [each.held_out_loss for each in found.measures]),
    ("restricted: the waves alone", "s--", [each.restricted_loss for each in found.measures]),
    ("excluded: shown sums without the waves", "^-.", excluded),
):
    axes.plot(steps, values, style, markersize=3, label=name)
axes.set(xscale="log", yscale="log", xlabel="step", ylabel="loss (nats)")
axes.legend(fontsize=8)
figure

# %% [markdown]
# The excluded loss falls a little at first, which is memorising without waves, and turns while from outside nothing is
# to be seen yet: from then on the waves do the work. The restricted loss is down long before the held-out loss, for the
# waves alone calculate right already, while the table, which shouts wrong answers for sums that it has never seen, is
# still there. Cleaning it up is what takes so long, and the end of it looks sudden from outside.
#
# `clearformer grok` trains the other presets, with fewer sums shown and a much longer wait; its report and `clearformer
# explore` show the circles form, checkpoint by checkpoint.

# %%
if FULL:  # the short form stops long before
    assert first["shown"] * 2 < first["held out"]
    assert no_decay[-1]["validation_loss"] > 1.0
    assert understood.rebuilt.accuracy == 1.0
    assert understood.excluded.accuracy < 0.1
    assert restricted < first["held out"]
folder.cleanup()
