"""Which kind a plain model is: by what its names say, and by which tokens each of its layers sees."""

import re
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from clearformer.checks.recognise import generation, masks, signature, trial
from clearformer.checks.recognise.outputs import extract_logits
from clearformer.checks.recognise.paths import FILLING, MASK_TOKENS
from clearformer.checks.recognise.steps import CACHES
from clearformer.checks.subject import Kind

CAUSAL = ("gpt", "causal", "decoder", "llama", "language", "autoregressive", "char", "lm")
BIDIRECTIONAL = ("bert", "roberta", "mlm", "masked", "bidirectional", "encoder", "electra")
CAUSAL_FLAGS = ("causal", "is_causal")
REPLACED = 3
"""the position of the vector that is moved to see what it influences"""

Call = Callable[[Any, Tensor], Any]


def infer(model: Any, call: Call, tokens: Tensor, gives_labels: bool) -> tuple[Kind, str]:
    """The kind of a model with logits for each token, and what to say of it in the report; "" where that is plain.

    Where every layer sees both sides, and nothing says that the model predicts the next token, it is bidirectional.
    With `gives_labels` the logits are too few for tokens, so that it predicts no next one whatever its name says.
    """
    causal, bidirectional = [] if gives_labels else causal_signs(model), bidirectional_signs(model)
    if masks.hides_the_future(lambda x: extract_logits(call(model, x)), tokens):
        if not bidirectional or causal:
            return "causal", ""
        return "bidirectional", f"kind: taken for a bidirectional encoder, by {bidirectional[0]}"
    if causal:
        return "causal", ""
    if not _sees_both_sides(model, call, tokens):
        by = f"kind: taken for a bidirectional encoder, by {bidirectional[0]}" if bidirectional else ""
        return ("bidirectional", by) if by else ("causal", "")
    said = "kind: taken for a bidirectional encoder, like BERT, since every layer sees both sides of each token"
    if bidirectional:
        return "bidirectional", f"{said}, and by {bidirectional[0]}"
    question = "Is it to predict the next token? Then its causal mask is missing: run again with --kind causal"
    return "bidirectional", f"{said}. {question}"


def bidirectional_signs(model: Any) -> list[str]:
    """What speaks for a model that fills in masked tokens, whatever it computes."""
    signs = [f"its name, {signature.name_of(model)}"] if is_named(model, BIDIRECTIONAL) else []
    signs += [f"its argument {name}" for name in signature.parameters(model) if name in signature.SEGMENTS]
    signs += [f"its {name}" for name in MASK_TOKENS if signature.declared(model, [name]) is not None]
    return signs + [f"its method {name}" for name in signature.methods(model, (*FILLING, "mlm"))]


def causal_signs(model: Any) -> list[str]:
    """What speaks for a model that predicts the next token, whatever it computes. "MaskedLM" does not."""
    masked = is_named(model, BIDIRECTIONAL)
    caches = [
        name for name in signature.parameters(model) if name == "past_key_values" or signature.has_word(name, CACHES)
    ]
    signs = [f"its name, {signature.name_of(model)}"] if is_named(model, CAUSAL) and not masked else []
    signs += [f"its method {name}" for name in signature.methods(model, generation.METHODS)]
    signs += [] if bidirectional_signs(model) else [f"its argument {name}" for name in caches]
    if isinstance(model, nn.Module):
        modules = list(model.modules())
        signs += [
            "a layer's is_causal" for part in modules for name in CAUSAL_FLAGS if getattr(part, name, None) is True
        ]
        signs += ["a lower triangle among its buffers" for buffer in model.buffers() if _is_triangle(buffer)]
    return signs


def is_named(model: Any, words: Iterable[str]) -> bool:
    """Whether a word of the class's name is one of these, or ends in it, as "TinyGPT" and "nanogpt" end in "gpt"."""
    parts = re.findall("[A-Z]+(?![a-z])|[A-Z]?[a-z]+", signature.name_of(model))
    return any(part.lower().endswith(tuple(words)) for part in parts)


def _is_triangle(buffer: Tensor) -> bool:
    """Whether it is square and one of its triangles, without the diagonal, is constant and unlike the other."""
    if buffer.dim() < 2 or buffer.shape[-1] != buffer.shape[-2] or buffer.shape[-1] < 2:
        return False
    square = buffer.reshape(-1, *buffer.shape[-2:])[0].double().nan_to_num(neginf=-1e30)
    rows, columns = torch.tril_indices(len(square), len(square), offset=-1)
    lower, upper = square[rows, columns], square[columns, rows]
    return bool((lower == lower[0]).all() and (upper == upper[0]).all() and lower[0] != upper[0])


def _sees_both_sides(model: Any, call: Call, tokens: Tensor) -> bool:
    """Whether each token changes the logits of all others, and no layer by itself is causal."""
    before = extract_logits(call(model, tokens))
    after = [extract_logits(call(model, _replace(tokens, s))) for s in range(tokens.shape[1])]
    changed = torch.stack([(one - before).abs().amax(-1).amax(0) > masks.MIN_CHANGE * before.std() for one in after])
    return bool(changed.all()) and not any(_is_causal(block, inputs) for block, inputs in _blocks(model, call, tokens))


def _replace(tokens: Tensor, s: int) -> Tensor:
    """Another token, or vector, at that position of every row."""
    if not tokens.is_floating_point():
        return trial.replace_token(tokens, s)
    replaced = tokens.clone()
    replaced[:, s] += 1
    return replaced


def _blocks(model: Any, call: Call, tokens: Tensor) -> list[tuple[nn.Module, tuple[Any, ...]]]:
    """The layers, of which the largest list of modules of one class consists, with their inputs in a call."""
    if not isinstance(model, nn.Module):
        return []
    lists = [[*part] for part in model.modules() if isinstance(part, nn.ModuleList | nn.Sequential)]
    alike = [blocks for blocks in lists if len({type(block) for block in blocks}) == 1]
    inputs: dict[nn.Module, tuple[Any, ...]] = {}

    def keep(block: nn.Module, args: Any, kwargs: Any) -> None:
        inputs[block] = args, kwargs

    largest = max(alike, key=lambda blocks: sum(w.numel() for block in blocks for w in block.parameters()), default=[])
    hooks = [block.register_forward_pre_hook(keep, with_kwargs=True) for block in largest]
    try:
        call(model, tokens)
    finally:
        for hook in hooks:
            hook.remove()
    return list(inputs.items())


def _is_causal(block: nn.Module, inputs: tuple[Any, ...]) -> bool:
    """Whether a vector changes what the block gives for later ones and not for earlier ones.

    False where that cannot be told. A list of modules may also hold networks that see each vector alone.
    """
    args, kwargs = inputs
    if not args or not isinstance(args[0], Tensor) or args[0].dim() != 3 or args[0].shape[1] <= REPLACED:
        return False
    moved = args[0].clone()
    moved[:, REPLACED] += torch.randn_like(moved[:, REPLACED])
    outputs = [block(x, *args[1:], **kwargs) for x in (args[0], moved)]
    before, after = (out[0] if isinstance(out, tuple) else out for out in outputs)
    if not isinstance(before, Tensor) or before.shape[:2] != args[0].shape[:2]:
        return False
    changed = (before - after).abs().flatten(2).amax((0, 2)) > masks.MIN_CHANGE * before.std()
    return bool(changed[REPLACED + 1 :].any() and not changed[:REPLACED].any())
