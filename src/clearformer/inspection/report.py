"""A run's report: its loss curve, samples of what it says and, for pairs, what it looks at while it writes."""

from collections.abc import Sequence

import numpy as np

from clearformer.data.batches import IGNORE
from clearformer.data.corpora import LabelledCorpus, Pair, PairCorpus
from clearformer.data.tokenizers import Tokenizer
from clearformer.evaluation.guesses import guess, guess_scores
from clearformer.generation.classification import classify
from clearformer.generation.decoding import generate
from clearformer.generation.sampling import Sampling
from clearformer.generation.translation import translate_texts
from clearformer.inspection.attention import attention_map
from clearformer.inspection.figures import loss_curve
from clearformer.inspection.page import Section, figure, page, table, text
from clearformer.models.bert import BERT
from clearformer.models.classifier import Classifier
from clearformer.models.gpt import GPT
from clearformer.models.transformer import Transformer
from clearformer.runs import metrics
from clearformer.runs.folder import RunFolder
from clearformer.runs.session import load_model

SAMPLES = 8
NEW_TOKENS = 200


def write_run_report(run: RunFolder) -> None:
    """Write report.html into the run's folder."""
    (run.folder / "report.html").write_text(page(f"clearformer: {run.folder.name}", sections(run)), encoding="utf-8")


def sections(run: RunFolder) -> list[Section]:
    """The report of a run that has a checkpoint."""
    model, step = load_model(run, "torch")
    name = run.config.dataset
    caption = f"{name}, {step:,} steps. Validation is on a part of the data that the model never learned from."
    learning = Section(f"{name}: learning", figure(loss_curve(metrics.read(run.metrics)), caption))
    if isinstance(model, GPT):
        return [learning, Section(f"{name}: written by the model", text(sample(run, model)))]
    if isinstance(model, BERT):
        return [learning, filled_section(run, model)]
    if isinstance(model, Classifier):
        return [learning, confusion_section(run, model), classified_section(run, model)]
    assert isinstance(run.corpus, PairCorpus)
    pairs = run.corpus.validation[:: max(1, len(run.corpus.validation) // SAMPLES)][:SAMPLES]
    longest = max(pairs, key=lambda pair: len(pair[0]))
    return [learning, samples_section(run, model, pairs), alignment_section(model, run.tokenizer, *longest)]


def sample(run: RunFolder, model: GPT) -> str:
    """A prompt from the validation split, and what the model makes of it."""
    prompt = str(run.corpus.validation)[:40]
    sampling = Sampling(temperature=0.8, seed=run.config.train.seed)
    steps = generate(model, [run.tokenizer.encode(prompt)], NEW_TOKENS, sampling, slide=True)
    return f"{prompt}▸{run.tokenizer.decode(tokens[0] for tokens in steps)}"


def samples_section(run: RunFolder, model: Transformer, pairs: Sequence[Pair]) -> Section:
    """Sources, what the model makes of them, and the references."""
    outputs = translate_texts(model, run.tokenizer, [source for source, _ in pairs])
    rows = [(source, output, target) for (source, target), output in zip(pairs, outputs, strict=True)]
    return Section(f"{run.config.dataset}: written by the model", table(("source", "model", "reference"), rows))


def filled_section(run: RunFolder, model: BERT) -> Section:
    """Windows of the validation split as the model saw them, and each hidden token beside the guess."""
    batch = next(iter(run.batches("validation").in_order(1)))
    _, truth, guesses = guess(model, [batch])
    rows, first = [], 0
    for tokens, targets in zip(batch.inputs[0][:SAMPLES], batch.targets, strict=False):
        places = np.flatnonzero(targets != IGNORE)
        row = slice(first, first := first + len(places))
        pairs = [
            (run.tokenizer.label(int(index)) for index in both) for both in zip(truth[row], guesses[row], strict=True)
        ]
        told = ", ".join(f"{wanted!r}" if wanted == found else f"{wanted!r} ({found!r})" for wanted, found in pairs)
        rows.append((run.tokenizer.decode(int(index) for index in tokens), told))
    head = ("what the model read, some tokens hidden or replaced", "what stood there (and the guess, if another)")
    return Section(f"{run.config.dataset}: guessed by the model", table(head, rows))


def confusion_section(run: RunFolder, model: Classifier) -> Section:
    """How often each class of the validation split was taken for each."""
    scores = guess_scores(run, model, run.batches("validation"))
    rows = [(name, *map(str, counts)) for name, counts in zip(run.classes, scores["confusion"], strict=True)]
    said = f"Accuracy {scores['accuracy']:.1%}, macro-F1 {scores['macro_f1']:.3f}. A row is a true class."
    body = table(("true \\ guessed", *run.classes), rows) + text(said)
    return Section(f"{run.config.dataset}: what is taken for what", body)


def classified_section(run: RunFolder, model: Classifier) -> Section:
    """Some texts of the validation split, the likeliest class and the true one."""
    assert isinstance(run.corpus, LabelledCorpus)
    examples = run.corpus.validation[:: max(1, len(run.corpus.validation) // SAMPLES)][:SAMPLES]
    found = classify(model, run.tokenizer, [texts for texts, _ in examples]).probabilities
    rows = [
        (" | ".join(texts), f"{run.classes[p.argmax()]} {p.max():.0%}", label)
        for (texts, label), p in zip(examples, found, strict=True)
    ]
    return Section(f"{run.config.dataset}: classified by the model", table(("text", "model", "truth"), rows))


def alignment_section(model: Transformer, tokenizer: Tokenizer, source: str, target: str) -> Section:
    """Where the model looks while it writes the target."""
    caption = (
        "A row is a token as it is written, a column a token of the source; dark is where the model looked. "
        f"Last decoder layer, mean over its {model.config.num_heads} heads."
    )
    svg = attention_map(model, tokenizer, source, target).svg()
    return Section(f"What it looks at: {source} → {target}", figure(svg, caption))
