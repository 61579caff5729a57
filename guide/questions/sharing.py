# %% [markdown]
# # Are the dense layers different at each attention block?
#
# **In short.** TODO

# %%
import dataclasses
import os

import matplotlib.pyplot as plt
import numpy as np

from clearformer.data.batches import TextWindows
from clearformer.data.load import load_corpus
from clearformer.data.tokenizers import train_tokenizer
from clearformer.models.build import build
from clearformer.models.gpt import GPT
from clearformer.recipes import tinyshakespeare_minute
from clearformer.training.loop import train
from clearformer.training.loss import mean_loss
from clearformer.training.optimizer import make_optimizer

FULL = os.environ.get("CLEARFORMER_GUIDE") != "short"
L, F = 4, 256
STEPS = 250 if FULL else 4

corpus = load_corpus("pydocs")
tokenizer = train_tokenizer("character", [corpus.train], vocab_size=128)


def windows(text: str) -> TextWindows:
    return TextWindows(np.array(tokenizer.encode_lines(text)), context=64, batch_tokens=768, seed=1)


training, validation = windows(corpus.train[:800_000]), windows(corpus.validation[:40_000])


# %% [markdown]
# Sharing takes one line for each layer: the layers hold the same module, so the same weights, and their gradients add up.
# We train five decoders of characters on the documentation that every Python carries, with the same steps and batches:
#
# - *own*: the usual; each of the four layers has a dense layer of its own, of hidden width F;
# - *shared*: one dense layer for all four;
# - *all shared*: attention and dense layer, so one layer is run four times (as in the Universal Transformer, Dehghani et
#   al. 2018, [arXiv:1807.03819](https://arxiv.org/abs/1807.03819), and in ALBERT, Lan et al. 2019,
#   [arXiv:1909.11942](https://arxiv.org/abs/1909.11942));
# - *own, narrow*: dense layers of their own, of width F / 4: as many parameters as *shared*;
# - *shared, wide*: one of width 4 F: as many parameters as *own*, but four times the work.
#
# The last two tell apart what sharing does and what the mere number of parameters does.
#
# **Predict.** Order the five by their loss.


# %%
def trained(d_ff: int, *shared: str) -> GPT:
    """A decoder whose layers share the sub-layers of these names, trained by the recipe `tinyshakespeare-minute`."""
    recipe = tinyshakespeare_minute()
    model = build(
        dataclasses.replace(
            recipe.model, vocab_size=tokenizer.vocab_size, d_model=64, num_layers=L, d_ff=d_ff, ngram_buckets=0
        ),
        seed=1,
    )
    for layer in model.decoder.layers[1:]:
        for name in shared:
            setattr(layer, name, model.decoder.layers[0].get_submodule(name))
    config = dataclasses.replace(recipe.train, steps=STEPS, batch_tokens=768, precision="float32")
    for _ in train(model, make_optimizer(model, config), training, config):
        pass
    return model


def loss(model: GPT) -> float:
    """On unseen text, in nats per character."""
    return mean_loss(model, validation.in_order(20_000))


models = {
    "own": trained(F),
    "shared": trained(F, "feed_forward"),
    "all shared": trained(F, "feed_forward", "attention"),
    "own, narrow": trained(F // 4),
    "shared, wide": trained(4 * F, "feed_forward"),
}
sizes = {name: sum(weight.numel() for weight in model.parameters()) for name, model in models.items()}
losses = {name: loss(model) for name, model in models.items()}
print(f"{'dense layers':<14}{'parameters':>12}{'loss on unseen text (nats per character)':>44}")
for name in models:
    print(f"{name:<14}{sizes[name]:>12,}{losses[name]:>44.3f}")

# %% [markdown]
# TODO
#
# **Predict.** We exchange the dense layers of two blocks in the trained model with its own ones. How much does the loss
# rise, and for which two the most?

# %%
layers = models["own"].decoder.layers
exchanged = np.full((L, L), losses["own"])
for first in range(L):
    for second in range(first):
        a, b = layers[first].feed_forward, layers[second].feed_forward
        layers[first].feed_forward, layers[second].feed_forward = b, a
        exchanged[first, second] = exchanged[second, first] = loss(models["own"])
        layers[first].feed_forward, layers[second].feed_forward = a, b
print("loss with the dense layers of two blocks exchanged (nats per character)")
print("block" + "".join(f"{block:>8}" for block in range(L)))
for block, row in enumerate(exchanged):
    print(f"{block:>5}" + "".join(f"{value:>8.2f}" for value in row))

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3.2), layout="constrained", width_ratios=(1.3, 1))
for name, marker in zip(models, "os^Dv", strict=True):
    left.plot(sizes[name] / 1000, losses[name], marker, markersize=7, label=name)
left.set(xlabel="parameters (thousands)", ylabel="loss on unseen text (nats per character)")
left.margins(0.12)
left.legend(fontsize=8)
right.imshow(exchanged, cmap="Oranges")
for (row, column), value in np.ndenumerate(exchanged):
    right.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=9)
right.set(xlabel="block", ylabel="block", title="loss with their dense layers exchanged")
right.set_xticks(range(L))
right.set_yticks(range(L))
right.title.set_fontsize(9)
figure
