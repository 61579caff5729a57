"""Other paths to logits, such as one for inference that gives those of the last position alone, and other arguments."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from clearformer.checks.recognise import signature
from clearformer.checks.recognise.experiment import Experiment, attempt, logits_in

METHODS = (
    "predict",
    "prediction",
    "infer",
    "inference",
    "next",
    "last",
    "logits",
    "probs",
    "probabilities",
    "log_probs",
)
FLAGS = ("last", "last_only", "inference", "infer", "generation", "generate", "eval", "evaluation", "predict")
MASK_TOKENS = ("mask_token_id", "mask_id", "mask_idx", "mask_token")
FILLING = ("fill", "unmask", "cloze")
KEPT = ("num_logits_to_keep", "logits_to_keep", "num_last_tokens")
POSITIONS = ("position_ids", "positions", "pos_ids", "position_indices")


@dataclass(frozen=True)
class Path:
    """A call that returns logits of all positions or of the last, or their softmax, or the tokens they predict."""

    description: str
    run: Callable[[Any, Tensor], Any]

    def __call__(self, model: Any, tokens: Tensor) -> Any:
        return self.run(model, tokens)


def find(experiment: Experiment) -> list[Path]:
    """The paths, other than the call itself, that return something of the right shape."""
    return [
        path
        for path in _candidates(experiment)
        if _fits(experiment, attempt(path.run, experiment.model, experiment.tokens))
    ]


def _candidates(experiment: Experiment) -> Iterator[Path]:
    model, parameters = experiment.model, signature.parameters(experiment.model)
    rest = [*parameters][1:]
    if experiment.subject.name != signature.name_of(model) and not signature.required(parameters)[1:]:
        yield Path("model(tokens)", lambda model, tokens: model(tokens))
    flags = [name for name in rest if parameters[name].default is False and signature.has_word(name, FLAGS)]
    options: dict[str, Any] = dict.fromkeys(flags, True) | {name: 1 for name in rest if name in KEPT}
    for name, value in options.items():
        yield Path(f"model(tokens, {name}={value})", partial(_with_option, name, value))
    for name in signature.methods(model, METHODS):
        if len(signature.required(signature.parameters(signature.method(model, name)))) == 1:
            yield Path(f"model.{name}(tokens)", partial(_by_method, name))


def _with_option(name: str, value: Any, model: Any, tokens: Tensor) -> Any:
    return signature.give(model, tokens, **{name: value})


def _by_method(name: str, model: Any, tokens: Tensor) -> Any:
    return signature.method(model, name)(tokens)


def _fits(experiment: Experiment, out: Any) -> bool:
    """Whether it may be logits or probabilities [B, V], [B, 1, V] or [B, T, V], or tokens [B] or [B, T]."""
    B, T, V = experiment.own_logits.shape  # noqa: N806
    logits = logits_in(out, V)
    if logits is not None:
        return tuple(logits.shape) in ((B, V), (B, 1, V), (B, T, V))
    return isinstance(out, Tensor) and out.dtype == torch.int64 and tuple(out.shape) in ((B,), (B, 1), (B, T))


def find_filling(experiment: Experiment) -> dict[str, Any]:
    """The fields of Subject for a method that fills in masked tokens: (model, tokens) -> tokens."""
    mask = signature.declared(experiment.model, MASK_TOKENS)
    if mask is None or not 0 <= mask < (experiment.subject.vocab_size or 0):
        return {}
    tokens = experiment.tokens.clone()
    tokens[:, ::3] = mask
    for name in signature.methods(experiment.model, FILLING):
        fill = partial(_by_method, name)
        out = attempt(fill, experiment.model, tokens)
        if isinstance(out, Tensor) and not out.is_floating_point() and out.shape == tokens.shape:
            reserved = tuple(sorted({*experiment.subject.reserved, mask}))
            said = f"model.{name}(tokens): fills in the token {mask}"
            return {"fill": fill, "mask": mask, "reserved": reserved, "ways": (said,)}
    return {}


def find_positions(experiment: Experiment) -> Callable[..., Any] | None:
    """(model, tokens, positions) -> logits, where `forward` takes the position of each token."""
    name = next((name for name in [*signature.parameters(experiment.model)][1:] if name in POSITIONS), None)
    if name is None or experiment.kind == "encoder-decoder":
        return None

    def call(model: Any, tokens: Tensor, positions: Tensor) -> Any:
        return signature.give(model, tokens, **{name: positions})

    out = logits_in(attempt(call, experiment.model, experiment.tokens, torch.zeros_like(experiment.tokens)))
    return call if out is not None and out.shape == experiment.own_logits.shape else None
