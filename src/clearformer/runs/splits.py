"""The batches of a split, by family; examples that do not fit the model are counted and reported to `notify`."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Integer
from numpy.typing import NDArray

from clearformer.config import BERTConfig, ClassifierConfig, Config
from clearformer.data.batches import Batches, PairBuckets, TextWindows, TokenPair
from clearformer.data.corpora import (
    Corpus,
    EquationCorpus,
    Example,
    LabelledCorpus,
    LargeCorpus,
    Pair,
    PairCorpus,
    Split,
    TextCorpus,
)
from clearformer.data.labelled import LabelledBuckets, num_truncated, truncate
from clearformer.data.masked import MaskedWindows
from clearformer.data.modular import Equations
from clearformer.data.tokenizers import Tokenizer
from clearformer.errors import DataError

Notify = Callable[[str], None]


def make_batches(config: Config, tokenizer: Tokenizer, corpus: Corpus, split: Split, notify: Notify) -> Batches:
    """A split as tokens. Raises DataError if the corpus has no such split, or it is too short for the model."""
    require_split(corpus, split)
    assert not isinstance(corpus, LargeCorpus)
    if isinstance(corpus, TextCorpus):
        ids = tokenizer.encode_array([getattr(corpus, split)])
        report_unknown(int((ids == tokenizer.special.unk).sum()), len(ids), split, notify)
        return windows(config, tokenizer, ids)
    if isinstance(corpus, PairCorpus):
        return _pairs(config, tokenizer, corpus, split, notify)
    if isinstance(corpus, EquationCorpus):
        assert config.modular is not None
        rows = np.array(getattr(corpus, split))
        return Equations(rows, config.modular.modulus, config.train.batch_tokens, config.train.seed)
    return _labelled(config, tokenizer, corpus, split, notify)


def fitting_pairs(config: Config, tokenizer: Tokenizer, examples: Sequence[Pair]) -> list[tuple[Pair, TokenPair]]:
    """The pairs that fit into the model's context, as text and as tokens."""
    sources = tokenizer.encode_batch(source for source, _ in examples)
    targets = tokenizer.target.encode_batch(target for _, target in examples)
    tokens = zip(sources, targets, strict=True)
    context = config.model.context  # BOS and EOS need room too
    return [both for both in zip(examples, tokens, strict=True) if max(map(len, both[1])) < context]


def require_split(corpus: Corpus, split: Split) -> None:
    """Raise DataError if the corpus has no such split."""
    if not getattr(corpus, split):
        raise DataError(f"{corpus.name} has no {split} split; evaluate with --split validation")


def windows(
    config: Config, tokenizer: Tokenizer, ids: Integer[NDArray[np.integer[Any]], " tokens"]
) -> TextWindows | MaskedWindows:
    """The batches of a text, by family. Raises DataError if it is too short for the model."""
    model, train = config.model, config.train
    if isinstance(model, BERTConfig):
        masking = (model.vocab_size, model.mask_share, *_special(tokenizer))
        return MaskedWindows(ids, model.context, train.batch_tokens, train.seed, *masking)
    return TextWindows(ids, model.context, train.batch_tokens, train.seed)


def _special(tokenizer: Tokenizer) -> tuple[int, tuple[int, ...]]:
    """The id of <mask>, and those of all special tokens. Raises DataError if the vocabulary has no <mask>."""
    hole = tokenizer.special.mask
    if hole is None:
        raise DataError("a vocabulary with a token that hides others was expected, found none; train another model")
    return hole, (*tokenizer.never_written, hole)


def _pairs(config: Config, tokenizer: Tokenizer, corpus: PairCorpus, split: Split, notify: Notify) -> PairBuckets:
    examples: list[Pair] = getattr(corpus, split)
    pairs = [tokens for _, tokens in fitting_pairs(config, tokenizer, examples)]
    _report_unknown((index for pair in pairs for ids in pair for index in ids), tokenizer, split, notify)
    if omitted := len(examples) - len(pairs):
        notify(f"{omitted:,} of {len(examples):,} {split} pairs are too long for the context: left out")
    if not pairs:
        context = config.model.context
        raise DataError(f"pairs of fewer than {context} tokens were expected, the context; raise --model.context")
    return PairBuckets(pairs, config.train.batch_tokens, config.train.seed)


def _labelled(
    config: Config, tokenizer: Tokenizer, corpus: LabelledCorpus, split: Split, notify: Notify
) -> LabelledBuckets:
    assert isinstance(config.model, ClassifierConfig)
    examples: list[Example] = getattr(corpus, split)
    ids = tokenizer.encode_batch(text for texts, _ in examples for text in texts)
    tokens = [[next(ids) for _ in texts] for texts, _ in examples]
    _report_unknown((index for texts in tokens for text in texts for index in text), tokenizer, split, notify)
    context = config.model.context
    cut = [count for texts in tokens if (count := num_truncated(texts, context))]
    if cut:
        notify(
            f"{len(cut):,} of {len(examples):,} {split} examples are too long for the context of {context} tokens: "
            f"truncated by {sum(cut):,} tokens in all"
        )
    class_index = {label: index for index, label in enumerate(corpus.classes)}
    truncated = [
        (truncate(texts, context), class_index[label]) for texts, (_, label) in zip(tokens, examples, strict=True)
    ]
    return LabelledBuckets(truncated, config.train.batch_tokens, config.train.seed, config.model.segments)


def _report_unknown(tokens: Iterable[int], tokenizer: Tokenizer, split: Split, notify: Notify) -> None:
    ids = np.fromiter(tokens, dtype=np.int64)
    report_unknown(int((ids == tokenizer.special.unk).sum()), len(ids), split, notify)


def report_unknown(unknown: int, count: int, split: Split, notify: Notify) -> None:
    """Say how many of a split's tokens the vocabulary lacks, if any."""
    if unknown:
        notify(f"{unknown:,} of {count:,} tokens of the {split} split are not in the vocabulary: <unk>")
