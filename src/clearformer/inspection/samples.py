"""What a trained model makes of a few examples that it has never seen, as HTML that a person likes to read."""

import difflib
import html
import re
from collections.abc import Sequence
from typing import Any

from clearformer.data.batches import IGNORE
from clearformer.data.corpora import LabelledCorpus, Pair
from clearformer.data.tokenizers import Tokenizer
from clearformer.evaluation.predictions import predict
from clearformer.generation.classification import classify
from clearformer.generation.decoding import generate
from clearformer.generation.sampling import Sampling
from clearformer.generation.translation import translate_texts
from clearformer.inspection.page import items, paragraph
from clearformer.models.bert import BERT
from clearformer.models.classifier import Classifier
from clearformer.models.gpt import GPT
from clearformer.models.transformer import Transformer
from clearformer.runs.folder import RunFolder

SAMPLES, TEXTS = 8, 3
"""how many short examples are shown, and how many long ones"""
NEW_TOKENS = {"character": 300, "bpe": 100, "word": 80}
"""about as much text each"""
PROMPT = r"\S+(?:\s+\S+){0,5}"
"""a text's first six words"""


def spread(examples: Sequence[Any], count: int) -> Sequence[Any]:
    """At most `count` of the examples, from the whole of them."""
    return examples[:: max(1, len(examples) // count)][:count]


def validation_pairs(run: RunFolder) -> list[Pair]:
    """Some that the model's context has room for."""
    return [texts for texts, _ in spread(run.pairs("validation"), SAMPLES)]


def prompts(run: RunFolder) -> list[str]:
    """The first words of paragraphs of the validation split."""
    paragraphs = [text.strip() for text in str(run.corpus.validation).split("\n\n") if len(text.split()) > 6]
    texts = spread(paragraphs, TEXTS) or [str(run.corpus.validation)]
    return [found[0] for text in texts if (found := re.search(PROMPT, text))]


def written(run: RunFolder, model: GPT) -> str:
    """Prompts, each with what the model writes after it."""
    begun = prompts(run)
    sampling = Sampling(temperature=0.8, seed=run.config.train.seed)
    ids, count = [run.tokenizer.encode(prompt) for prompt in begun], NEW_TOKENS[run.config.tokenizer]
    steps = list(generate(model, ids, count, sampling, slide=True))
    said = "The coloured beginnings are of the validation split; the model wrote the rest, at temperature 0.8."
    return paragraph(said) + items(
        [
            f'<div class="prose"><b>{html.escape(prompt)}</b>{html.escape(run.tokenizer.decode(tokens))}</div>'
            for prompt, tokens in zip(begun, zip(*steps, strict=True), strict=True)
        ]
    )


def translated(run: RunFolder, model: Transformer) -> str:
    """Sources, what the model makes of them, and the references. Where each letter counts, wrong ones are marked."""
    pairs, exact = validation_pairs(run), run.config.tokenizer == "character"
    outputs = translate_texts(model, run.tokenizer, [source for source, _ in pairs])
    right = sum(output == reference for output, (_, reference) in zip(outputs, pairs, strict=True))
    said = f"{right} of these {len(pairs)} examples of the validation split are right to the letter."
    cards = []
    for output, (source, reference) in zip(outputs, pairs, strict=True):
        same = output == reference
        kind = f" {'right' if same else 'wrong'}" * exact
        answer = html.escape(output) if same or not exact else marked(output, reference)
        cards.append(
            f'<div class="muted">{html.escape(source)}</div><div class="answer{kind}">{answer}</div>'
            + (f"<small>{'should be' if exact else 'reference'}: {html.escape(reference)}</small>" if not same else "")
        )
    return (paragraph(said) if exact else "") + items(cards)


def marked(output: str, reference: str) -> str:
    """The output, with the letters marked by which it differs from the reference."""
    matcher = difflib.SequenceMatcher(None, output, reference, autojunk=False)
    parts = ((kind, html.escape(output[a:b])) for kind, a, b, _, _ in matcher.get_opcodes())
    return "".join(part if kind == "equal" else f"<mark>{part}</mark>" for kind, part in parts if part)


def filled(run: RunFolder, model: BERT) -> str:
    """Windows of the validation split, with the predictions in place of the masked tokens."""
    batch = next(iter(run.batches("validation").in_order()))
    rows = batch.inputs[0][:TEXTS], batch.targets[:TEXTS]
    _, _, predicted = predict(model, [batch])
    said = (
        "Texts of the validation split in which some tokens were hidden. Underlined: guessed right. Struck through: "
        "guessed wrong, and behind it what really stood there."
    )
    predictions, cards = iter(predicted), []
    for tokens, targets in zip(*rows, strict=True):
        pieces, shown = [], list[int]()
        for token, target in zip(tokens.tolist(), targets.tolist(), strict=True):
            if target == IGNORE:
                shown.append(token)
                continue
            pieces += [
                html.escape(run.tokenizer.decode(shown)),
                _prediction(run.tokenizer, target, int(next(predictions))),
            ]
            shown = []
        cards.append(f'<div class="prose">{"".join(pieces)}{html.escape(run.tokenizer.decode(shown))}</div>')
    return paragraph(said) + items(cards)


def _prediction(tokenizer: Tokenizer, target: int, predicted: int) -> str:
    true, other = (html.escape(tokenizer.label(index)) for index in (target, predicted))
    if target == predicted:
        return f"<ins>{true}</ins>"
    return f"<del>{other.replace(chr(10), '⏎')}</del> <b>{true.replace(chr(10), '⏎' + chr(10))}</b>"


def classified(run: RunFolder, model: Classifier) -> str:
    """Texts, the likeliest class of each and, where it is wrong, the true one."""
    assert isinstance(run.corpus, LabelledCorpus)
    examples = spread(run.corpus.validation, SAMPLES)
    found = classify(model, run.tokenizer, [texts for texts, _ in examples]).probabilities
    cards = []
    for (texts, label), p in zip(examples, found, strict=True):
        name = run.classes[p.argmax()]
        kind, true = ("right", "") if name == label else ("wrong", f"<small>should be: {html.escape(label)}</small>")
        cards.append(
            f'<div class="prose">{html.escape(" | ".join(texts))}</div>'
            f'<div class="answer {kind}">{html.escape(name)}, {p.max():.0%}</div>{true}'
        )
    return paragraph("Examples of the validation split, and how sure the model is of its class.") + items(cards)
