"""What can be trained: named functions that return a whole configuration. A variant is `dataclasses.replace`."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from clearformer.config import (
    BERTConfig,
    ClassifierConfig,
    Config,
    CosineSchedule,
    GPTConfig,
    LinearSchedule,
    PaperSchedule,
    TrainConfig,
    TransformerConfig,
)


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


def gpt2_style() -> Config:
    """Write like the documentation of the Python that runs it: a GPT with GPT-2's choices, at a laptop's size.

    Learned positions, LayerNorm before each sub-layer, GELU, biases everywhere, tied embeddings, dropout (Radford et
    al. 2019). GPTConfig's defaults are GPT-2 small itself.
    """
    return _style(dropout=0.1, bias=True)


def llama_style() -> Config:
    """Write like the documentation of the Python that runs it: a GPT with Llama's choices, at a laptop's size.

    Rotary positions, RMSNorm before each sub-layer, SwiGLU 8/3 as wide as the model, no biases, no dropout, untied
    embeddings (Touvron et al. 2023, arXiv:2302.13971); two queries' heads share one of keys and values, as in its
    second version (arXiv:2307.09288).
    """
    return _style(
        num_kv_heads=2,
        d_ff=344,  # 8/3 · 128 rounded up to a multiple of 8, so that it costs what 4 · 128 costs without a gate
        norm="rms",
        activation="swiglu",
        positions="rotary",
        tie_embeddings=False,
    )


def _style(**changes: Any) -> Config:
    """pydocs with `changes` of its model, trained as large models are (Brown et al. 2020, arXiv:2005.14165, B)."""
    config = pydocs()
    model, train = dataclasses.replace(config.model, **changes), dataclasses.replace(config.train, beta2=0.95)
    return dataclasses.replace(config, model=model, train=train)


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


def tinyshakespeare_minute() -> Config:
    """Write like Shakespeare, letter by letter: as much as a minute on two CPU cores can teach.

    What each ingredient is worth stands in benchmarks/quality/results/tinyshakespeare-ingredients.json.
    """
    config = tinyshakespeare()
    return dataclasses.replace(
        config,
        model=dataclasses.replace(
            config.model,
            num_layers=2,
            positions="rotary",
            scale_embeddings=True,
            tie_embeddings=False,
            qk_norm=True,
            ngram_buckets=8192,
            logit_cap=15.0,
            zero_outputs=True,
        ),
        train=TrainConfig(
            steps=1400,
            batch_tokens=24 * 64,
            schedule=LinearSchedule(peak=6e-3, warmup_steps=20, cooldown=0.7),
            optimizer="muon",
            beta2=0.95,
            epsilon=1e-8,
            weight_decay=0.0,
            clip=0.0,
            precision="native",
        ),
    )


def multi30k() -> Config:
    """Translate image captions from German to English: an encoder-decoder with today's choices, over byte-pairs."""
    return Config(
        dataset="multi30k",
        tokenizer="bpe",
        model=TransformerConfig(
            vocab_size=5000,
            context=128,
            d_model=256,
            num_heads=4,
            num_layers=3,
            d_ff=512,
            dropout=0.25,
            norm_order="pre",
            activation="squared_relu",
            positions="rotary",
            bias=False,
            qk_norm=True,
            zero_outputs=True,
        ),
        train=TrainConfig(
            steps=1600,
            batch_tokens=8192,
            schedule=LinearSchedule(peak=4e-3, warmup_steps=100, cooldown=0.9),
            optimizer="muon",
            label_smoothing=0.1,
            weight_decay=0.01,
            precision="native",
        ),
    )


def multi30k_english_german() -> Config:
    """Translate image captions from English to German: the same, the other way round."""
    return dataclasses.replace(multi30k(), reverse_pairs=True)


def paper_base() -> Config:
    """Translate as in "Attention Is All You Need": its base model and its training, for a large GPU or a cluster.

    The paper's WMT 2014 is no corpus of ours: give any pairs with --data. Without it the captions of multi30k are read.
    Beam search is its section 6.1's: beam 4, length penalty 0.6, at most 50 tokens more than the source.
    """
    return Config(
        dataset="multi30k",
        tokenizer="bpe",
        model=TransformerConfig(),
        train=TrainConfig(
            steps=100_000,
            # an update sees about 25,000 source and 25,000 target tokens, an eighth at a time as on the paper's 8 GPUs
            batch_tokens=6_250,
            accumulation=8,
            schedule=PaperSchedule(warmup_steps=4000),
            beta1=0.9,
            beta2=0.98,
            epsilon=1e-9,
            weight_decay=0.0,
            clip=0.0,
            label_smoothing=0.1,
            checkpoint_every=1500,  # 10 minutes at 0.4 seconds a step
            keep_checkpoints=5,
            average_checkpoints=5,
        ),
    )


def bert() -> Config:
    """Guess hidden tokens of the documentation of the Python that runs it: a small BERT over byte-pairs.

    With later choices than BERT's own, since it learns from little: rotary positions, norms first, Muon.
    """
    return Config(
        dataset="pydocs",
        tokenizer="bpe",
        model=BERTConfig(
            vocab_size=2048,
            context=128,
            d_model=128,
            num_heads=4,
            num_layers=4,
            d_ff=512,
            dropout=0.0,
            norm_order="pre",
            activation="squared_relu",
            positions="rotary",
            bias=False,
            scale_embeddings=True,
            segments=0,
            qk_norm=True,
            zero_outputs=True,
        ),
        train=TrainConfig(
            steps=1500,
            batch_tokens=4096,
            schedule=LinearSchedule(peak=4e-3, warmup_steps=50, cooldown=0.8),
            optimizer="muon",
            epsilon=1e-8,
            weight_decay=0.01,
            precision="native",
        ),
    )


def polarity() -> Config:
    """Tell praise from blame in sentences of film reviews: a small encoder over words."""
    return _classifier("polarity", context=64, peak=3e-3, ngram_buckets=16_384)


def ag_news() -> Config:
    """Tell world, sports, business and science news apart by their first lines: a small encoder over words."""
    return _classifier("ag_news", context=128, peak=8e-3, ngram_buckets=0)


def _classifier(dataset: str, context: int, peak: float, ngram_buckets: int) -> Config:
    """What the classifiers share: one layer that begins as none, and the mean of what it says of each word.

    So it is a linear model over words at first, wide and with more than half of it dropped, which reads its texts three
    times. Each word learns to tell the class by itself: where only their mean has to, a few words that tell the
    training texts apart leave the others nothing to learn.
    """
    return Config(
        dataset=dataset,
        tokenizer="word",
        model=ClassifierConfig(
            vocab_size=20_000,
            context=context,
            d_model=256,
            num_heads=4,
            num_layers=1,
            d_ff=512,
            dropout=0.6,
            norm_order="pre",
            positions="rotary",
            scale_embeddings=True,
            ngram_buckets=ngram_buckets,
            zero_outputs=True,
            pooling="mean",
        ),
        train=TrainConfig(
            steps=240,
            batch_tokens=2048,
            schedule=LinearSchedule(peak=peak, warmup_steps=30, cooldown=0.9),
            epsilon=1e-8,
            token_loss=True,
            validate_every=60,
            checkpoint_every=120,
        ),
    )


CHARACTERS_A_TOKEN = {"character": 1, "bpe": 4, "word": 5}
"""about, in European languages"""
READINGS = {"text": 8, "pairs": 20, "labels": 4}
"""100,000 characters of Shakespeare, read 8 times, reach 1.56 nats a character; read 20 times without dropout, 2.92"""


def own(kind: Literal["text", "pairs", "labels"], name: str, size: int) -> Config:
    """For files of the user's: what suits their kind, and their `size` in characters.

    A small model that reads its data as many times as READINGS says, in at least 100 steps and at most 2,000.
    """
    config = {"text": tinyshakespeare_minute, "pairs": multi30k, "labels": polarity}[kind]()
    model, train = config.model, config.train
    tokenizer = "bpe" if kind == "text" and size > 2_000_000 else config.tokenizer
    steps = min(2000, max(100, READINGS[kind] * size // (CHARACTERS_A_TOKEN[tokenizer] * train.batch_tokens)))
    return dataclasses.replace(
        config,
        dataset=name,
        tokenizer=tokenizer,
        model=dataclasses.replace(
            model,
            # a run lowers it to what there is, but byte-pairs can always be merged further
            vocab_size=min(8000, max(512, size // 100)) if tokenizer == "bpe" else 20_000,
            # a batch of pairs or labelled texts is only as long as the longest of them
            context=model.context if kind == "text" else 256,
            ngram_buckets=model.ngram_buckets if kind == "text" else 0,  # pairs of words are many, and gain little
            # of a short text, read often, a model without dropout soon knows half by heart
            dropout=0.2 if kind == "text" and size < 1_000_000 else model.dropout,
        ),
        train=dataclasses.replace(
            train,
            steps=steps,
            schedule=dataclasses.replace(train.schedule, warmup_steps=min(train.schedule.warmup_steps, steps // 10)),
        ),
    )


RECIPES: dict[str, Callable[[], Config]] = {
    "dates": dates,
    "reverse": reverse,
    "copy": copy,
    "pydocs": pydocs,
    "gpt2-style": gpt2_style,
    "llama-style": llama_style,
    "tinyshakespeare": tinyshakespeare,
    "tinyshakespeare-minute": tinyshakespeare_minute,
    "multi30k": multi30k,
    "multi30k-english-german": multi30k_english_german,
    "paper-base": paper_base,
    "bert": bert,
    "polarity": polarity,
    "ag_news": ag_news,
}


@dataclass(frozen=True)
class Reached:
    """What a recipe was measured to reach on its test split, or validation where there is no other, on a CPU."""

    quality: str
    time: str
    cores: int = 2


REACHES: dict[str, Reached] = {
    "dates": Reached("99.9 % of 1,000 unseen dates exactly right", "1 min"),
    "reverse": Reached("99.8 % of 1,000 unseen strings exactly right", "1.5 min"),
    "copy": Reached("100 % of 1,000 unseen strings exactly right", "1.5 min"),
    "pydocs": Reached("3.88 nats a token of unseen documents, untrained 7.62", "4 min"),
    "gpt2-style": Reached("3.99 nats a token of unseen documents, untrained 7.62", "11 min", cores=1),
    "llama-style": Reached("3.56 nats a token of unseen documents, untrained 7.65", "9 min", cores=1),
    "tinyshakespeare": Reached("1.90 nats a character of the validation split, nanoGPT 1.915", "1.5 min"),
    "tinyshakespeare-minute": Reached("1.56 nats a character of the validation split", "50-60 s"),
    "multi30k": Reached("42.0 sacreBLEU on the 2016 test set with a beam of 5", "30 min"),
    "multi30k-english-german": Reached("39.5 sacreBLEU on the 2016 test set with a beam of 5", "85 min", cores=1),
    "polarity": Reached("78.2 % of unseen sentences, a linear model over words 77.8 %", "40 s", cores=1),
    "ag_news": Reached("87.7 % of unseen news, a linear model over words 87.5 %", "40 s", cores=1),
    "bert": Reached("46.1 % of hidden tokens of unseen documents, the commonest token 9.1 %", "10 min", cores=1),
}
