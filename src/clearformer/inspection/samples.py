"""A trained model's outputs for a few validation examples, as HTML."""

import difflib
import html
import re
from collections.abc import Sequence
from typing import Any

from clearformer.data.batches import IGNORE
from clearformer.data.corpora import EquationCorpus, LabelledCorpus, LargeCorpus, Pair
from clearformer.data.modular import question
from clearformer.data.tokenizers import Tokenizer
from clearformer.evaluation.predictions import predict
from clearformer.generation.classification import classify
from clearformer.generation.decoding import generate
from clearformer.generation.sampling import Sampling
from clearformer.generation.translation import translate_texts
from clearformer.inspection.page import items, paragraph, plan
from clearformer.models.bert import BERT
from clearformer.models.classifier import Classifier
from clearformer.models.gpt import GPT
from clearformer.models.transformer import Transformer
from clearformer.runs.folder import RunFolder

SHORT_SAMPLES, LONG_SAMPLES = 8, 3
"""how many short and how many long examples are shown"""
MAX_SAMPLED = 100_000
"""tokens of a large text, from its beginning, that the samples are taken from"""
NEW_TOKENS = {"character": 300, "bpe": 100, "word": 80, "imported": 100}
"""for about the same length of text"""
PROMPT = r"\S+(?:\s+\S+){0,5}"
"""a text's first six words"""


def evenly_spaced(examples: Sequence[Any], count: int) -> Sequence[Any]:
    """At most `count` of the examples, at even distances."""
    return examples[:: max(1, len(examples) // count)][:count]


def validation_pairs(run: RunFolder) -> list[Pair]:
    """A few pairs that fit into the model's context."""
    return [texts for texts, _ in evenly_spaced(run.pairs("validation"), SHORT_SAMPLES)]


def prompts(run: RunFolder, count: int = LONG_SAMPLES) -> list[str]:
    """The first words of at most `count` paragraphs of the validation split, or of lines if there are too few."""
    whole = str(run.corpus.validation)
    if isinstance(run.corpus, LargeCorpus):
        whole = run.tokenizer.decode(run.tokens()["validation"].ids[:MAX_SAMPLED].tolist())
    paragraphs, lines = ([part.strip() for part in whole.split(end) if len(part.split()) > 6] for end in ("\n\n", "\n"))
    most = max(paragraphs, lines, [whole], key=len)
    texts = evenly_spaced(paragraphs if len(paragraphs) >= count else most, count)
    return [found[0] for text in texts if (found := re.search(PROMPT, text))]


def generated(run: RunFolder, model: GPT) -> str:
    """Prompts with their continuations."""
    starts = prompts(run)
    sampling = Sampling(temperature=0.8, seed=run.config.train.seed)
    ids, count = [run.tokenizer.encode(prompt) for prompt in starts], NEW_TOKENS[run.config.tokenizer]
    steps = list(generate(model, ids, count, sampling, slide=True, suppressed=run.tokenizer.never_written))
    note = "The coloured prompts are from the validation split; the model generated the rest, at temperature 0.8."
    return paragraph(note) + items(
        [
            f'<div class="prose"><b>{html.escape(prompt)}</b>{html.escape(run.tokenizer.decode(tokens))}</div>'
            for prompt, tokens in zip(starts, zip(*steps, strict=True), strict=True)
        ]
    )


def learned(lines: Sequence[dict[str, Any]]) -> str:
    """What was answered to each example at a few validations, from the lines, at least one, of samples.jsonl."""
    places = (round(index * (len(lines) - 1) / (SHORT_SAMPLES - 1)) for index in range(SHORT_SAMPLES))
    shown = [lines[place] for place in dict.fromkeys(places)]
    cards = []
    for index, (*given, (name, _)) in enumerate(list(sample.items()) for sample in lines[-1]["samples"]):
        answers = {
            f"step {line['step']:,}": line["samples"][index][name] for line in shown if index < len(line["samples"])
        }
        cards.append("".join(f'<div class="muted">{html.escape(text)}</div>' for _, text in given) + plan(answers))
    return paragraph("The same examples of the validation split, with the answers as training went on.") + items(cards)


def translated(run: RunFolder, model: Transformer) -> str:
    """Sources, translations and references. With a character tokenizer, wrong letters are marked."""
    pairs, exact = validation_pairs(run), run.config.tokenizer == "character"
    outputs = translate_texts(model, run.tokenizer, [source for source, _ in pairs])
    right = sum(output == reference for output, (_, reference) in zip(outputs, pairs, strict=True))
    note = f"{right} of these {len(pairs)} examples of the validation split are right to the letter."
    cards = []
    for output, (source, reference) in zip(outputs, pairs, strict=True):
        same = output == reference
        kind = f" {'right' if same else 'wrong'}" * exact
        answer = html.escape(output) if same or not exact else mark_differences(output, reference)
        cards.append(
            f'<div class="muted">{html.escape(source)}</div><div class="answer{kind}">{answer}</div>'
            + (f"<small>{'should be' if exact else 'reference'}: {html.escape(reference)}</small>" if not same else "")
        )
    return (paragraph(note) if exact else "") + items(cards)


def mark_differences(output: str, reference: str) -> str:
    """The output as HTML, with the letters marked that differ from the reference."""
    matcher = difflib.SequenceMatcher(None, output, reference, autojunk=False)
    parts = ((kind, html.escape(output[a:b])) for kind, a, b, _, _ in matcher.get_opcodes())
    return "".join(part if kind == "equal" else f"<mark>{part}</mark>" for kind, part in parts if part)


def answered(run: RunFolder, model: Any) -> str:
    """Held-out equations with the model's answers."""
    assert isinstance(run.corpus, EquationCorpus)
    batch = next(iter(run.batches("validation").in_order()))
    shown = evenly_spaced(list(zip(run.corpus.validation, predict(model, [batch])[2], strict=False)), SHORT_SAMPLES)
    cards = []
    for (a, b, c), token in shown:
        answer = run.tokenizer.token_text(int(token))
        kind, true = ("right", "") if answer == str(c) else ("wrong", f"<small>should be: {c}</small>")
        cards.append(f'<div class="muted">{question(a, b)}</div><div class="answer {kind}">{answer}</div>{true}')
    return paragraph(f"Equations of {html.escape(run.corpus.name)} that were held out, with answers.") + items(cards)


def filled(run: RunFolder, model: BERT) -> str:
    """Windows of the validation split, with the predictions in place of the masked tokens."""
    batch = next(iter(run.batches("validation").in_order()))
    rows = batch.inputs[0][:LONG_SAMPLES], batch.targets[:LONG_SAMPLES]
    _, _, predicted = predict(model, [batch])
    note = (
        "Texts of the validation split with some tokens masked. Underlined: predicted correctly. Struck through: "
        "predicted wrongly, followed by the true token."
    )
    predictions, cards = iter(predicted), []
    for tokens, targets in zip(*rows, strict=True):
        pieces, visible = [], list[int]()
        for token, target in zip(tokens.tolist(), targets.tolist(), strict=True):
            if target == IGNORE:
                visible.append(token)
                continue
            pieces += [
                html.escape(run.tokenizer.decode(visible)),
                _prediction(run.tokenizer, target, int(next(predictions))),
            ]
            visible = []
        cards.append(f'<div class="prose">{"".join(pieces)}{html.escape(run.tokenizer.decode(visible))}</div>')
    return paragraph(note) + items(cards)


def _prediction(tokenizer: Tokenizer, target: int, predicted: int) -> str:
    true, other = (html.escape(tokenizer.token_text(index)) for index in (target, predicted))
    if target == predicted:
        return f"<ins>{true}</ins>"
    return f"<del>{other.replace(chr(10), '⏎')}</del> <b>{true.replace(chr(10), '⏎' + chr(10))}</b>"


def classified(run: RunFolder, model: Classifier) -> str:
    """Texts with their likeliest class and, if it is wrong, the true one."""
    assert isinstance(run.corpus, LabelledCorpus)
    examples = evenly_spaced(run.corpus.validation, SHORT_SAMPLES)
    found = classify(model, run.tokenizer, [texts for texts, _ in examples]).probabilities
    cards = []
    for (texts, label), p in zip(examples, found, strict=True):
        name = run.classes[p.argmax()]
        kind, true = ("right", "") if name == label else ("wrong", f"<small>should be: {html.escape(label)}</small>")
        cards.append(
            f'<div class="prose">{html.escape(" | ".join(texts))}</div>'
            f'<div class="answer {kind}">{html.escape(name)}, {p.max():.0%}</div>{true}'
        )
    return paragraph("Examples of the validation split, with the predicted class and its probability.") + items(cards)
