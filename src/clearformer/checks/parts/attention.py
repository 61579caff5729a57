"""Attention: its weights are read with one-hot values, and compared with the formula and its usual mistakes."""

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from clearformer.checks.outcome import DoesNotApply, ModelCrashed
from clearformer.checks.parts.probe import PartProbe
from clearformer.checks.probe.attention import Attention, record_attention
from clearformer.checks.probe.probe import Inputs, Probe
from clearformer.checks.subject import PartSubject, Subject

B, H, T, E = 2, 3, 6, 8
SOFT = 0.3
"""factor on queries and keys with which every key keeps some weight, even where scores are not scaled"""
CORE = "[B, H, T, E]", "[B, T, H, E]", "[B, T, E]"


class AttentionProbe(PartProbe):
    """A core (q, k, v) -> out, perhaps with a mask; or self-attention with weights, x [B, T, D] -> [B, T, D]."""

    declarable: ClassVar[dict[str, tuple[str | bool, ...]]] = {
        "mask": ("allow", "hide", "additive"),
        "scale": (),
        "causal": (True, False),
    }

    def __init__(self, subject: PartSubject, seed: int, shared: dict[str, Any]) -> None:
        super().__init__(subject, seed, shared)
        expected = "a function (q, k, v) with q, k, v [B, H, T, E] or [B, T, E], or a module x [B, T, D] -> [B, T, D],"
        self.form, self.width = self.find_form(self.forms(), expected)

    def forms(self) -> Iterator[Callable[[], tuple[str, int]]]:
        if not (isinstance(self.part, nn.Module) and any(True for _ in self.part.parameters())):
            yield from (partial(self.try_core, form) for form in CORE)
        for width in self.widths():
            yield from (partial(self.try_self_attention, form, width) for form in ("x", "x, x, x"))

    def try_core(self, form: str) -> tuple[str, int]:
        """Raises ModelCrashed where the form's axis of heads is the one along which the part attends."""
        q, k, v = self.qkv()
        changed_values = v.clone()
        changed_values[0, 0, 0] += 1.0
        influence = (self.attend(q, k, changed_values, form=form) - self.attend(q, k, v, form=form))[0].abs().amax(-1)
        if form != "[B, T, E]" and float(influence[1:].max()) > 0 and float(influence[0, 1:].max()) == 0:
            raise ModelCrashed("heads attend to each other, and not tokens")
        return form, E

    def try_self_attention(self, form: str, width: int) -> tuple[str, int]:
        x = self.draw(B, T, width)
        self.call(*((x,) if form == "x" else (x, x, x)), shape=x.shape)
        return form, width

    @property
    def is_core(self) -> bool:
        return self.form in CORE

    def require_core(self) -> None:
        if not self.is_core:
            raise DoesNotApply("it has its own weights, so queries, keys and values cannot be passed to it")

    def qkv(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.draw(B, H, T, E), self.draw(B, H, T, E), self.draw(B, H, T, E)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, *mask: Tensor, form: str = "", keyword: str = "") -> Tensor:
        """q, k, v and the output are [B, H, T, E]; they are converted to and from the form of the part."""
        form = form or self.form
        arguments = [_to_form(form, tensor) for tensor in (q, k, v)]
        keywords = {keyword: mask[0]} if keyword else {}
        out = self.call(*arguments, *(() if keyword else mask), shape=arguments[0].shape, **keywords)
        return out.transpose(1, 2) if form == "[B, T, H, E]" else out.reshape(q.shape)

    def self_attend(self, x: Tensor) -> Tensor:
        return self.call(*((x,) if self.form == "x" else (x, x, x)), shape=x.shape)

    def weights(self, q: Tensor, k: Tensor, *mask: Tensor, keyword: str = "") -> Tensor:
        """[B, H, T, S]: attention weights, read with one-hot values, since the output is linear in the values."""
        one_hot = torch.eye(T, E).expand(B, H, T, E)
        zero = torch.zeros_like(one_hot)
        outs = [self.attend(q, k, v, *mask, keyword=keyword) for v in (one_hot, zero)]
        return (outs[0] - outs[1])[..., :T]

    def example(self) -> tuple[Any, ...]:
        if self.is_core:
            return tuple(_to_form(self.form, tensor) for tensor in self.qkv())
        x = self.draw(B, T, self.width)
        return (x,) if self.form == "x" else (x, x, x)

    @cached_property
    def recorded(self) -> Attention:
        """The attention that PyTorch computed inside a module. Raises DoesNotApply where none is recorded."""
        subject = Subject(self.part, call=lambda _, x: self.self_attend(x), width=self.width)
        found = record_attention(Probe(subject, 1), Inputs(self.draw(B, T, self.width)))
        if not found:
            raise DoesNotApply("no softmax over products of queries and keys was recorded inside")
        return found[0]

    def influence(self, factor: float = SOFT) -> Tensor:
        """[T, S]: the influence of a token at s on the output at t, relative to the largest, over all heads and rows.

        In self-attention a token also influences its own output through its query.
        """
        if self.is_core:
            q, k, _ = self.qkv()
            changes = self.weights(factor * q, factor * k).abs().amax((0, 1))
        else:
            x, other = factor * self.draw(1, T, self.width), factor * self.draw(T, self.width)
            before, after = self.self_attend(x), []
            for s in range(T):
                changed = x.clone()
                changed[0, s] = other[s]
                after.append(self.self_attend(changed))
            changes = (torch.cat(after) - before).abs().amax(-1).T
        changes = changes.nan_to_num()
        return changes / changes.max().clamp(min=1e-12)


def _to_form(form: str, x: Tensor) -> Tensor:
    return x.clone() if form == CORE[0] else x.transpose(1, 2).clone() if form == CORE[1] else x.flatten(0, 1)
