# %% [markdown]
# # Are the dense layers different at each attention block?
#
# **In short.** Yes. Every layer of the usual transformer has its own weights, in its attention and in its dense layer;
# the weights are shared only along the text, where each position is treated alike. Layers can share them: it saves
# memory, not work, since every layer is still computed. In the small model below, one dense layer for all four costs
# little, about as much as four narrow ones that together have as many parameters. To share attention as well costs
# more.

# %%
import dataclasses
import os

import matplotlib.pyplot as plt
import numpy as np

from clearformer.data.batches import TextWindows
from clearformer.data.load import load_corpus
from clearformer.data.tokenizers import train_tokenizer
from clearformer.inspection.ablate import ablate
from clearformer.models.build import build
from clearformer.models.gpt import GPT
from clearformer.recipes import tinyshakespeare_minute
from clearformer.training.loop import train
from clearformer.training.loss import mean_loss
from clearformer.training.optimizer import make_optimizer

FULL = os.environ.get("CLEARFORMER_GUIDE") != "short"
L, F = 4, 256
STEPS, SEEDS = (200, (1, 2)) if FULL else (4, (1,))

corpus = load_corpus("pydocs")
tokenizer = train_tokenizer("character", [corpus.train], vocab_size=128)


def windows(text: str) -> TextWindows:
    return TextWindows(np.array(tokenizer.encode_lines(text)), context=64, batch_tokens=768, seed=1)


training, validation = windows(corpus.train[:800_000]), windows(corpus.validation[:40_000])


# %% [markdown]
# Sharing takes one line for each layer: the layers hold the same module, so the same weights, and their gradients add
# up. We train five kinds of decoders of characters on the documentation that every Python carries, each twice, with two
# seeds, so that we see how much is chance. Steps and batches are the same for all:
#
# - *own*: the usual; each of the four layers has a dense layer of its own, of hidden width F;
# - *shared*: one dense layer for all four;
# - *all shared*: attention and dense layer, so one layer is run four times (as in the Universal Transformer, Dehghani
#   et al. 2018, [arXiv:1807.03819](https://arxiv.org/abs/1807.03819), and in ALBERT, Lan et al. 2019,
#   [arXiv:1909.11942](https://arxiv.org/abs/1909.11942));
# - *own, narrow*: dense layers of their own, of width F / 4: as many parameters as *shared*;
# - *shared, wide*: one of width 4 F: as many parameters as *own*, but four times the work.
#
# The last two tell apart what sharing does and what the mere number of parameters does.
#
# **Predict.** Order the five by their loss.


# %%
def trained(seed: int, d_ff: int, *shared: str) -> GPT:
    """A decoder whose layers share the sub-layers of these names, trained by the recipe `tinyshakespeare-minute`."""
    recipe = tinyshakespeare_minute()
    sizes = {"vocab_size": tokenizer.vocab_size, "d_model": 64, "num_layers": L, "d_ff": d_ff, "ngram_buckets": 0}
    model = build(dataclasses.replace(recipe.model, **sizes), seed)
    first, *others = model.decoder.layers
    for layer in others:
        for name in shared:
            setattr(layer, name, first.get_submodule(name))
    config = dataclasses.replace(recipe.train, steps=STEPS, precision="float32")
    for _ in train(model, make_optimizer(model, config), dataclasses.replace(training, seed=seed), config):
        pass
    return model


def loss(model: GPT) -> float:
    """On unseen text, in nats per character."""
    return mean_loss(model, validation.in_order(20_000 if FULL else 1_000))


VARIANTS = {
    "own": (F,),
    "shared": (F, "feed_forward"),
    "all shared": (F, "feed_forward", "attention"),
    "own, narrow": (F // 4,),
    "shared, wide": (4 * F, "feed_forward"),
}
models = {name: [trained(seed, *variant) for seed in SEEDS] for name, variant in VARIANTS.items()}
sizes = {name: sum(weight.numel() for weight in model.parameters()) for name, (model, *_) in models.items()}
losses = {name: [loss(model) for model in trained_models] for name, trained_models in models.items()}
print("loss on unseen text (nats per character)")
print(f"{'dense layers':<14}{'parameters':>12}" + "".join(f"{f'seed {seed}':>9}" for seed in SEEDS))
for name in models:
    print(f"{name:<14}{sizes[name]:>12,}" + "".join(f"{value:>9.3f}" for value in losses[name]))

# %% [markdown]
# The dense layers of their own come first with both seeds, but not by much: by less than a second seed changes the
# loss. (The seed chooses the batches too, so compare within a column.) *Shared* and *own, narrow*, with equally many
# parameters, are nearly level: at this size what counts seems to be the number of parameters rather than who owns them,
# although *shared* does four times the work in its dense layers. To share attention too, so that all layers are one, is
# clearly worse.
#
# *Shared, wide* is the surprise. It has as many parameters as *own* and four times the work in the dense layers, and it
# is worse than *own* and even than *shared*. Why, this experiment does not say. Perhaps four layers pull one large
# matrix in different directions, or it would want another learning rate than the recipe's.
#
# Do the dense layers of one model do different things, then? We take the first model with layers of its own, as
# trained, and exchange the dense layers of two blocks; and we take each away.
#
# **Predict.** What does the exchange cost, and for which two blocks the most? What does it cost to do without one?

# %%
model, whole = models["own"][0], losses["own"][0]
layers = model.decoder.layers
exchanged = np.full((L, L), whole)
for first in range(L):
    for second in range(first):
        a, b = layers[first].feed_forward, layers[second].feed_forward
        layers[first].feed_forward, layers[second].feed_forward = b, a
        exchanged[first, second] = exchanged[second, first] = loss(model)
        layers[first].feed_forward, layers[second].feed_forward = a, b
without = []
for block in range(L):
    with ablate(model, f"decoder.layers.{block}.feed_forward"):
        without.append(loss(model))

print("loss (nats per character) with the dense layers of two blocks exchanged; without one")
print("block  " + "".join(f"{block:>8}" for block in range(L)))
for block, row in enumerate(exchanged):
    print(f"{block:>7}" + "".join(f"{value:>8.2f}" for value in row))
print("without" + "".join(f"{value:>8.2f}" for value in without))

figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3.2), layout="constrained", width_ratios=(1.3, 1))
for name, marker in zip(models, "os^Dv", strict=True):
    left.plot([sizes[name] / 1000] * len(SEEDS), losses[name], marker, markersize=6, label=name, alpha=0.8)
left.set(xlabel="parameters (thousands)", ylabel="loss on unseen text (nats per character)")
left.margins(0.15)
left.legend(fontsize=8)
right.imshow(exchanged, cmap="Oranges", vmin=whole, vmax=whole + 2 * np.ptp(exchanged) + 1e-6)
for (row, column), value in np.ndenumerate(exchanged):
    right.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=9)
right.set(xlabel="block", ylabel="block")
right.set_title("loss with their dense layers exchanged", fontsize=9)
right.set_xticks(range(L))
right.set_yticks(range(L))
figure

# %% [markdown]
# The dense layers of neighbours can be exchanged at next to no cost, less than to take one away: they do nearly the
# same, which is why one for all could do almost as well. The farther apart the blocks, the more it costs; to exchange
# the first and the last costs more than to lose one dense layer altogether. So what a dense layer has learned does fit
# its depth, if only loosely.
#
# All this is a small model after a short training, and the layers may not have had the time to become different. It
# does not say what sharing would cost a large model that is trained for long.

# %%
assert sizes["own"] == sizes["shared, wide"]
assert sizes["own, narrow"] == sizes["shared"]
if FULL:  # the short form stops before anything is learned
    own, shared, all_shared = (np.array(losses[name]) for name in ("own", "shared", "all shared"))
    assert own.mean() < shared.mean() < all_shared.mean()
    assert exchanged[0, L - 1] > max(exchanged[0, 1], exchanged[L - 2, L - 1])
