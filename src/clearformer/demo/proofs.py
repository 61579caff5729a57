"""Four proofs that a transformer is correct, each a claim with a measurement.

1 it can overfit a tiny set      2 it is better trained than untrained
3 saved, reloaded and with the cache, it generates the same      4 no token sees the future
"""

import dataclasses
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import torch

from clearformer.config import CosineSchedule
from clearformer.data.batches import PairBuckets, TextBatch
from clearformer.data.corpora import PairCorpus
from clearformer.data.tokenizers import EOS
from clearformer.evaluation.evaluate import measure
from clearformer.generation.decoding import generate
from clearformer.generation.sampling import GREEDY
from clearformer.generation.translation import translate
from clearformer.models.build import build
from clearformer.models.gpt import GPT
from clearformer.models.transformer import Transformer
from clearformer.runs.folder import RunFolder
from clearformer.runs.session import load_model, untrained_model
from clearformer.training.device import choose_device, move
from clearformer.training.loop import train
from clearformer.training.loss import mean_loss
from clearformer.training.optimizer import make_optimizer

TINY_PAIRS = 8
TINY_LOSS = 0.01
TINY_STEPS = 400
MIN_EXACT_MATCH = 0.99
"""required share of unseen dates that are exactly right"""
LEAK_TOLERANCE = 1e-5
"""a sum in another order may differ by 1e-6 in float32; a leaked token moves logits by 0.01 and more"""


@dataclass(frozen=True)
class Verdict:
    """Whether a claim held, and what was measured."""

    claim: str
    holds: bool
    measured: str


def learns_a_tiny_set(run: RunFolder) -> Verdict:
    """Train on eight pairs, from the initial weights, to a loss near zero."""
    full = run.batches("train")
    assert isinstance(full, PairBuckets)
    device = choose_device(run.config.train.device)
    tiny = PairBuckets(full.pairs[:TINY_PAIRS], batch_tokens=10**6, seed=1)
    model = build(run.config.model, seed=1).to(device)
    config = dataclasses.replace(run.config.train, steps=TINY_STEPS, schedule=CosineSchedule(peak=2e-3))
    for record in train(model, make_optimizer(model, config), tiny, config):
        if record.step % 20 == 0 and (loss := mean_loss(model, tiny.in_order())) < TINY_LOSS:
            break
    measured = f"loss {loss:.4f} on {TINY_PAIRS} dates after {record.step} steps (under {TINY_LOSS} wanted)"
    return Verdict("a tiny set is learned by heart", loss < TINY_LOSS, measured)


def training_helped(dates: RunFolder, pydocs: RunFolder) -> Verdict:
    """Exact match on unseen dates, and loss on unseen text, compared with the untrained models."""
    after, before = _scores(dates)
    text_after, text_before = _scores(pydocs)
    right = after["exact_match"]
    measured = (
        f"{right:.1%} of {len(dates.corpus.test):,} unseen dates exactly right, untrained {before['exact_match']:.1%}; "
        f"loss on unseen documentation {text_after['loss']:.2f}, untrained {text_before['loss']:.2f}"
    )
    better = right > before["exact_match"] and text_after["loss"] < text_before["loss"]
    return Verdict("the trained models beat the untrained ones", better and right >= MIN_EXACT_MATCH, measured)


def _scores(run: RunFolder) -> tuple[dict[str, Any], dict[str, Any]]:
    """Test scores of the trained and of the untrained model."""
    batches = run.batches("test")
    return measure(run, load_model(run)[0], "test", batches), measure(run, untrained_model(run), "test", batches)


def reloaded_is_the_same(dates: RunFolder, pydocs: RunFolder) -> Verdict:
    """Compare the command in a new process, with the cache, to full forward passes here."""
    assert isinstance(dates.corpus, PairCorpus)
    new_tokens, sources = 60, [source for source, _ in dates.corpus.test[:20]]
    prompts = [str(pydocs.corpus.test)[start : start + length] for start, length in ((0, 12), (500, 30), (900, 55))]
    gpt, _ = load_model(pydocs)
    translator, _ = load_model(dates)
    assert isinstance(gpt, GPT)
    assert isinstance(translator, Transformer)
    ids = [pydocs.tokenizer.encode(prompt) for prompt in prompts]
    here = [list(row) for row in zip(*generate(gpt, ids, new_tokens, GREEDY, cached=False), strict=True)]
    flags = ("--temperature", "0", "--max-new-tokens", str(new_tokens), "--json", "--prompt", *prompts)
    there = [item["tokens"] for item in json.loads(_command("generate", str(pydocs.folder), *flags))]
    lines = [
        dates.tokenizer.decode(ids)
        for ids in translate(translator, list(dates.tokenizer.encode_batch(sources)), cached=False)
    ]
    piped = _command("translate", str(dates.folder), "--beam", "1", text="\n".join(sources)).splitlines()
    same = sum(a == b for a, b in zip([*here, *lines], [*there, *piped], strict=True))
    count = len(here) + len(lines)
    measured = f"{same} of {count} outputs the same: {len(here)} texts of {new_tokens} tokens, {len(lines)} dates"
    return Verdict(
        "saved, reloaded and with the cache, it generates the same as full forward passes", same == count, measured
    )


def no_token_sees_the_future(dates: RunFolder, pydocs: RunFolder) -> Verdict:
    """Change the tokens from each position on, and compare the logits before it."""
    leaks, effects = zip(*(_perturb(run) for run in (dates, pydocs)), strict=True)
    measured = f"past logits moved by at most {max(leaks):.1e}, later ones by at least {min(effects):.2f}"
    return Verdict("no future token moves a past logit", max(leaks) <= LEAK_TOLERANCE < min(effects), measured)


@torch.inference_mode()
def _perturb(run: RunFolder) -> tuple[float, float]:
    """The largest change of a logit before the changed tokens, and the smallest maximum at or after them."""
    model, _ = load_model(run)
    device = next(model.parameters()).device
    batch = next(iter(run.batches("test").in_order(1)))
    inputs = [move(array[:4], device) for array in batch.inputs]
    index = 0 if isinstance(batch, TextBatch) else 1  # of the decoder's tokens among the inputs
    tokens = inputs[index]
    original = model(*inputs)
    leak, effect = 0.0, float("inf")
    for position in range(1, tokens.shape[1]):
        inputs[index] = tokens.clone()
        inputs[index][:, position:] = (tokens[:, position:] + 7) % (run.tokenizer.vocab_size - EOS) + EOS
        change = (model(*inputs) - original).abs()
        leak = max(leak, change[:, :position].max().item())
        effect = min(effect, change[:, position:].max().item())
    return leak, effect


def _command(*arguments: str, text: str | None = None) -> str:
    """The standard output of a clearformer command in a new process."""
    done = subprocess.run(
        [sys.executable, "-m", "clearformer", *arguments], input=text, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout
