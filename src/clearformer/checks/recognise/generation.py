"""What writes text: a method such as `generate`, called greedily, whatever its arguments are called."""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from clearformer.checks.load.errors import describe_error
from clearformer.checks.outcome import ModelCrashed
from clearformer.checks.recognise import signature, trial
from clearformer.checks.recognise.encoder_decoder_calls import SOURCE_WORDS, has_word, is_length
from clearformer.checks.recognise.experiment import Experiment, attempt
from clearformer.checks.recognise.plain_masks import SAYING_REAL
from clearformer.checks.weights import randomise_weights

METHODS = (
    *("generate", "greedy", "sample", "complete", "translate", "continue", "generation", "autoregressive"),
    *("beam", "beam_search", "rollout"),
)
COUNTS = (
    *("new", "steps", "count", "n", "num", "length", "len", "max", "tokens", "k_tokens", "n_tokens", "size"),
    *("max_new_tokens", "max_length", "max_len", "num_tokens"),
)
NOT_COUNTS = ("context", "block", "window", "batch", "vocab", "beam", "beams", "top", "min", "temperature", "penalty")
RANDOM = ("sample", "sampling", "stochastic", "random", "multinomial")
GREEDY = ("greedy", "deterministic", "argmax")
STARTS = ("bos", "sos", "start", "begin")
ENDS = ("eos", "end", "stop")
END_TOKENS = ("eos_token_id", "eos_token", "eos_id", "eos_idx", "eos", "end_token", "end_id", "stop_token")
NO_TOKEN = -1
"""no token is this one, so that nothing ends the text"""
START_TOKENS = (
    "decoder_start_token_id",
    "bos_token_id",
    "bos_idx",
    "bos_id",
    "sos_idx",
    "sos_id",
    "start_token",
    "bos",
)
ONLY_THE_LIKELIEST: tuple[tuple[str, float], ...] = (
    *(("top_k", 1), ("topk", 1), ("temperature", 1e-6), ("temp", 1e-6), ("top_p", 1e-6)),
    *(("temperature", 0.0), ("temp", 0.0)),
)
"""settings of sampling; a temperature so low lets a thousandth of a nat decide, and some divide by one of 0"""
PROMPT, NEW = 3, 4
FACTORS = (1.0, 2.0, 4.0, 8.0)
"""by which weights are enlarged beside embeddings, which may drown what comes from other tokens"""

Shape = Literal["rows", "row", "flat", "list"]
PROMPTS: dict[Shape, Callable[[Tensor], Any]] = {
    "rows": lambda tokens: tokens,
    "row": lambda tokens: tokens,
    "flat": lambda tokens: tokens[0],
    "list": lambda tokens: tokens[0].tolist(),
}


class GreedyMode(TorchFunctionMode):
    """Draws the likeliest instead of a random index, so that text which is sampled can be compared."""

    def __torch_function__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = dict(zip(("input", "num_samples"), args, strict=False)) | (kwargs or {})
        if func in (torch.multinomial, Tensor.multinomial):
            return named["input"].topk(named["num_samples"], dim=-1).indices
        return func(*args, **(kwargs or {}))


class PromptLost(ModelCrashed):
    """Raised where a text does not begin with its prompt."""


@dataclass(frozen=True)
class FoundGenerate:
    """What writes text, in the form of `Subject.generate`."""

    description: str
    method: str
    count_name: str
    options: dict[str, Any]
    shape: Shape = "rows"
    """what it takes: rows [B, T], one row [1, T], [T], or a list"""
    start: int | None = None
    """the first token of a decoder, which reads a source and no prompt"""
    total: bool = False
    """whether the count includes the prompt, or the first token"""
    returns_prompt: bool = True
    exact: bool = False
    """whether it has to write as many tokens as the count says"""
    pads: bool = False
    """whether its documentation says that prompts are padded on the left"""
    mask_name: str = ""
    """of the argument that says which tokens of the prompt are real"""
    draws: bool = False
    """whether it draws random tokens, and not always the likeliest"""
    length_name: str = ""
    """of the argument that says how long each source is"""
    pad: int = 0

    def __call__(self, model: Any, inputs: Tensor, count: int) -> Tensor:
        """(model, prompt or source [B, P], count) -> new tokens [B, N]. Raises ModelCrashed for anything else."""
        rows = [inputs] if self.shape == "rows" else inputs.split(1)
        new = [self.write(model, row, count) for row in rows]
        length = min(part.shape[1] for part in new)
        return torch.cat([part[:, :length] for part in new])

    def with_mask(self, real: Tensor) -> "FoundGenerate":
        """The same for prompts of which these tokens are real."""
        return replace(self, options=self.options | {self.mask_name: real.long()})

    def write(self, model: Any, inputs: Tensor, count: int) -> Tensor:
        """The new tokens; raises PromptLost where the text does not begin with the prompt."""
        prompt = inputs if self.start is None else torch.full_like(inputs[:, :1], self.start)
        P = prompt.shape[1]  # noqa: N806
        text = self.text(model, inputs, count + (P if self.total else 0))
        if not self.returns_prompt:
            return text
        if text.shape[1] < P or not torch.equal(text[:, :P], prompt):
            raise PromptLost(f"{self.description} was expected to return the prompt and what follows it")
        return text[:, P:]

    def ending_with(self, model: Any, token: int) -> "FoundGenerate | None":
        """The same with that token as the one that ends a text: by its argument, else by the model's attribute.

        None where it has neither, or writes one row at a time.
        """
        ends = [name for name in signature.parameters(signature.method(model, self.method)) if name in END_TOKENS]
        if self.shape != "rows":
            return None
        if ends:
            return replace(self, options=self.options | {ends[0]: token})
        return self if signature.declare(model, END_TOKENS, token) else None

    def text(self, model: Any, prompt: Tensor, count: int) -> Tensor:
        """All that it returns, [B, *]. Raises ModelCrashed where that is no text."""
        named: dict[str, Any] = {self.count_name: count} if self.count_name else {}
        if self.length_name:
            named[self.length_name] = (prompt != self.pad).sum(-1)
        with contextlib.nullcontext() if self.draws else GreedyMode():
            out = signature.method(model, self.method)(PROMPTS[self.shape](prompt.clone()), **named, **self.options)
        out = out[0] if isinstance(out, tuple) else out
        text = torch.as_tensor(out) if isinstance(out, list) else out
        if not isinstance(text, Tensor) or text.is_floating_point() or text.dim() not in (1, 2, 3):
            raise ModelCrashed(f"token ids were expected of {self.description}, found {type(out).__name__}")
        text = text[None] if text.dim() == 1 else text[:, 0] if text.dim() == 3 else text
        if len(text) != len(prompt):
            raise ModelCrashed(f"{len(prompt)} rows were expected of {self.description}, found {len(text)}")
        return text


def find(experiment: Experiment, only: str | None = None) -> tuple[list[FoundGenerate], dict[str, str]]:
    """What writes text, one form for each method; and of those that could not be called the last error."""
    found: list[FoundGenerate] = []
    errors: dict[str, str] = {}
    for method in signature.methods(experiment.model, METHODS) if only is None else [only]:
        for candidate in _candidates(experiment, method):
            try:
                text = candidate.text(experiment.model, _first_inputs(experiment, candidate), NEW)
            except (Exception, SystemExit) as error:
                errors.setdefault(method, describe_error(error))
                continue
            found.append(_with_meaning(experiment, candidate, text))
            errors.pop(method, None)
            break
    return found, errors


def _with_meaning(experiment: Experiment, candidate: FoundGenerate, text: Tensor) -> FoundGenerate:
    """What its count means, and whether it returns the prompt, by the length of the text and its beginning."""
    prompt, start = experiment.tokens[: len(text), :PROMPT], None
    if experiment.kind == "encoder-decoder":
        start = _start(experiment) if experiment.subject.start is None else experiment.subject.start
        start = _first_read(experiment, candidate) if start is None else start
        start = int(text[0, 0]) if start is None else start
        prompt = torch.full_like(text[:, :1], start)
    P = prompt.shape[1]  # noqa: N806
    begins = text.shape[1] >= P and torch.equal(text[:, :P], prompt)
    begins = begins and (start is None or _always_begins_with(experiment, candidate, start))
    total = begins and text.shape[1] <= NEW and bool(candidate.count_name)
    exact = not total and signature.has_word(candidate.count_name, ("new",)) and end_token(experiment.model) is None
    returns_prompt = begins or text.shape[1] > NEW + 1
    words = (inspect.getdoc(signature.method(experiment.model, candidate.method)) or "").lower()
    names = signature.parameters(signature.method(experiment.model, candidate.method))
    mask = (
        next((name for name in names if name in ("attention_mask", *SAYING_REAL)), "")
        if candidate.shape == "rows"
        else ""
    )
    candidate = replace(candidate, pads="pad" in words and "left" in words, mask_name=mask)
    return replace(candidate, start=start, total=total, returns_prompt=returns_prompt, exact=exact)


def _always_begins_with(experiment: Experiment, candidate: FoundGenerate, start: int) -> bool:
    """Whether the text begins with that token whatever the weights: with some a decoder repeats what it reads."""
    try:
        for factor in FACTORS:
            randomise_weights(experiment.model, 0, factor)
            text = attempt(candidate.text, experiment.model, _first_inputs(experiment, candidate), NEW)
            if text is not None and not bool((text[:, :1] == start).all()):
                return False
    finally:
        randomise_weights(experiment.model, 0)
    return True


def end_token(model: Any) -> int | None:
    """The token that ends a text, if the model declares one, or its methods use a constant of such a name."""
    found = signature.declared(model, END_TOKENS)
    return signature.used_constant(model, ("eos", "end_token", "eot")) if found is None else found


def _start(experiment: Experiment) -> int | None:
    return signature.declared(experiment.model, START_TOKENS)


def _first_read(experiment: Experiment, candidate: FoundGenerate) -> int | None:
    """The token that the decoder is given first: it is looked up alone in each row, in a table of tokens."""
    source = _first_inputs(experiment, candidate)
    with trial.LookupRecorder() as recorder:
        candidate.text(experiment.model, source, NEW)
    sizes = {recorder.vocabulary(source), experiment.own_logits.shape[-1]}
    alone = [at.flatten() for (rows, *_), at in recorder.lookups if rows in sizes and at.numel() == len(source)]
    return int(alone[0][0]) if alone and bool((alone[0] == alone[0][0]).all()) else None


def samplers(experiment: Experiment, found: FoundGenerate) -> dict[str, FoundGenerate]:
    """The same method with settings under which only the likeliest token can be drawn, although it draws."""
    model = experiment.model
    names = [*signature.parameters(signature.method(model, found.method))]
    random = {name: True for name in found.options if signature.has_word(name, RANDOM)}
    random |= {name: False for name in found.options if signature.has_word(name, GREEDY)}
    named = {
        f"model.{found.method}(..., {name}={value:g})": replace(
            found, options=found.options | random | {name: value}, draws=True, description=f"model.{found.method}"
        )
        for name, value in ONLY_THE_LIKELIEST
        if name in names
    }
    divides = [name for name, one in named.items() if 0.0 in one.options.values() and not _writes(experiment, one)]
    return {name: one for name, one in named.items() if name not in divides}


def _writes(experiment: Experiment, candidate: FoundGenerate) -> bool:
    return attempt(candidate.text, experiment.model, _first_inputs(experiment, candidate), NEW) is not None


def _first_inputs(experiment: Experiment, candidate: FoundGenerate) -> Tensor:
    inputs = experiment.source if experiment.kind == "encoder-decoder" else experiment.tokens[:, :PROMPT]
    return inputs if candidate.shape == "rows" else inputs[:1]


def _candidates(experiment: Experiment, method: str) -> Iterator[FoundGenerate]:
    parameters = signature.parameters(signature.method(experiment.model, method))
    prompt, *rest = [*parameters, ""]
    length = next((name for name in rest if is_length(name) and has_word(name, SOURCE_WORDS)), "")
    rest = [name for name in rest if name != length]
    counts = [
        name for name in rest if signature.has_word(name, COUNTS) and not signature.has_word(name, (*NOT_COUNTS, *ENDS))
    ]
    options = {name: value for name in rest for value in [_option(experiment, name, parameters)] if value is not None}
    counts = [name for name in counts if name not in options][:1]
    if not prompt or set(signature.required(parameters)) - {prompt, length, *counts, *options}:
        return
    given = [prompt, length, *counts, *(f"{name}={value}" for name, value in options.items())]
    written = ", ".join(filter(None, given))
    shapes: tuple[Shape, ...] = ("rows", "row", "flat", "list")
    for shape in shapes:
        lengths: dict[str, Any] = {"length_name": length, "pad": experiment.subject.pad}
        yield FoundGenerate(
            f"model.{method}({written})", method, counts[0] if counts else "", options, shape, **lengths
        )


def _option(experiment: Experiment, name: str, parameters: Any) -> Any:
    """The value with which it writes greedily and does not end early; None to leave it out."""
    default = parameters.get(name) and parameters[name].default
    needed = default is parameters[name].empty if name else False
    if needed and signature.has_word(name, STARTS) and experiment.kind == "encoder-decoder":
        return experiment.subject.start if experiment.subject.start is not None else _start(experiment) or 1
    if signature.has_word(name, ENDS) and (needed or isinstance(default, int)):
        return NO_TOKEN
    if signature.has_word(name, RANDOM) and (needed or isinstance(default, bool)):
        return False
    if signature.has_word(name, GREEDY) and (needed or isinstance(default, bool)):
        return True
    if needed and signature.has_word(name, ("context", "block", "window")):
        return experiment.subject.context or 4 * experiment.length
    if needed and name in ("temperature", "temp", "top_p", "p"):
        return 1.0
    if signature.has_word(name, ("penalty",)):
        return 1.0
    if signature.has_word(name, ("beams", "beam", "beam_size")):
        return 1
    if needed and name in ("top_k", "k"):
        return 1
    return None
