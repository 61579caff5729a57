"""Forms of call of an encoder-decoder, and the search for one in which the masks hide what they should."""

import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from clearformer.checks.recognise import heads, masks, signature, trial
from clearformer.checks.recognise.outputs import extract_logits, in_rows

LABELS = ("labels", "label", "y")
SOURCE_WORDS = ("src", "source", "enc", "memory")
TARGET_WORDS = ("tgt", "trg", "target", "dec")


def has_word(name: str, words: tuple[str, ...]) -> bool:
    """Whether a part of a name starts with one of the words, as in `src_mask`; "sequence" does not hold "enc"."""
    return any(part.startswith(words) for part in name.lower().split("_"))


def target_masks(names: Iterable[str]) -> set[str]:
    """The masks that are named after the target, or after neither side where another is named after the source."""
    names = set(names)
    of_source = {name for name in names if has_word(name, SOURCE_WORDS) and not has_word(name, TARGET_WORDS)}
    return {name for name in names - of_source if of_source or has_word(name, TARGET_WORDS)}


def is_length(name: str) -> bool:
    """Whether it is the number of real tokens in each row, as `src_lengths`."""
    return name.lower().split("_")[-1] in ("lengths", "length", "lens", "len")


def is_padding_mask(name: str) -> bool:
    return "pad" in name or "real" in name


Layout = Literal["rows", "columns", "columns of features"]
"""tokens [B, T]; [T, B]; or [T, B, 1], where a word may have further features"""
LAYOUTS: dict[Layout, Callable[[Tensor], Tensor]] = {
    "rows": lambda tokens: tokens,
    "columns": lambda tokens: tokens.transpose(0, 1).contiguous(),
    "columns of features": lambda tokens: tokens.transpose(0, 1)[..., None].contiguous(),
}
Ending = Literal["none", "cuts", "begins"]
"""what the model itself does to the target: nothing; it leaves the last token out; it also puts a first one in front"""


@dataclass(frozen=True)
class PairCall:
    """The parameters for source and target, the masks that are passed, each with its convention, and the lengths."""

    source: str
    target: str
    conventions: Mapping[str, masks.Convention]
    lengths: tuple[str, ...] = ()
    head: str = ""
    """the part that makes logits of the output, where the caller applies it"""
    layout: Layout = "rows"
    ending: Ending = "none"
    start: int | None = None
    """the token that the model puts in front of the target; a target that begins with it is not given another"""
    frames: Callable[[Any, Tensor], Tensor] | None = None
    """what makes the source of tokens, where the model reads no tokens as its source"""
    through: Callable[..., Any] | None = None
    """what is called with the model where its `forward` is not"""

    def __call__(self, model: Any, source: Tensor, target: Tensor, source_real: Tensor, real: Tensor) -> Any:
        arguments = {
            name: convention.convert(self.mask(name, convention, source_real, real))
            for name, convention in self.conventions.items()
        }
        for name in self.lengths:
            arguments[name] = (real if has_word(name, TARGET_WORDS) else source_real).sum(-1)
        begun = self.start is not None and bool((target[:, 0] == self.start).all())
        given = target if self.ending == "none" else torch.cat([target[:, int(begun) :], target[:, -1:]], dim=1)
        place = LAYOUTS[self.layout]
        read = place(source) if self.frames is None else self.frames(model, source)
        called = model if self.through is None else partial(self.through, model)
        out = in_rows(called(**{self.source: read, self.target: place(given)}, **arguments), given)
        out = heads.apply(self.head, model, out)
        if self.layout != "rows":
            out = extract_logits(out).transpose(0, 1)
        return extract_logits(out)[:, 1:] if self.ending == "begins" and not begun else out

    def mask(self, name: str, convention: masks.Convention, source_real: Tensor, real: Tensor) -> Tensor:
        """A per-query mask of the target is causal; one of the source hides nothing."""
        if name in target_masks(self.conventions):
            return masks.causal_mask(real) if convention.per_query else masks.padding_mask(real)
        S = source_real.shape[1]  # noqa: N806
        return torch.ones(1, 1, S, S, dtype=torch.bool) if convention.per_query else masks.padding_mask(source_real)

    def without_padding(self, model: Any, source: Tensor, target: Tensor) -> Any:
        return self(model, source, target, *(torch.ones(x.shape[:2], dtype=torch.bool) for x in (source, target)))

    @property
    def description(self) -> str:
        masks = (f"{name} {convention.description}" for name, convention in self.conventions.items())
        shape = {"rows": "", "columns": " [T, B]", "columns of features": " [T, B, 1]"}[self.layout]
        through = "model" if self.through is None else "decode(encode)"
        called = f"{through}({', '.join((self.source + shape, self.target + shape, *self.lengths, *masks))})"
        return f"model.{self.head}({called})" if self.head else called


class CallSearch:
    """Searches for a call that runs and hides what it should."""

    def __init__(
        self,
        model: Any,
        source: Tensor,
        tokens: Tensor,
        names: tuple[str, str],
        parameters: Mapping[str, inspect.Parameter],
        frames: Callable[[Any, Tensor], Tensor] | None = None,
        through: Callable[..., Any] | None = None,
    ) -> None:
        """`names` are the parameters for source and target; `parameters` those of the model's call."""
        self.made = {"frames": frames, "through": through}
        self.model, self.source, self.tokens, self.names = model, source, tokens, names
        self.masks = [name for name in parameters if name not in names and ("mask" in name or is_padding_mask(name))]
        self.source_masks = set(self.masks) - target_masks(self.masks)
        required = signature.required(parameters)
        self.lengths = tuple(name for name in required if name not in names and is_length(name))
        self.required = [name for name in self.masks if name in required]
        self.first_attempt = ""
        begins: list[tuple[Layout, Ending]] = [("rows", "begins")] if signature.has_word(names[1], LABELS) else []
        self.arrangements: list[tuple[Layout, Ending]] = [*begins, ("rows", "none")]
        if not self.required and not source.is_floating_point():
            columns: tuple[Layout, ...] = ("columns", "columns of features")
            self.arrangements += [("rows", "cuts"), *itertools.product(columns, ("none", "cuts"))]  # type: ignore[list-item]

    def find_call(self) -> PairCall | None:
        """With the required masks, or with all where only that hides the future."""
        minimal = self.search(self.required)
        if self.masks != self.required and (minimal is None or not self.hides_the_future(minimal)):
            full = self.search(self.masks)
            if full is not None and (minimal is None or self.hides_the_future(full)):
                return full
        return minimal

    def find_padded_call(self) -> PairCall | None:
        """With all masks, if one of them is for the source."""
        return self.search(self.masks) if self.source_masks else None

    def search(self, names: list[str]) -> PairCall | None:
        """A model that reads labels may make the decoder's tokens of them; some read columns, and leave one out."""
        for layout, ending in self.arrangements:
            changes: dict[str, Any] = {"layout": layout, "ending": ending, **self.made}
            candidates = (replace(one, **changes) for one in self.candidates(names))
            found = masks.first_correct(
                candidates, self.runs, lambda call: self.hides_the_future(call) and self.hides_padding(call)
            )
            if found is not None and ending == "begins":
                if not self.begins(found):
                    continue
                found = replace(found, start=self.first_token(found))
            if found is not None:
                return found
        return None

    def begins(self, call: PairCall) -> bool:
        """Whether logits depend on the target's tokens before them and not on the one in their place."""
        plain = replace(call, ending="none")
        outputs = [
            extract_logits(plain.without_padding(self.model, self.source, tokens))
            for tokens in (self.tokens, trial.replace_token(self.tokens, masks.REPLACED))
        ]
        changed = (outputs[0] - outputs[1]).abs().amax((0, 2)) > masks.MIN_CHANGE * outputs[0].std()
        return bool(changed[masks.REPLACED + 1] and not changed[: masks.REPLACED + 1].any())

    def first_token(self, call: PairCall) -> int | None:
        """What the model puts in front of the target: it is looked up before all but the target's last token."""
        with trial.LookupRecorder() as recorder:
            call.without_padding(self.model, self.source, self.tokens)
        shifted = [at for _, at in recorder.lookups if at.dim() == 2 and torch.equal(at[:, 1:], self.tokens)]
        return int(shifted[0][0, 0]) if shifted else None

    def candidates(self, names: list[str]) -> Iterator[PairCall]:
        if not names:
            yield PairCall(*self.names, {}, self.lengths)
            return
        ranks = sorted(itertools.product((4, 3, 2), repeat=2), key=lambda pair: pair[0] != pair[1])
        for causal_itself, meaning, (rank, query_rank) in itertools.product((False, True), masks.MEANINGS, ranks):
            per_query = {name: self.is_per_query(name, causal_itself) for name in names}
            conventions = {
                name: masks.Convention(meaning, query_rank if each else rank, each) for name, each in per_query.items()
            }
            yield PairCall(*self.names, conventions, self.lengths)

    def is_per_query(self, name: str, causal_itself: bool) -> bool:
        """A target's mask is, unless the model itself is causal; a source's is, if another one is for its padding."""
        if name not in self.source_masks:
            return not is_padding_mask(name) and not causal_itself
        return not is_padding_mask(name) and any(is_padding_mask(other) for other in self.source_masks)

    def runs(self, call: PairCall) -> bool:
        out, description = trial.try_call(partial(call.without_padding, self.model), self.source, self.tokens)
        self.first_attempt = self.first_attempt or f"  {call.description}: {description}"
        return out is not None and out.is_floating_point() and out.dim() == 3 and out.shape[:2] == self.tokens.shape[:2]

    def hides_the_future(self, call: PairCall) -> bool:
        return masks.hides_the_future(
            lambda tokens: extract_logits(call.without_padding(self.model, self.source, tokens)), self.tokens
        )

    def hides_padding(self, call: PairCall) -> bool:
        """Whether padding of the source is hidden; True where the call has no mask for it."""
        real = torch.ones(self.tokens.shape[:2], dtype=torch.bool)
        return not call.conventions.keys() & self.source_masks or masks.hides_padding(
            lambda source, source_real: extract_logits(call(self.model, source, self.tokens, source_real, real)),
            self.source,
        )
