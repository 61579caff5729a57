# %% [markdown]
# # Why are there so many skip connections?
#
# **In short.** Attention replaces a token's vector by a mean of other tokens' vectors. Without the connection that adds
# the input back, a few layers of it make all tokens the same, and a model whose tokens are all the same can predict
# nothing but the frequencies of characters. With it, each sub-layer only *adds* something, what a token was stays
# there, and the gradient has a straight way down. Removing the connection around attention alone, or around
# feed-forward alone, is already enough to stop learning here.
#
# Usually one reads that the gradient vanishes without skip connections. Below that is true only of a model without
# norms as well. So we look at both: the gradients, and the tokens.

# %%
import copy
import os

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor, nn

from clearformer.blocks.residual import Sublayer
from clearformer.config import CosineSchedule, GPTConfig, TrainConfig
from clearformer.data.batches import TextWindows
from clearformer.data.load import load_corpus
from clearformer.data.tokenizers import train_tokenizer
from clearformer.inspection.record import record
from clearformer.models.build import build
from clearformer.models.gpt import GPT
from clearformer.training.loop import train
from clearformer.training.loss import mean_loss, summed_loss
from clearformer.training.optimizer import make_optimizer

FULL = os.environ.get("CLEARFORMER_GUIDE") != "short"
L, STEPS = (6, 250) if FULL else (4, 10)

corpus = load_corpus("pydocs")
tokenizer = train_tokenizer("character", [corpus.train], vocab_size=128)


def windows(text: str) -> TextWindows:
    return TextWindows(np.array(tokenizer.encode_lines(text)), context=64, batch_tokens=1024, seed=1)


training, validation = windows(corpus.train[:400_000]), windows(corpus.validation[:40_000])


class WithoutSkip(nn.Module):
    """The sub-layer of the normalised input, in place of the input plus that."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor, sublayer: Sublayer) -> Tensor:
        return sublayer(self.norm(x))


ATTENTION, FEED_FORWARD = "attention_residual", "feed_forward_residual"


def decoder(*removed: str, norms: bool = True) -> GPT:
    """A decoder of L layers for characters, without the skip connections of these names, or without norms too."""
    config = GPTConfig(tokenizer.vocab_size, 64, d_model=64, num_heads=4, num_layers=L, d_ff=256, dropout=0.0)
    model = build(config, seed=1)
    for layer in model.decoder.layers:
        for name in removed:
            norm = layer.get_submodule(name).norm
            setattr(layer, name, WithoutSkip(norm if norms else nn.Identity()))
    return model


models = {
    "all skips": decoder(),
    "none at attention": decoder(ATTENTION),
    "none at feed-forward": decoder(FEED_FORWARD),
    "no skips": decoder(ATTENTION, FEED_FORWARD),
    "no skips, no norms": decoder(ATTENTION, FEED_FORWARD, norms=False),
}

# %% [markdown]
# The model is a decoder of characters, trained on the documentation that every Python carries. We build it five times
# with the same weights: as it is; without the skip connection around attention; around feed-forward; without any; and
# without any and without the norms. Before training we send one batch through and measure in each layer
#
# - the *gradient*: the length of the loss's gradient at the layer's query, key and value matrix;
# - the *likeness* of the tokens that enter it: the mean cosine between the vectors of two tokens of the same text. It
#   is 1 if all tokens are the same vector, up to its length.
#
# **Predict.** In which of the five is the gradient of the first layer smallest? And which makes the tokens most alike?


# %%
def gradients_and_likeness(model: GPT) -> tuple[list[float], list[float]]:
    """For each layer: the gradient's length at the QKV matrix, and the mean cosine between tokens that enter."""
    model = copy.deepcopy(model).double()  # without norms the numbers fall below the smallest of float32
    batch = training.batch(0)
    with record(model, "stream") as trace:
        loss = summed_loss(model(torch.from_numpy(batch.tokens)), torch.from_numpy(batch.targets)) / batch.num_tokens
    loss.backward()
    gradients = [layer.attention.qkv_projection.weight.grad.norm().item() for layer in model.decoder.layers]
    likeness = []
    for x in list(trace["stream"].values())[:L]:
        directions = x / x.norm(dim=-1, keepdim=True)
        count = x.shape[1]
        others = (directions @ directions.mT).sum((1, 2)) - count  # without each token's likeness to itself
        likeness.append(others.mean().item() / (count * (count - 1)))
    return gradients, likeness


measured = {name: gradients_and_likeness(model) for name, model in models.items()}
shown = sorted({0, 1, L // 2, L - 1})
print(f"{'':<22}{'gradient':^36}   {'likeness of tokens':^28}")
print(f"{'layer':<22}" + "".join(f"{layer:>9}" for layer in shown) + "   " + "".join(f"{layer:>7}" for layer in shown))
for name, (gradients, likeness) in measured.items():
    print(f"{name:<22}" + "".join(f"{gradients[layer]:>9.0e}" for layer in shown), end="   ")
    print("".join(f"{likeness[layer]:>7.2f}" for layer in shown))

STYLES = dict(zip(models, ("o-", "s--", "^-.", "v:", "x-"), strict=True))
figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.2), layout="constrained")
for name, (gradients, likeness) in measured.items():
    left.plot(gradients, STYLES[name], markersize=5, label=name)
    right.plot(likeness, STYLES[name], markersize=5)
left.set(yscale="log", xlabel="layer", ylabel="gradient at the QKV matrix")
left.legend(fontsize=8, loc="center")
right.set(xlabel="layer", ylabel="likeness of the tokens that enter", ylim=(-0.05, 1.05))
figure

# %% [markdown]
# The *gradient* does not vanish in any model that has norms, skip connections or not. It is even larger without them:
# the norm in front of each sub-layer scales the vectors up to the same size again, and the gradient on its way back
# with them. Only without norms does it vanish, and then it does so thoroughly: the weights begin small, so each
# sub-layer makes the vectors smaller, and what is left is far below anything an optimizer can use.
#
# The *likeness* is what sets the four apart. In the whole model tokens stay as different as they came in. Where
# attention has no skip connection the tokens are nearly the same behind two layers, for a fresh head looks everywhere
# about equally, and the means of nearly the same tokens are nearly the same. Without the connection around feed-forward
# it takes more layers, but the direction is the same. (That attention alone makes all tokens the same, and how fast, is
# a theorem: Dong et al. 2021, [arXiv:2103.03404](https://arxiv.org/abs/2103.03404).)
#
# **Predict.** Which of the five can learn? Training might mend what the first weights spoil.

# %%
losses, tested = {}, {}
for name, model in models.items():
    config = TrainConfig(steps=STEPS, schedule=CosineSchedule(peak=3e-3, final=0.0, warmup_steps=STEPS // 10))
    losses[name] = [update.loss for update in train(model, make_optimizer(model, config), training, config)]
    tested[name] = mean_loss(model, validation.in_order(20_000 if FULL else 1_000))
counts = np.bincount(training.tokens, minlength=tokenizer.vocab_size) + 1
surprise = -np.log(counts / counts.sum())  # of each character, for who knows only how frequent it is
frequencies = surprise[validation.tokens[:20_000]].mean()
print(f"{STEPS} steps                loss on unseen text (nats per character)")
for name, loss in tested.items():
    print(f"{name:<22} {loss:>6.3f}")
print(f"{'letter frequencies':<22} {frequencies:>6.3f}")

figure, axes = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
for name, values in losses.items():
    axes.plot(values, STYLES[name], markevery=STEPS // 10, markersize=5, linewidth=1.0, label=name)
axes.axhline(surprise[training.tokens].mean(), color="0.5", linestyle=":", label="letter frequencies")
axes.set(xlabel="step", ylabel="training loss (nats per character)")
axes.legend(fontsize=8)
figure

# %% [markdown]
# One learns. The other four come down to about the loss of somebody who knows how frequent each character is and
# nothing of the text before, and stay there: which is what a model must do whose tokens are all the same. Only the one
# without the connection around feed-forward, whose tokens were the least alike of the four, gets a little below. The
# vanished gradient and the three that were larger than the whole model's end alike: a gradient is of little use if it
# says the same of all tokens.
#
# So in a model with norms the answer to *why skip connections* is less that the gradient must come down than that the
# token must go up: each layer receives what was there before and adds to it, and at first, when it has nothing to say,
# adds little. With more care, such as other first weights and another attention, deep transformers without skip
# connections have been trained (He et al. 2023, [arXiv:2302.10322](https://arxiv.org/abs/2302.10322)); none of it is as
# simple as an addition.

# %%
for name, (gradients, likeness) in measured.items():
    if name == "no skips, no norms":
        assert max(gradients) < 1e-9
    else:
        assert min(gradients) > 1e-2
    if name == "all skips":
        assert likeness[-1] < 0.2
    elif name != "none at feed-forward":
        assert likeness[-1] > 0.8
if FULL:  # the short form stops before anything is learned
    assert tested["all skips"] < frequencies - 0.5
    assert all(loss > frequencies - 0.2 for name, loss in tested.items() if name != "all skips")
