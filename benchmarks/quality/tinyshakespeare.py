"""The loss on tinyshakespeare after a minute of training, and the ablation of each ingredient of the recipe.

    python benchmarks/quality/tinyshakespeare.py [--data FOLDER]   seeds 1 to 3, over the validation split
    python benchmarks/quality/tinyshakespeare.py --ingredients     ablations, on held-out training text
    python benchmarks/quality/tinyshakespeare.py --choose model.num_layers=3 train.steps=900     the same, any settings

The loss is in nats per character over a whole split in blocks of 64. All settings were chosen on the last tenth of the
training split, after training on the rest; only the first form reads the validation split. `seconds` is the time of the
training steps, on an otherwise idle machine. Results go to `results/`.
"""

import argparse
import dataclasses
import itertools
import json
import os
import time
from typing import Any

os.environ.pop("OPENBLAS_CORETYPE", None)

import numpy as np
from common import changed, show, write

from clearformer import recipes
from clearformer.config import Config, CosineSchedule
from clearformer.data.batches import TextWindows
from clearformer.data.corpora import TextCorpus
from clearformer.data.load import load_corpus
from clearformer.data.tokenizers import train_tokenizer
from clearformer.models.build import build
from clearformer.models.initial import count_parameters
from clearformer.training.loop import train
from clearformer.training.loss import mean_loss
from clearformer.training.optimizer import make_optimizer

SEEDS = (1, 2, 3)
SHORT = 1 / 6.2
"""fraction of the steps that takes ten seconds"""

INGREDIENTS: dict[str, dict[str, Any]] = {
    "the recipe": {},
    "no n-gram embeddings": {"model.ngram_buckets": 0},
    "AdamW for Muon": {"train.optimizer": "adamw"},
    "learned for rotary positions": {"model.positions": "learned"},
    "no QK-norm": {"model.qk_norm": False},
    "squared ReLU for GELU": {"model.activation": "squared_relu"},
    "RMSNorm for LayerNorm": {"model.norm": "rms"},
    "no zero outputs": {"model.zero_outputs": False},
    "no logit cap": {"model.logit_cap": 0.0},
    "cosine for linear schedule": {"train.schedule": CosineSchedule(peak=6e-3, final=0.0, warmup_steps=20)},
    "tied embeddings": {"model.tie_embeddings": True},
}
"""the settings that each ablation changes"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="*", default=[], help="a folder or file that holds tinyshakespeare.txt")
    parser.add_argument("--ingredients", action="store_true")
    parser.add_argument("--choose", nargs="+", metavar="SETTING=VALUE")
    options = parser.parse_args()
    corpus = load_corpus("tinyshakespeare", tuple(options.data))
    assert isinstance(corpus, TextCorpus)
    minute = recipes.tinyshakespeare_minute()
    if options.choose:
        changes = {name: json.loads(value) for name, value in (item.split("=") for item in options.choose)}
        show(" ".join(options.choose), measure(changed(minute, changes), held_out(corpus), 1))
    elif options.ingredients:
        rows = {name: measure(changed(minute, changes), held_out(corpus), 1) for name, changes in INGREDIENTS.items()}
        write("tinyshakespeare-ingredients", rows)
    else:
        rows = {}
        for seed, share in itertools.product(SEEDS, (1.0, SHORT)):
            config = changed(minute, {"train.steps": round(share * minute.train.steps)})
            rows[f"{config.train.steps} steps, seed {seed}"] = measure(config, corpus, seed)
        write("tinyshakespeare", rows)


def held_out(corpus: TextCorpus) -> TextCorpus:
    """The training split, with its last tenth as validation split."""
    end = int(0.9 * len(corpus.train))
    return TextCorpus(corpus.name, train=corpus.train[:end], validation=corpus.train[end:])


def measure(config: Config, corpus: TextCorpus, seed: int) -> dict[str, Any]:
    """Train on the training split, evaluate on the validation split: losses before and after, curve and time."""
    assert config.tokenizer != "number"
    assert config.tokenizer != "imported"
    tokenizer = train_tokenizer(config.tokenizer, [corpus.train], config.model.vocab_size)
    model_config = dataclasses.replace(config.model, vocab_size=tokenizer.vocab_size)
    settings = dataclasses.replace(config.train, seed=seed)
    training, validation = (
        TextWindows(np.array(tokenizer.encode_lines(text)), model_config.context, settings.batch_tokens, seed)
        for text in (corpus.train, corpus.validation)
    )
    model = build(model_config, seed)
    untrained = mean_loss(model, validation.in_order())
    start, curve = time.perf_counter(), []
    for record in train(model, make_optimizer(model, settings), training, settings):
        if record.step % 10 == 0:
            curve.append(round(record.loss, 4))
    seconds = time.perf_counter() - start
    result = {
        "loss": round(mean_loss(model, validation.in_order()), 4),
        "untrained": round(untrained, 4),
        "seconds": round(seconds, 1),
        "parameters": count_parameters(model_config),
        "curve": curve,
    }
    show(f"{settings.steps} steps, seed {seed}", result)
    return result


if __name__ == "__main__":
    main()
