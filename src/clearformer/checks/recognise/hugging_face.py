"""Models with the interface of Hugging Face's transformers, recognised by their configuration and parameters."""

from collections.abc import Callable
from functools import partial
from typing import Any

from clearformer.checks.recognise import hugging_face_calls as calls
from clearformer.checks.recognise import hugging_face_families, kinds, signature, trial
from clearformer.checks.subject import Kind, Subject
from clearformer.errors import CheckError

KINDS: dict[str, Kind] = {
    "ForSequenceClassification": "classifier",
    "ForMaskedLM": "bidirectional",
    "ForCausalLM": "causal",
    "LMHeadModel": "causal",
}
"""by the end of a class's name"""
SPECIAL_TOKENS = ("pad", "bos", "eos", "mask", "cls", "sep", "unk", "decoder_start")


def recognise(model: Any, kind: Kind | None) -> Subject | None:
    parameters = signature.parameters(model)
    config = getattr(model, "config", None)
    if "input_ids" not in parameters or config is None:
        return None
    kind = kind or _kind(model)
    pair, classifier = kind == "encoder-decoder", kind == "classifier"
    special = _special(config)
    vocabulary, context = _sizes(model, pair)
    first = 1 if kind == "causal" else 0
    facts = hugging_face_families.facts(config)
    left = not classifier and ("position_ids" in parameters or facts.relative)
    by_mask = kind == "causal" and left and "attention_mask" in parameters and calls.counts_itself(model)
    start = special.get("decoder_start") if pair else None
    has_loss = "labels" in parameters and not classifier and (start is not None or not pair)
    return Subject(
        model,
        call=calls.call_pair if pair else calls.call,
        kind=kind,
        vocab_size=vocabulary,
        context=context,
        reserved=tuple(sorted({token for token in special.values() if token < vocabulary})),
        pad=special.get("pad", 0),
        padded=_padded(pair, by_mask) if "attention_mask" in parameters else None,
        sides=("left", "right") if left else ("right",),
        **calls.cache_fields(model, kind, parameters, left, by_mask),
        loss=(calls.loss_pair if pair else calls.loss) if has_loss else None,
        accumulate=partial(calls.accumulate, first=first)
        if has_loss and calls.accepts_token_count(model, kind)
        else None,
        start=start,
        norm_order=facts.norm_order,
        scale=facts.scale,
        tied=None if classifier else getattr(config, "tie_word_embeddings", None),
        name=type(model).__name__,
    )


def _padded(pair: bool, by_mask: bool) -> Callable[..., Any]:
    if pair:
        return calls.padded_pair
    return calls.padded_by_mask if by_mask else calls.padded


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
    tokens = trial.sample_tokens()
    out, _ = trial.try_call(partial(calls.call, model), tokens)
    is_of_tokens = out is not None and out.dim() == 3
    return kinds.infer(model, calls.call, tokens, gives_labels=False)[0] if is_of_tokens else "causal"


def _sizes(model: Any, pair: bool) -> tuple[int, int | None]:
    """Vocabulary and context: as declared, else as found by a trial."""
    vocabulary, context = (signature.declared(model, names) for names in (signature.VOCABULARIES, signature.CONTEXTS))
    if vocabulary is not None and (context is not None or pair):
        return vocabulary, context and context - calls.first_position(model)
    out, description = trial.try_call(partial(calls.call, model), trial.sample_tokens())
    if out is not None:
        return trial.vocabulary_and_context(model, calls.call, trial.LENGTH)
    raise CheckError(
        f"config.vocab_size and config.max_position_embeddings were expected of {signature.name_of(model)}, but one is "
        f"missing, and a trial on tokens [2, 8] gave: {description}. Fix that, or set them in the model's config"
    )


def _special(config: Any) -> dict[str, int]:
    """Special tokens by their role; the first where there are several."""
    found = {name: getattr(config, f"{name}_token_id", None) for name in SPECIAL_TOKENS}
    first = {name: token[0] if isinstance(token, list) and token else token for name, token in found.items()}
    return {name: token for name, token in first.items() if isinstance(token, int) and token >= 0}
