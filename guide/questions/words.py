# %% [markdown]
# # Shakespeare by words: does it matter whether windows overlap?
#
# **In short.** One often reads that overlapping windows lead to overfitting. With equally many steps it is the other
# way round: a model that sees the same windows in each pass overfits more than one whose windows begin anywhere. At the
# best moment the two are nearly the same. What leads to overfitting is to read the same text too often, and there the
# advice has its point: whoever counts one *epoch* for all overlapping windows has, by its end, read each word as often
# as a window has words.
#
# The text is Shakespeare's, by words; where it cannot be downloaded, the documentation that every Python carries.

# %%
import os
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np

from clearformer.config import CosineSchedule, GPTConfig, TrainConfig
from clearformer.data.batches import Batches, TextBatch, TextWindows
from clearformer.data.corpora import TextCorpus
from clearformer.data.load import load_corpus
from clearformer.data.tokenizers import train_tokenizer
from clearformer.errors import DownloadError
from clearformer.models.build import build
from clearformer.training.loop import train
from clearformer.training.loss import mean_loss
from clearformer.training.optimizer import make_optimizer

FULL = os.environ.get("CLEARFORMER_GUIDE") != "short"
T, ROWS = 32, 32
PASSES = 20 if FULL else 1


def shakespeare() -> TextCorpus:
    """Shakespeare, downloaded once; else, and in the short form, the documentation that every Python carries."""
    if FULL:
        try:
            return load_corpus("tinyshakespeare")
        except DownloadError:
            print("Shakespeare could not be downloaded; here is the documentation of Python instead")
    return load_corpus("pydocs")


corpus = shakespeare()
tokenizer = train_tokenizer("word", [corpus.train], vocab_size=3000)
words, unseen = (
    np.array(tokenizer.encode_lines(text)) for text in (corpus.train[:400_000], corpus.validation[:100_000])
)
words, unseen = words[: T * ROWS * (32 if FULL else 8)], unseen[:10_000]
print(f"{corpus.name}: {len(words):,} words and punctuation marks to train on, {len(unseen):,} to test")
print(f"windows of {T}: {len(words) // T:,} without overlap, {len(words) - T:,} overlapping")
print("the first eight words:", [tokenizer.token_text(word) for word in words[:8].tolist()])

# %% [markdown]
# Our tokenizer cuts where words begin and end, as `re.split(r"\b", text)` does, but leaves the space before a word with
# the word. Words that are rare in the whole text become `<unk>`. We train on a small part of the text only, so that
# overfitting comes within minutes.
#
# A language model reads *windows* of T tokens, T = 32 here. There are two ways to cut them:
#
# - *without overlap*: 0 to 31, 32 to 63 and so on, in a new random order in each pass; each word is in one window;
# - *overlapping*: windows that begin anywhere, at random; each word is in 32 different windows.
#
# The same model is trained in both ways, with as many steps. We count *passes*: one pass reads as many tokens as the
# text has.
#
# **Predict.** Which of the two overfits more, so that the loss on unseen text is higher in the end?


# %%
@dataclass(frozen=True)
class Blocks(Batches):
    """Windows without overlap, all of them in each pass, in a new order."""

    tokens: np.ndarray

    @property
    def batches_per_epoch(self) -> int:
        return len(self.tokens) // (T * ROWS)

    def batch(self, step: int) -> TextBatch:
        starts = np.arange(0, len(self.tokens) - T, T)
        number, index = divmod(step, self.batches_per_epoch)
        order = np.random.default_rng([1, number]).permutation(starts)
        at = order[index * ROWS : (index + 1) * ROWS, None] + np.arange(T)
        return TextBatch(self.tokens[at], self.tokens[at + 1])


overlapping = TextWindows(words, T, T * ROWS, seed=1)
tested = list(TextWindows(unseen, T, T * ROWS, seed=1).in_order())


def curves(batches: Batches) -> tuple[list[float], list[float]]:
    """Train a model; for each pass, the mean training loss in it and the loss on unseen text after it."""
    config = GPTConfig(tokenizer.vocab_size, T, d_model=64, num_heads=4, num_layers=2, d_ff=256, dropout=0.0)
    model = build(config, seed=1)
    in_a_pass = batches.batches_per_epoch
    schedule = CosineSchedule(peak=3e-3, final=3e-4, warmup_steps=in_a_pass)
    settings = TrainConfig(steps=PASSES * in_a_pass, schedule=schedule)
    seen, losses, unseen_losses = [], [], []
    for update in train(model, make_optimizer(model, settings), batches, settings):
        seen.append(update.loss)
        if update.step % in_a_pass == 0:
            losses.append(float(np.mean(seen[-in_a_pass:])))
            unseen_losses.append(mean_loss(model, tested))
    return losses, unseen_losses


results = {"without overlap": curves(Blocks(words)), "overlapping": curves(overlapping)}
print("loss, nats per word" + "".join(f"{name:^22}" for name in results))
print(f"{'pass':<19}" + f"{'training':>11}{'unseen':>11}" * 2)
for number in sorted({0, 1, 2, 3, 4, 9, 14, 19} & set(range(PASSES))):
    print(f"{number + 1:<19}" + "".join(f"{a[number]:>11.2f}{b[number]:>11.2f}" for a, b in results.values()))
for name, (_, unseen_loss) in results.items():
    print(f"{name}: lowest on unseen text {min(unseen_loss):.2f}, after pass {1 + int(np.argmin(unseen_loss))}")
counts = np.bincount(words, minlength=tokenizer.vocab_size) + 1
frequencies = -np.log(counts / counts.sum())[unseen].mean()
print(f"by the frequencies of words alone: {frequencies:.2f}")

# %%
figure, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
for (name, (training_loss, unseen_loss)), colour in zip(results.items(), ("C0", "C1"), strict=True):
    marker = "o" if name == "overlapping" else "s"
    axes.plot(range(1, PASSES + 1), unseen_loss, f"{marker}-", color=colour, markersize=4, label=f"{name}, unseen text")
    axes.plot(range(1, PASSES + 1), training_loss, f"{marker}:", color=colour, markersize=4, label=f"{name}, training")
axes.set(xlabel="passes over the text", ylabel="loss (nats per word)")
axes.axhline(frequencies, color="0.5", linestyle=":", label="word frequencies, unseen text")
axes.xaxis.get_major_locator().set_params(integer=True)
axes.legend(fontsize=8)
figure

# %% [markdown]
# Both overfit, and the picture shows how it looks: the training loss goes on falling, while the loss on unseen text
# falls for a few passes and then rises again. From there on the model learns this text by heart, not the language.
# Nothing in the training loss tells when that begins; only text that was kept aside does.
#
# Without overlap it goes faster. In each pass the same 32 words come in the same window, each at the same position with
# the same words before it, so they can be learned as one piece. With windows that begin anywhere a word is met with few
# words before it and with many: the same text, but less of it is the same from pass to pass. The lowest loss on unseen
# text differs little; without overlap it is left behind faster.
#
# So why the advice? A data loader that takes *all* overlapping windows, one beginning at each word, has 32 times as
# many. One epoch over them reads each word 32 times, more passes than the picture has. Even the first epoch then
# overfits, and it looks as if the overlap were to blame. Count tokens, or passes, and stop where the loss on unseen
# text is lowest; with a text as short as this one that is after a few passes in either case.

# %%
final = {name: (training_loss[-1], unseen_loss[-1]) for name, (training_loss, unseen_loss) in results.items()}
if FULL:  # the short form makes one pass, in which nothing is seen twice
    for name, (_, unseen_loss) in results.items():
        assert min(unseen_loss) < frequencies, f"{name}: no better than the frequencies of words"
        assert final[name][0] < final[name][1] - 0.5, f"{name} has not overfitted"
        assert final[name][1] > min(unseen_loss) + 0.1, f"{name} has not overfitted"
    assert final["without overlap"][1] > final["overlapping"][1] + 0.1
