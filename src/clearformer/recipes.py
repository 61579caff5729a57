"""Recipes: named functions that return a complete configuration; vary one with `dataclasses.replace`."""

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
    ModularConfig,
    PaperSchedule,
    TrainConfig,
    TransformerConfig,
)


def dates() -> Config:
    """Translate dates as people write them to ISO 8601: the paper's encoder-decoder, small."""
    return _characters("dates", context=64, steps=1200)


def reverse() -> Config:
    """Reverse a string of letters: the paper's encoder-decoder, small."""
    return _characters("reverse", context=32, steps=1600)


def copy() -> Config:
    """Copy a string of letters: the paper's encoder-decoder, small."""
    return _characters("copy", context=32, steps=1600)


def _characters(dataset: str, context: int, steps: int) -> Config:
    """The recipe of all generated tasks: two layers of width 64 over characters."""
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
    """Model the documentation of the running Python: a small GPT over byte pairs."""
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
    """Model the documentation of the running Python: a GPT with GPT-2's architecture, at laptop size.

    Learned positions, LayerNorm before each sub-layer, GELU, biases everywhere, tied embeddings, dropout (Radford et
    al. 2019). GPTConfig's defaults are GPT-2 small itself.
    """
    return _style(dropout=0.1, bias=True)


def llama_style() -> Config:
    """Model the documentation of the running Python: a GPT with Llama's architecture, at laptop size.

    Rotary positions, RMSNorm before each sub-layer, SwiGLU of 8/3 the model's width, no biases, no dropout, untied
    embeddings (Touvron et al. 2023, arXiv:2302.13971); grouped-query attention as in Llama 2 (arXiv:2307.09288).
    """
    return _style(
        num_kv_heads=2,
        d_ff=344,  # 8/3 · 128, rounded up to a multiple of 8: as many parameters as 4 · 128 without a gate
        norm="rms",
        activation="swiglu",
        positions="rotary",
        tie_embeddings=False,
    )


def _style(**changes: Any) -> Config:
    """`pydocs` with another model and GPT-3's β2 (Brown et al. 2020, arXiv:2005.14165, appendix B)."""
    config = pydocs()
    model, train = dataclasses.replace(config.model, **changes), dataclasses.replace(config.train, beta2=0.95)
    return dataclasses.replace(config, model=model, train=train)


def tinyshakespeare() -> Config:
    """Model Shakespeare by characters: nanoGPT's configuration for a CPU."""
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
    """Model Shakespeare by characters: the lowest loss that we reached in a minute on two CPU cores.

    benchmarks/quality/results/tinyshakespeare-ingredients.json has the ablation of each ingredient.
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
    """Translate image captions from German to English: a modern encoder-decoder over byte pairs."""
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
    """Translate image captions from English to German: `multi30k`, reversed."""
    return dataclasses.replace(multi30k(), reverse_pairs=True)


def paper_base() -> Config:
    """Translate as in "Attention Is All You Need": the base model and its training, for a large GPU or a cluster.

    The paper's WMT 2014 is not included: give sentence pairs with --data; the default is multi30k's captions.
    For section 6.1's beam search use beam 4, length penalty 0.6 and at most 50 tokens more than the source.
    """
    return Config(
        dataset="multi30k",
        tokenizer="bpe",
        model=TransformerConfig(),
        train=TrainConfig(
            steps=100_000,
            # about 25,000 source and 25,000 target tokens per update, in eight micro-batches as on the paper's 8 GPUs
            batch_tokens=6_250,
            accumulation=8,
            schedule=PaperSchedule(warmup_steps=4000),
            beta1=0.9,
            beta2=0.98,
            epsilon=1e-9,
            weight_decay=0.0,
            clip=0.0,
            label_smoothing=0.1,
            checkpoint_every=1500,  # 10 minutes at 0.4 seconds per step
            keep_checkpoints=5,
            average_checkpoints=5,
        ),
    )


def grok() -> Config:
    """Learn addition modulo 113 from 40 % of its equations: held-out ones follow long after, suddenly (grokking)."""
    return _grok(113, 0.4, steps=10_000)


def grok_quick() -> Config:
    """Learn addition modulo 97 from half of its equations: grokking in a minute."""
    return _grok(97, 0.5, steps=5_000, weight_decay=2.0)


def grok_paper() -> Config:
    """Learn addition modulo 113 from 30 % of its equations, as Nanda et al. 2023, arXiv:2301.05217."""
    return _grok(113, 0.3, steps=40_000)


def _grok(modulus: int, train_fraction: float, steps: int, weight_decay: float = 1.0) -> Config:
    """One layer without norms, all equations in a batch, and a large weight decay: Nanda et al., section 3."""
    return Config(
        dataset="modular",
        tokenizer="number",
        modular=ModularConfig(modulus, "add", train_fraction),
        model=GPTConfig(
            vocab_size=modulus + 5,
            context=3,
            d_model=128,
            num_heads=4,
            num_layers=1,
            d_ff=512,
            dropout=0.0,
            norm="none",
            activation="relu",
            tie_embeddings=False,
            initial_std=128**-0.5,
        ),
        train=TrainConfig(
            steps=steps,
            batch_tokens=3 * modulus**2,
            schedule=LinearSchedule(peak=1e-3, final=1e-3, warmup_steps=10),
            beta2=0.98,
            epsilon=1e-8,
            weight_decay=weight_decay,
            clip=0.0,
            loss_precision="float64",
            last_only=True,
            validate_every=50,
            validation_tokens=3 * modulus**2,
            stop_below=0.01,
            milestones=8,
        ),
    )


def bert() -> Config:
    """Fill in masked tokens of the documentation of the running Python: a small BERT over byte pairs.

    Unlike the original, for the small corpus: rotary positions, pre-norm, Muon.
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
    """Classify sentences of film reviews as positive or negative: a small encoder over words."""
    return _classifier("polarity", context=64, peak=3e-3, ngram_buckets=16_384)


def ag_news() -> Config:
    """Classify news as world, sports, business or science by their first lines: a small encoder over words."""
    return _classifier("ag_news", context=128, peak=8e-3, ngram_buckets=0)


def _classifier(dataset: str, context: int, peak: float, ngram_buckets: int) -> Config:
    """The recipe of the classifiers: one layer, initialised to the identity, and the mean of its output over words.

    So training starts from a linear model over words, wide and with a dropout of 0.6, and makes about three epochs. The
    loss is of each word's logits: with the loss of their mean, a few words that separate the training texts would leave
    the others without a gradient (decision 0012).
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


CHARACTERS_PER_TOKEN = {"character": 1, "bpe": 4, "word": 5}
"""roughly, in European languages"""
EPOCHS = {"text": 8, "pairs": 20, "labels": 4}
"""8 epochs of 100,000 characters of Shakespeare reach 1.56 nats per character; 20 without dropout, 2.92"""


def recipe_for(kind: Literal["text", "pairs", "labels"], name: str, size: int) -> Config:
    """A recipe for the user's files, by their kind and `size` in characters: a small model, trained for EPOCHS.

    `name` becomes the data set's name. Training makes 100 to 2,000 steps.
    """
    config = {"text": tinyshakespeare_minute, "pairs": multi30k, "labels": polarity}[kind]()
    model, train = config.model, config.train
    tokenizer = "bpe" if kind == "text" and size > 2_000_000 else config.tokenizer
    steps = min(2000, max(100, EPOCHS[kind] * size // (CHARACTERS_PER_TOKEN[tokenizer] * train.batch_tokens)))
    return dataclasses.replace(
        config,
        dataset=name,
        tokenizer=tokenizer,
        model=dataclasses.replace(
            model,
            # at most: a run lowers it to the number of words or characters; byte pairs could always be merged further
            vocab_size=min(8000, max(512, size // 100)) if tokenizer == "bpe" else 20_000,
            # a batch of pairs or labelled texts is only as long as its longest, so a large context costs nothing
            context=model.context if kind == "text" else 256,
            ngram_buckets=model.ngram_buckets if kind == "text" else 0,  # many rows for little gain over words
            # without dropout the model would memorise a short text
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
    "grok": grok,
    "grok-quick": grok_quick,
    "grok-paper": grok_paper,
    "bert": bert,
    "polarity": polarity,
    "ag_news": ag_news,
}


@dataclass(frozen=True)
class Measured:
    """The quality of a trained recipe on its test split (validation if there is none), and the time on a CPU."""

    quality: str
    time: str
    cores: int = 2


MEASURED: dict[str, Measured] = {
    "dates": Measured("99.9 % of 1,000 unseen dates exactly right", "1 min"),
    "reverse": Measured("99.8 % of 1,000 unseen strings exactly right", "1.5 min"),
    "copy": Measured("100 % of 1,000 unseen strings exactly right", "1.5 min"),
    "pydocs": Measured("3.88 nats per token of unseen documents, untrained 7.62", "4 min"),
    "gpt2-style": Measured("3.99 nats per token of unseen documents, untrained 7.62", "11 min", cores=1),
    "llama-style": Measured("3.56 nats per token of unseen documents, untrained 7.65", "9 min", cores=1),
    "tinyshakespeare": Measured("1.90 nats per character of the validation split, nanoGPT 1.915", "1.5 min"),
    "tinyshakespeare-minute": Measured("1.56 nats per character of the validation split", "50-60 s"),
    "multi30k": Measured("42.0 sacreBLEU on the 2016 test set with a beam of 5", "30 min"),
    "multi30k-english-german": Measured("39.5 sacreBLEU on the 2016 test set with a beam of 5", "85 min", cores=1),
    "polarity": Measured("78.2 % of unseen sentences, a linear model over words 77.8 %", "40 s", cores=1),
    "ag_news": Measured("87.7 % of unseen news, a linear model over words 87.5 %", "40 s", cores=1),
    "bert": Measured("46.1 % of masked tokens of unseen documents, the most frequent token 9.1 %", "10 min", cores=1),
}
