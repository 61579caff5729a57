"""What a model makes of the same few validation examples each time it is asked, as plain text."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from clearformer.data.batches import IGNORE
from clearformer.data.corpora import EquationCorpus, LabelledCorpus, PairCorpus
from clearformer.data.masked import MaskedWindows
from clearformer.data.modular import question
from clearformer.engine import engine_of
from clearformer.generation.classification import classify
from clearformer.generation.decoding import generate
from clearformer.generation.sampling import GREEDY, Sampling
from clearformer.generation.translation import translate_texts
from clearformer.inspection.samples import NEW_TOKENS, evenly_spaced, prompts
from clearformer.runs.folder import RunFolder

Example = dict[str, str]
"""what the model reads, what is right if anything is, and last what it answers, each by its name"""
SHORTER = 3
"""continuations have so many times fewer tokens than in the report: they are read while training goes on"""
MASKED_TOKENS = 32
"""shown of a text with masks; the model reads all of it"""


def examples(run: RunFolder, model: Any, count: int) -> list[Example]:
    """At most `count` examples, from the model of any engine, which must be in evaluation mode."""
    corpus = run.corpus
    if isinstance(corpus, PairCorpus):
        return _translated(run, model, count)
    if isinstance(corpus, LabelledCorpus):
        chosen = evenly_spaced(corpus.validation, count)
        found = classify(model, run.tokenizer, [texts for texts, _ in chosen]).probabilities
        return [
            {"text": " | ".join(texts), "label": label, "prediction": f"{run.classes[p.argmax()]}, {p.max():.0%}"}
            for (texts, label), p in zip(chosen, found, strict=True)
        ]
    if isinstance(corpus, EquationCorpus):
        answered = evenly_spaced(corpus.validation, count)
        asked = [question(a, b) for a, b, _ in answered]
        texts = _continued(run, model, asked, 1, GREEDY)
        return [
            {"equation": words, "reference": str(c), "answer": text.strip()}
            for words, (_, _, c), text in zip(asked, answered, texts, strict=True)
        ]
    if run.config.model.kind == "bert":
        return _filled(run, model, count)
    starts = prompts(run, count)
    length = NEW_TOKENS[run.config.tokenizer] // SHORTER
    texts = _continued(run, model, starts, length, Sampling(temperature=0.8, seed=run.config.train.seed))
    return [{"prompt": start, "continuation": text} for start, text in zip(starts, texts, strict=True)]


def _continued(run: RunFolder, model: Any, texts: Sequence[str], length: int, sampling: Sampling) -> list[str]:
    if not texts:  # of a validation split without a word
        return []
    ids = [run.tokenizer.encode(text) for text in texts]
    steps = generate(model, ids, length, sampling, slide=True, suppressed=run.tokenizer.never_written)
    return [run.tokenizer.decode(row) for row in zip(*steps, strict=True)]


def _translated(run: RunFolder, model: Any, count: int) -> list[Example]:
    pairs = [texts for texts, _ in evenly_spaced(run.pairs("validation"), count)]
    outputs = translate_texts(model, run.tokenizer, [source for source, _ in pairs])
    return [
        {"source": source, "reference": reference, "hypothesis": output}
        for (source, reference), output in zip(pairs, outputs, strict=True)
    ]


def _filled(run: RunFolder, model: Any, count: int) -> list[Example]:
    """Windows of text with a mask in place of every token to predict."""
    windows = run.batches("validation")
    assert isinstance(windows, MaskedWindows)
    batch = next(iter(windows.in_order()))
    rows = evenly_spaced(range(len(batch.targets)), count)
    read, real, segments = (array[rows] for array in batch.inputs)
    chosen = batch.targets[rows] != IGNORE
    masked = np.where(chosen, windows.hole, read)
    predicted = engine_of(model).logits_of(model, (masked, real, segments)).argmax(-1)
    original = np.where(chosen, batch.targets[rows], read)
    texts = {"text": masked, "reference": original, "filled": np.where(chosen, predicted, read)}
    return [
        {name: run.tokenizer.decode(tokens[index, :MASKED_TOKENS].tolist()) for name, tokens in texts.items()}
        for index in range(len(rows))
    ]
