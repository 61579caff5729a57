"""Models that are used as those of Hugging Face's transformers are, by their names and the names of their inputs."""

from functools import partial
from typing import Any

from clearformer.checks.recognise import hugging_face_calls as calls
from clearformer.checks.recognise import hugging_face_families, introspection
from clearformer.checks.subject import Kind, Subject
from clearformer.errors import CheckError

KINDS: dict[str, Kind] = {
    "ForSequenceClassification": "classifier",
    "ForMaskedLM": "bidirectional",
    "ForCausalLM": "causal",
    "LMHeadModel": "causal",
}
"""what the end of a class's name declares"""
SPECIAL = ("pad", "bos", "eos", "mask", "cls", "sep", "unk", "decoder_start")


def recognise(model: Any, kind: Kind | None) -> Subject | None:
    takes = introspection.parameters(model)
    config = getattr(model, "config", None)
    if "input_ids" not in takes or config is None:
        return None
    kind = kind or _kind(model)
    pair, classifier = kind == "encoder-decoder", kind == "classifier"
    special = _special(config)
    vocabulary, context = _sizes(model, pair)
    first = 1 if kind == "causal" else 0
    facts = hugging_face_families.facts(config)
    left = not classifier and ("position_ids" in takes or facts.relative)
    start = special.get("decoder_start") if pair else None
    trains = "labels" in takes and not classifier and (start is not None or not pair)
    return Subject(
        model,
        call=calls.call_pair if pair else calls.call,
        kind=kind,
        vocab_size=vocabulary,
        context=context,
        reserved=tuple(sorted({token for token in special.values() if token < vocabulary})),
        pad=special.get("pad", 0),
        padded=(calls.padded_pair if pair else calls.padded) if "attention_mask" in takes else None,
        sides=("left", "right") if left else ("right",),
        **calls.cached(model, kind, takes, left),
        loss=(calls.loss_pair if pair else calls.loss) if trains else None,
        accumulate=partial(calls.accumulate, first=first) if trains and calls.counts(model, kind) else None,
        start=start,
        norm_order=facts.norm_order,
        scale=facts.scale,
        tied=None if classifier else getattr(config, "tie_word_embeddings", None),
        name=type(model).__name__,
    )


def _kind(model: Any) -> Kind:
    family = type(model).__name__
    for ending, kind in KINDS.items():
        if family.endswith(ending):
            return kind
    if getattr(model.config, "is_encoder_decoder", False):
        return "encoder-decoder"
    if type(model).__module__.startswith("transformers."):
        raise CheckError(
            f"a class whose name ends in {', '.join(KINDS)}, or an encoder-decoder, was expected, found {family}; "
            'return such a model, or: Subject(model, call=lambda model, tokens: model(tokens).logits, kind="causal", '
            "vocab_size=model.config.vocab_size)"
        )
    return "causal"


def _sizes(model: Any, pair: bool) -> tuple[int, int | None]:
    """Vocabulary and context: as declared, else as seen in what the model does."""
    vocabulary, context = (
        introspection.declared(model, names) for names in (introspection.VOCABULARIES, introspection.CONTEXTS)
    )
    if vocabulary is not None and (context is not None or pair):
        return vocabulary, context and context - calls.first_position(model)
    out, words = introspection.tried(partial(calls.call, model), introspection.few_tokens())
    if out is not None:
        return introspection.vocabulary_and_context(model, calls.call, introspection.LENGTH)
    raise CheckError(
        f"config.vocab_size and config.max_position_embeddings were expected of {introspection.name_of(model)}, but one is "
        f"missing, and a trial on tokens [2, 8] gave: {words}. Mend that, or set them in the model's config"
    )


def _special(config: Any) -> dict[str, int]:
    """Tokens with a meaning of their own, by what they are for; the first where there are several."""
    found = {name: getattr(config, f"{name}_token_id", None) for name in SPECIAL}
    first = {name: token[0] if isinstance(token, list) and token else token for name, token in found.items()}
    return {name: token for name, token in first.items() if isinstance(token, int) and token >= 0}
