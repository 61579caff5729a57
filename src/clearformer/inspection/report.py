"""A run's report: scores, plan, loss curve, samples, attention, and the next commands."""

import math
import shlex
from typing import Any

from clearformer.config import AnyModelConfig, ClassifierConfig
from clearformer.data.corpora import EquationCorpus, LargeCorpus, TextCorpus
from clearformer.data.modular import question
from clearformer.evaluation.predictions import prediction_scores
from clearformer.inspection import samples
from clearformer.inspection.figures import loss_curve
from clearformer.inspection.grokking import report as grokking
from clearformer.inspection.grokking.runs import can_be_measured
from clearformer.inspection.page import commands, count_table, facts, figure, heading, link, page, paragraph, plan
from clearformer.inspection.reading import read
from clearformer.models.bert import BERT
from clearformer.models.build import Model
from clearformer.models.classifier import Classifier
from clearformer.models.gpt import GPT
from clearformer.models.initial import count_parameters
from clearformer.models.transformer import Transformer
from clearformer.runs import metrics
from clearformer.runs.folder import RunFolder
from clearformer.runs.samples import read as read_samples
from clearformer.runs.session import is_finished, load_model

NAMES = {
    "transformer": "An encoder-decoder",
    "gpt": "A GPT",
    "bert": "A BERT",
    "classifier": "A classifier",
}
DISPLAY_NAMES = {
    "relu": "ReLU",
    "gelu": "GELU",
    "gelu_tanh": "GELU by tanh",
    "squared_relu": "squared ReLU",
    "swiglu": "SwiGLU",
    "geglu": "GEGLU",
    "geglu_tanh": "GEGLU by tanh",
    "adamw": "AdamW",
    "muon": "Muon and AdamW",
}
UNITS = {"text": "characters", "pairs": "pairs", "labels": "texts", "equations": "equations"}
TOKENS = {"character": "characters", "bpe": "byte pairs", "word": "words", "number": "numbers", "imported": "imported"}
ATTENTION_HINTS = {
    "transformer": "A row is a target token as it is generated, a column a source token. Look for a path: each row is "
    "coloured where the source holds what it needs.",
    "gpt": "A row is a token, a column a token it attends to. Nothing right of the diagonal, its future, is coloured.",
    "bert": "A row is a token, a column a token it attends to, on either side.",
    "classifier": "A row is a token, a column a token it attends to. Look for columns that many rows share.",
}
MAX_LETTERS = 24
"""of a text whose attention is drawn, to be readable on a phone"""
MAX_CLASSES = 10
"""of a readable confusion matrix"""


def write_run_report(run: RunFolder) -> None:
    """Write report.html into the run's folder. Raises CheckpointError if the run has no checkpoint."""
    name = run.folder.resolve().name
    words = "explore.html, where a browser runs the model, once clearformer explore has written it"
    inside = link("explore.html", words)
    body = f"<main>\n{heading(1, name)}{report(run, 2)}{inside}</main>"
    (run.folder / "report.html").write_text(page(f"clearformer: {name}", body), encoding="utf-8")


def report(run: RunFolder, level: int) -> str:
    """The report of a run that has a checkpoint, as HTML, with headings of `level`."""
    model, step = load_model(run, "torch")
    lines = metrics.read(run.metrics)
    parts = {"Plan": plan(_plan(run)), "Learning": _curve(run, lines)}
    if sampled := read_samples(run.samples):
        parts["As it learned"] = samples.learned(sampled)
    parts |= (grokking.sections(run) if can_be_measured(run) else {}) | {"Samples": _samples(run, model)}
    parts |= {"Attention": _attention(run, model), "Next commands": commands(next_steps(run))}
    body = "".join(f"<section>{heading(level, words)}{part}</section>\n" for words, part in parts.items())
    return paragraph(_sentence(run)) + facts(_facts(run, model, step, lines)) + body


def _sentence(run: RunFolder) -> str:
    config, size = run.config, len(run.corpus.train)
    return (
        f"{NAMES[config.model.kind]} of {count_parameters(config.model):,} parameters, trained on {size:,} "
        f"{UNITS[run.corpus.kind]} of {_data(run)}."
    )


def _facts(run: RunFolder, model: Model, step: int, lines: list[dict[str, Any]]) -> dict[str, str]:
    """The results of the run, from its files; a classifier's scores are computed on the validation split."""
    found = {"steps": f"{step:,} of {run.config.train.steps:,}"}
    losses = [line["validation_loss"] for line in lines if "validation_loss" in line]
    if losses:
        found[f"validation loss, {unit(run)}"] = f"{losses[-1]:.4g}"
        if min(losses) < losses[-1]:
            found["lowest validation loss"] = f"{min(losses):.4g}"
        found["loss of a uniform guess"] = f"{uniform_loss(run.config.model):.4g}"
    if isinstance(model, GPT | BERT) and losses:
        found["perplexity"] = f"{math.exp(losses[-1]):,.1f}"
    if isinstance(run.corpus, EquationCorpus):
        found["validation accuracy"] = f"{prediction_scores(run, model, run.batches('validation'))['accuracy']:.1%}"
    if isinstance(model, Classifier):
        scores = prediction_scores(run, model, run.batches("validation"))
        found |= {"validation accuracy": f"{scores['accuracy']:.1%}", "macro-F1": f"{scores['macro_f1']:.3f}"}
    return found


def uniform_loss(config: AnyModelConfig) -> float:
    """The loss, in nats, of a uniform distribution over all tokens, or all classes."""
    return math.log(config.num_classes if isinstance(config, ClassifierConfig) else config.vocab_size)


def unit(run: RunFolder) -> str:
    """The unit of losses."""
    return "nats" if run.config.model.kind == "classifier" else "nats per token"


def _plan(run: RunFolder) -> dict[str, str]:
    config, model, train = run.config, run.config.model, run.config.train
    corpus, layers = run.corpus, "layer" if model.num_layers == 1 else "layers"
    sizes = f"{len(corpus.train):,} {UNITS[corpus.kind]} for training, {len(corpus.validation):,} for validation"
    if corpus.test:
        sizes += f", {len(corpus.test):,} for testing"
    norm = "no norm" if model.norm == "none" else f"{model.norm_order}-norm"
    peak = f"learning rate up to {train.schedule.peak:g}, " if hasattr(train.schedule, "peak") else "learning rate "
    return {
        "Data": f"{_data(run)}: {sizes}",
        "Tokens": f"{TOKENS[config.tokenizer]}, a vocabulary of {model.vocab_size:,}",
        "Model": f"{model.num_layers} {layers} of width {model.d_model}, {model.num_heads} heads, feed-forward width "
        f"{model.d_ff}, context {model.context}; {norm}, {model.positions} positions, "
        f"{DISPLAY_NAMES[model.activation]}",
        "Training": f"{train.steps:,} steps of {_batch_tokens(run) * train.accumulation:,} tokens; "
        f"{DISPLAY_NAMES[train.optimizer]}, {peak}{train.schedule.kind} schedule; dropout {model.dropout:g}; "
        f"seed {train.seed}",
        "Engine": f"{config.engine}, device {train.device}, precision {train.precision}",
    }


def _data(run: RunFolder) -> str:
    return run.corpus.name if run.config.modular else run.config.dataset


def _batch_tokens(run: RunFolder) -> int:
    """Tokens in a batch; of equations, all that there are may be fewer than would fit."""
    return run.batches("train").batch(0).num_tokens if run.config.modular else run.config.train.batch_tokens


def _curve(run: RunFolder, lines: list[dict[str, Any]]) -> str:
    if not lines:
        return paragraph(f"{run.metrics.name} has no steps, so there is no curve to draw.")
    caption = "The loss of the training batches, and of the validation split, which is never trained on."
    return figure(loss_curve(lines, uniform_loss(run.config.model), unit(run)), caption)


def _samples(run: RunFolder, model: Model) -> str:
    if isinstance(run.corpus, EquationCorpus):
        return samples.answered(run, model)
    if isinstance(model, GPT):
        return samples.generated(run, model)
    if isinstance(model, BERT):
        return samples.filled(run, model)
    if isinstance(model, Transformer):
        return samples.translated(run, model)
    return samples.classified(run, model) + _confusion(run, model)


def _confusion(run: RunFolder, model: Classifier) -> str:
    if len(run.classes) > MAX_CLASSES:
        return ""
    counts = prediction_scores(run, model, run.batches("validation"))["confusion"]
    note = "Confusion matrix of the validation split: true classes are rows, predicted classes columns."
    return paragraph(note) + count_table("", run.classes, counts)


def _attention(run: RunFolder, model: Model) -> str:
    """The attention map of one short text."""
    text, target = example(run)
    drawn = read(model, run.tokenizer, text, target).attention()
    shown = f"“{text}” becomes “{target}”" if target else f"“{text}”"
    heads = f"last layer, mean over its {model.config.num_heads} heads"
    return figure(drawn.svg(), f"{shown}; {heads}. {ATTENTION_HINTS[model.config.kind]}")


def example(run: RunFolder) -> tuple[str, str]:
    """A short text of the validation split, and of pairs its target, else ""."""
    if run.corpus.kind == "pairs":
        pairs = sorted(samples.validation_pairs(run), key=lambda pair: len(pair[0]))
        return next((pair for pair in reversed(pairs) if len(pair[0]) <= MAX_LETTERS), pairs[0])
    if isinstance(run.corpus, EquationCorpus):
        return question(*run.corpus.validation[0][:2]), ""
    text = (
        samples.prompts(run)[0] if isinstance(run.corpus, TextCorpus | LargeCorpus) else run.corpus.validation[0][0][0]
    )
    short = text[: MAX_LETTERS + 1].rpartition(" ")[0] if len(text) > MAX_LETTERS else text
    fitting = run.tokenizer.encode(short or text[:MAX_LETTERS])[: run.config.model.context]
    return run.tokenizer.decode(fitting), ""


def next_steps(run: RunFolder) -> dict[str, str]:
    """Commands for this run, by purpose."""
    folder, (text, target) = shlex.quote(str(run.folder)), example(run)
    words = text.split()
    use = {
        "transformer": ("Translate a line", f"echo {shlex.quote(text)} | clearformer translate {folder}"),
        "gpt": ("Generate text", f"clearformer generate {folder} --prompt {shlex.quote(text)}"),
        "equations": (
            "Solve an equation",
            f"clearformer generate {folder} --prompt {shlex.quote(text)} --max-new-tokens 1 --temperature 0",
        ),
        "bert": (
            "Fill in a mask",
            f"clearformer fill {folder} --prompt {shlex.quote(' '.join([*words[:-1], '<mask>']))}",
        ),
        "classifier": ("Classify a text", f"clearformer classify {folder} --text {shlex.quote(text)}"),
    }["equations" if run.config.modular else run.config.model.kind]
    picture = f"attention({text!r}, {target!r})" if target else f"attention({text!r})"
    unfinished = {} if is_finished(run) else {"Train to the end": f"clearformer resume {folder}"}
    return unfinished | {
        use[0]: use[1],
        "Run it in a browser, and see every number inside": f"clearformer explore {folder}",
        "Evaluate it, beside the untrained model": f"clearformer evaluate {folder}",
        "Evaluate the same weights with NumPy alone": f"clearformer evaluate {folder} --engine numpy",
        "Draw its attention, from Python": f"import clearformer\n\nrun = clearformer.open_run({str(run.folder)!r})\n"
        f'run.{picture}.save("attention.svg")',
    }
