"""What writes text: a method such as `generate`, called greedily, whatever its arguments are called."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from clearformer.checks.load.errors import describe_error
from clearformer.checks.outcome import ModelCrashed
from clearformer.checks.recognise import signature, trial
from clearformer.checks.recognise.experiment import Experiment

METHODS = ("generate", "greedy", "sample", "complete", "translate", "continue", "generation", "autoregressive")
COUNTS = (
    *("new", "steps", "count", "n", "num", "length", "len", "max", "tokens", "k_tokens", "n_tokens", "size"),
    *("max_new_tokens", "max_length", "max_len", "num_tokens"),
)
NOT_COUNTS = ("context", "block", "window", "batch", "vocab", "beam", "beams", "top", "min", "temperature", "penalty")
RANDOM = ("sample", "sampling", "stochastic", "random", "multinomial")
GREEDY = ("greedy", "deterministic", "argmax")
ENDS = ("eos", "end", "stop")
END_TOKENS = ("eos_token_id", "eos_token", "eos_id", "eos_idx", "eos", "end_token", "end_id", "stop_token")
NO_TOKEN = -1
"""no token is this one, so that nothing ends the text"""
PROMPT, NEW = 3, 4

Shape = Literal["rows", "row", "flat", "list"]
PROMPTS: dict[Shape, Callable[[Tensor], Any]] = {
    "rows": lambda tokens: tokens,
    "row": lambda tokens: tokens,
    "flat": lambda tokens: tokens[0],
    "list": lambda tokens: tokens[0].tolist(),
}


class GreedyMode(TorchDispatchMode):
    """Draws the likeliest instead of a random index, so that text which is sampled can be compared."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False, since skipping the compiler imports it first, which takes seconds."""
        return False

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.multinomial.default:
            return args[0].topk(args[1], dim=-1).indices
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class FoundGenerate:
    """What writes text, in the form of `Subject.generate`."""

    description: str
    method: str
    count_name: str
    options: dict[str, Any]
    shape: Shape = "rows"
    """what it takes: rows [B, T], one row [1, T], [T], or a list"""
    total: bool = False
    """whether the count includes the prompt"""
    returns_prompt: bool = True
    exact: bool = False
    """whether it has to write as many tokens as the count says"""

    def __call__(self, model: Any, *inputs: Any) -> Tensor:
        """(model, prompt [B, P], count) -> new tokens [B, N]. Raises ModelCrashed where it returns something else."""
        prompt, count = inputs
        rows = [prompt] if self.shape == "rows" else prompt.split(1)
        new = [self.write(model, row, count) for row in rows]
        length = min(part.shape[1] for part in new)
        return torch.cat([part[:, :length] for part in new])

    def write(self, model: Any, prompt: Tensor, count: int) -> Tensor:
        """The new tokens; raises ModelCrashed where the text does not begin with the prompt."""
        text = self.text(model, prompt, count)
        if not self.returns_prompt:
            return text
        P = prompt.shape[1]  # noqa: N806
        if text.shape[1] < P or not torch.equal(text[:, :P], prompt):
            raise ModelCrashed(f"{self.description} was expected to return the prompt and what follows it")
        return text[:, P:]

    def text(self, model: Any, prompt: Tensor, count: int) -> Tensor:
        """All that it returns, [B, *]. Raises ModelCrashed where that is no text."""
        named = {self.count_name: count + (prompt.shape[1] if self.total else 0)} if self.count_name else {}
        with GreedyMode():  # type: ignore[no-untyped-call]
            out = signature.method(model, self.method)(PROMPTS[self.shape](prompt.clone()), **named, **self.options)
        out = out[0] if isinstance(out, tuple) else out
        text = torch.as_tensor(out) if isinstance(out, list) else out
        if not isinstance(text, Tensor) or text.is_floating_point() or text.dim() not in (1, 2):
            raise ModelCrashed(f"token ids were expected of {self.description}, found {type(out).__name__}")
        text = text[None] if text.dim() == 1 else text
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
                rows = trial.ROWS if candidate.shape == "rows" else 1
                text = candidate.text(experiment.model, experiment.tokens[:rows, :PROMPT], NEW)
            except (Exception, SystemExit) as error:
                errors.setdefault(method, describe_error(error))
                continue
            found.append(_with_meaning(experiment, candidate, text))
            errors.pop(method, None)
            break
    return found, errors


def _with_meaning(experiment: Experiment, candidate: FoundGenerate, text: Tensor) -> FoundGenerate:
    """What its count means, and whether it returns the prompt, by the length of the text and its beginning."""
    begins = text.shape[1] >= PROMPT and torch.equal(text[:, :PROMPT], experiment.tokens[: len(text), :PROMPT])
    total = begins and text.shape[1] <= NEW and bool(candidate.count_name)
    may_end = any(signature.declared(experiment.model, [name]) is not None for name in END_TOKENS)
    exact = not total and signature.has_word(candidate.count_name, ("new",)) and not may_end
    returns_prompt = begins or text.shape[1] > NEW + 1
    return replace(candidate, total=total, returns_prompt=returns_prompt, exact=exact)


def _candidates(experiment: Experiment, method: str) -> Iterator[FoundGenerate]:
    parameters = signature.parameters(signature.method(experiment.model, method))
    prompt, *rest = [*parameters, ""]
    counts = [
        name for name in rest if signature.has_word(name, COUNTS) and not signature.has_word(name, (*NOT_COUNTS, *ENDS))
    ]
    options = {name: value for name in rest for value in [_option(experiment, name, parameters)] if value is not None}
    counts = [name for name in counts if name not in options][:1]
    if not prompt or set(signature.required(parameters)) - {prompt, *counts, *options}:
        return
    written = ", ".join([prompt, *counts, *(f"{name}={value}" for name, value in options.items())])
    shapes: tuple[Shape, ...] = ("rows", "row", "flat", "list")
    for shape in shapes:
        yield FoundGenerate(f"model.{method}({written})", method, counts[0] if counts else "", options, shape)


def _option(experiment: Experiment, name: str, parameters: Any) -> Any:
    """The value with which it writes greedily and does not end early; None to leave it out."""
    default = parameters.get(name) and parameters[name].default
    needed = default is parameters[name].empty if name else False
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
