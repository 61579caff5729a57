"""Twenty steps of two tiny models, with dropout, repeat the committed curves.

After a change that is meant to change numbers, write them again:

    python tests/golden/test_curves.py
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clearformer.config import CosineSchedule, GPTConfig, PaperSchedule, TrainConfig, TransformerConfig
from clearformer.data import tasks
from clearformer.data.batches import Batches, PairBuckets, TextWindows
from clearformer.data.tokenizers import train_tokenizer
from clearformer.models.build import build
from clearformer.training.loop import train
from clearformer.training.optimizer import make_optimizer

# Relative; other processors sum in another order. Between one and two threads, AVX-512, AVX2 and SSE, MKL and oneDNN,
# losses differ by up to 1.6e-7 and gradient norms by 1.3e-6; about twenty times that is allowed.
LOSS_TOLERANCE = 3e-6
NORM_TOLERANCE = 3e-5

SIZES = {"context": 16, "d_model": 32, "num_heads": 4, "num_layers": 2, "d_ff": 64, "dropout": 0.1}


def gpt() -> tuple[GPTConfig, TrainConfig, Batches]:
    text = "".join(f"{number} times {number} is {number * number}.\n" for number in range(100))
    tokenizer = train_tokenizer("character", [text], 100)
    config = TrainConfig(steps=20, batch_tokens=128, schedule=CosineSchedule(1e-2, 1e-3, 5), accumulation=2)
    batches = TextWindows(np.array(tokenizer.encode(text)), SIZES["context"], config.batch_tokens, config.seed)
    return GPTConfig(vocab_size=tokenizer.vocab_size, **SIZES), config, batches


def transformer() -> tuple[TransformerConfig, TrainConfig, Batches]:
    pairs = [(source, target) for source, target in tasks.reverse(sizes=(200, 1, 1)).train if len(source) < 16]
    tokenizer = train_tokenizer("character", [source for source, _ in pairs], 100)
    config = TrainConfig(steps=20, batch_tokens=512, schedule=PaperSchedule(0.25, 10), label_smoothing=0.1)
    ids = [(tokenizer.encode(source), tokenizer.encode(target)) for source, target in pairs]
    batches = PairBuckets(ids, config.batch_tokens, config.seed)
    return TransformerConfig(vocab_size=tokenizer.vocab_size, **SIZES), config, batches


FAMILIES = {"gpt": gpt, "transformer": transformer}


def curve(family: str) -> dict[str, Any]:
    model_config, config, batches = FAMILIES[family]()
    model = build(model_config, config.seed)
    records = list(train(model, make_optimizer(model, config), batches, config))
    return {
        "torch": torch.__version__,
        "loss": [record.loss for record in records],
        "gradient_norm": [record.gradient_norm for record in records],
    }


def path(family: str) -> Path:
    return Path(__file__).with_name(f"{family}.json")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_curve_equals_the_committed_one(family: str):
    expected, found = json.loads(path(family).read_text(encoding="utf-8")), curve(family)
    written = f"written with torch {expected['torch']}, this is {found['torch']}"
    assert len(found["loss"]) == 20
    assert found["loss"] == pytest.approx(expected["loss"], rel=LOSS_TOLERANCE), written
    assert found["gradient_norm"] == pytest.approx(expected["gradient_norm"], rel=NORM_TOLERANCE), written


@pytest.mark.parametrize("family", FAMILIES)
def test_the_committed_curve_falls_from_the_loss_of_a_uniform_guess(family: str):
    losses = json.loads(path(family).read_text(encoding="utf-8"))["loss"]
    vocabulary = FAMILIES[family]()[0].vocab_size
    assert losses[0] == pytest.approx(math.log(vocabulary), rel=0.25)  # a uniform guess
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.2  # means, since batches differ in difficulty


if __name__ == "__main__":
    torch.set_num_threads(1)  # as under pytest
    for name in FAMILIES:
        path(name).write_text(json.dumps(curve(name), indent=2) + "\n", encoding="utf-8")
        print(f"wrote {path(name)}")
