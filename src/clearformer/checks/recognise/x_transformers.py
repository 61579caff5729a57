"""Models of x-transformers: a TransformerWrapper around an Encoder or a Decoder, and an XTransformer of both.

Its `mask` is True for real tokens. Left padding is passed as `seq_start_pos` instead, as in its own generation. With a
cache it is given the whole sequence again, and `cache_age` is the number of new tokens.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from clearformer.checks.recognise import signature
from clearformer.checks.subject import Kind, Subject

START = 0
"""the first token of an XTransformer's decoder, since the model declares none"""


def recognise(model: Any, _kind: Kind | None) -> Subject | None:
    family = type(model).__name__
    if family == "AutoregressiveWrapper" and type(getattr(model, "net", None)).__name__ == "TransformerWrapper":
        return _wrapped(model, _decoder(model.net))
    if family == "XTransformer":
        return _pair(model)
    if family != "TransformerWrapper":
        return None
    return _decoder(model) if model.attn_layers.causal else _encoder(model)


def _common(model: Any) -> dict[str, Any]:
    layers = model.attn_layers
    return {
        "vocab_size": model.num_tokens,
        "context": model.max_seq_len or None,
        "norm_order": "pre" if layers.pre_norm else "post",
        "name": f"TransformerWrapper of {type(layers).__name__}",
    }


def _encoder(model: Any) -> Subject:
    return Subject(
        model,
        call=lambda model, tokens: model(tokens),
        kind="bidirectional",
        padded=lambda model, tokens, real: model(tokens, mask=real),
        **_common(model),
    )


def _decoder(model: Any) -> Subject:
    caches = getattr(model, "can_cache_kv", "cache" in signature.parameters(model))  # it came later than the cache
    cached: dict[str, Any] = {"step": _step, "prefill": _prefill} if caches else {}
    return Subject(
        model,
        call=lambda model, tokens: model(tokens),
        padded=_padded,
        sides=("left", "right"),
        **cached,
        **_common(model),
    )


def _wrapped(wrapper: Any, inner: Subject) -> Subject:
    """A decoder in the wrapper that writes with it."""
    given = {name: getattr(inner, name) for name in ("call", "padded", "step", "prefill")}
    calls: dict[str, Any] = {name: partial(_inside, call) for name, call in given.items() if call is not None}
    return replace(inner, model=wrapper, generate=_generate, **calls)


def _inside(call: Callable[..., Any], wrapper: Any, *arguments: Any) -> Any:
    return call(wrapper.net, *arguments)


def _generate(wrapper: Any, tokens: Tensor, count: int) -> Tensor:
    knows_greedy = hasattr(wrapper.net, "can_cache_kv")  # both came with 1.23
    options = {"temperature": 0.0, "cache_kv": wrapper.net.can_cache_kv} if knows_greedy else {"temperature": 1e-6}
    return wrapper.generate(tokens, count, **options)


def _padded(model: Any, tokens: Tensor, real: Tensor) -> Any:
    return model(tokens, seq_start_pos=_starts(real)) if real[:, -1].all() else model(tokens, mask=real)


def _starts(real: Tensor) -> Tensor:
    """[B]: the position of the first real token in each row, with padding on the left."""
    return real.int().argmax(-1)


def _step(model: Any, tokens: Tensor, cache: Any, **options: Any) -> tuple[Tensor, Any]:
    """The cache is (x-transformers' cache, all tokens so far, the options of each call)."""
    intermediates, past, options = cache or (None, tokens[:, :0], options)
    sequence = torch.cat((past, tokens), dim=1)
    logits, intermediates = model(
        sequence, cache=intermediates, cache_age=tokens.shape[1], return_intermediates=True, **options
    )
    return logits, (intermediates, sequence, options)


def _prefill(model: Any, tokens: Tensor, real: Tensor) -> tuple[Tensor, Any]:
    return _step(model, tokens, None, seq_start_pos=_starts(real))


def _pair(model: Any) -> Subject:
    return Subject(
        model,
        call=lambda model, source, tokens: _decode(model, source, tokens, None),
        kind="encoder-decoder",
        vocab_size=min(model.encoder.num_tokens, model.decoder.net.num_tokens),
        context=min(model.encoder.max_seq_len, model.decoder.net.max_seq_len) or None,
        reserved=(START,),
        padded=lambda model, source, tokens, source_real, _real: _decode(model, source, tokens, source_real),
        step=_step_pair,
        loss=_loss_pair,
        start=START,
        norm_order="pre" if model.encoder.attn_layers.pre_norm else "post",
        name="XTransformer",
    )


def _decode(model: Any, source: Tensor, tokens: Tensor, source_real: Tensor | None) -> Any:
    memory = model.encoder(source, mask=source_real, return_embeddings=True)
    return model.decoder.net(tokens, context=memory, context_mask=source_real)


def _step_pair(model: Any, source: Tensor, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
    memory, rest = cache or (model.encoder(source, return_embeddings=True), None)
    logits, rest = _step(model.decoder.net, tokens, rest, context=memory)
    return logits, (memory, rest)


def _loss_pair(model: Any, source: Tensor, labels: Tensor) -> Any:
    return model(source, torch.nn.functional.pad(labels, (1, 0), value=START))
