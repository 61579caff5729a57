"""What can be trained: named functions that return a whole configuration. A variant is `dataclasses.replace`."""

from collections.abc import Callable

from clearformer.config import Config, CosineSchedule, GPTConfig, TrainConfig, TransformerConfig


def dates() -> Config:
    """Read a date as people write it, write ISO 8601: the paper's encoder-decoder, small."""
    return _characters("dates", context=64, steps=1200)


def reverse() -> Config:
    """Write a string of letters backwards: the paper's encoder-decoder, small."""
    return _characters("reverse", context=32, steps=1600)


def copy() -> Config:
    """Write a string of letters once more: the paper's encoder-decoder, small."""
    return _characters("copy", context=32, steps=1600)


def _characters(dataset: str, context: int, steps: int) -> Config:
    """What the generated tasks share: two layers of width 64 over characters."""
    return Config(
        dataset=dataset,
        tokenizer="character",
        model=TransformerConfig(
            vocab_size=200, context=context, d_model=64, num_heads=4, num_layers=2, d_ff=256, dropout=0.0
        ),
        train=TrainConfig(
            steps=steps,
            batch_tokens=4096,
            schedule=CosineSchedule(peak=3e-3, final=0.0, warmup_steps=100),
            weight_decay=0.01,
            validate_every=200,
            checkpoint_every=400,
        ),
    )


def pydocs() -> Config:
    """Write like the documentation of the Python that runs it: a small GPT over byte-pairs."""
    return Config(
        dataset="pydocs",
        tokenizer="bpe",
        model=GPTConfig(
            vocab_size=2048, context=128, d_model=128, num_heads=4, num_layers=4, d_ff=512, dropout=0.0, bias=False
        ),
        train=TrainConfig(
            steps=1500,
            batch_tokens=2048,
            schedule=CosineSchedule(peak=2e-3, final=2e-4, warmup_steps=100),
            beta2=0.99,
            epsilon=1e-8,
        ),
    )


def tinyshakespeare() -> Config:
    """Write like Shakespeare, letter by letter: nanoGPT's setting for a CPU."""
    return Config(
        dataset="tinyshakespeare",
        tokenizer="character",
        model=GPTConfig(
            vocab_size=256, context=64, d_model=128, num_heads=4, num_layers=4, d_ff=512, dropout=0.0, bias=False
        ),
        train=TrainConfig(
            steps=2000,
            batch_tokens=12 * 64,
            schedule=CosineSchedule(peak=1e-3, final=1e-4, warmup_steps=100),
            beta2=0.99,
            epsilon=1e-8,
        ),
    )


def multi30k() -> Config:
    """Translate image captions from German to English: the paper's encoder-decoder, small, over byte-pairs."""
    return Config(
        dataset="multi30k",
        tokenizer="bpe",
        model=TransformerConfig(
            vocab_size=8000, context=128, d_model=256, num_heads=4, num_layers=3, d_ff=1024, dropout=0.1
        ),
        train=TrainConfig(
            steps=1500,
            batch_tokens=4096,
            schedule=CosineSchedule(peak=1e-3, final=0.0, warmup_steps=200),
            label_smoothing=0.1,
            weight_decay=0.01,
        ),
    )


RECIPES: dict[str, Callable[[], Config]] = {
    "dates": dates,
    "reverse": reverse,
    "copy": copy,
    "pydocs": pydocs,
    "tinyshakespeare": tinyshakespeare,
    "multi30k": multi30k,
}

REACHES: dict[str, str] = {
    "dates": "99.9 % of 1,000 unseen dates exactly right, in 1 minute",
    "reverse": "99.8 % of 1,000 unseen strings exactly right, in 1.5 minutes",
    "copy": "100 % of 1,000 unseen strings exactly right, in 1.5 minutes",
    "pydocs": "3.88 nats a token of unseen documents, untrained 7.62; in 4 minutes",
    "tinyshakespeare": "1.90 nats a character of the validation split, nanoGPT 1.915; in 1.5 minutes",
    "multi30k": "34.6 sacreBLEU on the 2016 test set, greedy; in 21 minutes",
}
"""what each recipe was measured to reach on its test split, or validation where there is no other, on two CPU cores"""
