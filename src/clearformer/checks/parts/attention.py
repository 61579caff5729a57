"""Attention: its weights are read off with one-hot values, and compared with the formula and its usual mistakes."""

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from clearformer.checks.outcome import DoesNotApply, ModelCrashed
from clearformer.checks.parts.probe import PartProbe, PartSubject
from clearformer.checks.probe.attention import Attention, record_attention
from clearformer.checks.probe.probe import Inputs, Probe
from clearformer.checks.subject import Subject

B, H, T, E = 2, 3, 6, 8
SOFT = 0.3
"""times this, queries and keys leave every key a weight, even where scores are not scaled"""
CORE = "[B, H, T, E]", "[B, T, H, E]", "[B, T, E]"


class AttentionProbe(PartProbe):
    """(q, k, v) -> out, perhaps with a mask; or self-attention with weights of its own, x [B, T, D] -> [B, T, D]."""

    declarable: ClassVar[dict[str, tuple[str | bool, ...]]] = {
        "mask": ("allow", "hide", "additive"),
        "scale": (),
        "causal": (True, False),
    }

    def __init__(self, meant: PartSubject, seed: int, memory: dict[str, Any]) -> None:
        super().__init__(meant, seed, memory)
        wanted = "a function (q, k, v) with q, k, v [B, H, T, E] or [B, T, E], or a module x [B, T, D] -> [B, T, D],"
        self.style, self.width = self.find(self.attempts(), wanted)

    def attempts(self) -> Iterator[Callable[[], tuple[str, int]]]:
        if not (isinstance(self.target, nn.Module) and any(True for _ in self.target.parameters())):
            yield from (partial(self.tried_core, style) for style in CORE)
        for width in self.widths():
            yield from (partial(self.tried_self, style, width) for style in ("x", "x, x, x"))

    def tried_core(self, style: str) -> tuple[str, int]:
        """Tokens meet along the axis that `style` says."""
        q, k, v = self.qkv()
        moved = v.clone()
        moved[0, 0, 0] += 1.0
        influence = (self.attend(q, k, moved, style=style) - self.attend(q, k, v, style=style))[0].abs().amax(-1)
        if style != "[B, T, E]" and float(influence[1:].max()) > 0 and float(influence[0, 1:].max()) == 0:
            raise ModelCrashed("heads meet, and not tokens")
        return style, E

    def tried_self(self, style: str, width: int) -> tuple[str, int]:
        x = self.draw(B, T, width)
        self.call(*((x,) if style == "x" else (x, x, x)), shape=x.shape)
        return style, width

    @property
    def is_core(self) -> bool:
        return self.style in CORE

    def core(self) -> None:
        if not self.is_core:
            raise DoesNotApply("it has weights of its own, so queries, keys and values cannot be given to it")

    def qkv(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.draw(B, H, T, E), self.draw(B, H, T, E), self.draw(B, H, T, E)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, *mask: Tensor, style: str = "", keyword: str = "") -> Tensor:
        """q, k, v and the output are [B, H, T, E], whatever the part wants."""
        style = style or self.style
        given = [_to(style, tensor) for tensor in (q, k, v)]
        named = {keyword: mask[0]} if keyword else {}
        out = self.call(*given, *(() if keyword else mask), shape=given[0].shape, **named)
        return out.transpose(1, 2) if style == "[B, T, H, E]" else out.reshape(q.shape)

    def on_x(self, x: Tensor) -> Tensor:
        return self.call(*((x,) if self.style == "x" else (x, x, x)), shape=x.shape)

    def weights(self, q: Tensor, k: Tensor, *mask: Tensor, keyword: str = "") -> Tensor:
        """[B, H, T, S]: what each value counts. The output is linear in the values, so one-hot ones show it."""
        one_hot = torch.eye(T, E).expand(B, H, T, E)
        zero = torch.zeros_like(one_hot)
        outs = [self.attend(q, k, v, *mask, keyword=keyword) for v in (one_hot, zero)]
        return (outs[0] - outs[1])[..., :T]

    def example(self) -> tuple[Any, ...]:
        if self.is_core:
            return tuple(_to(self.style, tensor) for tensor in self.qkv())
        x = self.draw(B, T, self.width)
        return (x,) if self.style == "x" else (x, x, x)

    @cached_property
    def watched(self) -> Attention:
        """What PyTorch did inside a module."""
        subject = Subject(self.target, call=lambda _, x: self.on_x(x), width=self.width)
        found = record_attention(Probe(subject, 1), Inputs(self.draw(B, T, self.width)))
        if not found:
            raise DoesNotApply("no softmax over products of queries and keys was seen inside")
        return found[0]

    def influence(self, loud: float = SOFT) -> Tensor:
        """[T, S]: how much a token at s moves the output at t, as a share of the most; heads and rows together.

        In self-attention a token also moves its own output by its query.
        """
        if self.is_core:
            q, k, _ = self.qkv()
            moved = self.weights(loud * q, loud * k).abs().amax((0, 1))
        else:
            x, other = loud * self.draw(1, T, self.width), loud * self.draw(T, self.width)
            before, after = self.on_x(x), []
            for s in range(T):
                changed = x.clone()
                changed[0, s] = other[s]
                after.append(self.on_x(changed))
            moved = (torch.cat(after) - before).abs().amax(-1).T
        moved = moved.nan_to_num()
        return moved / moved.max().clamp(min=1e-12)


def _to(style: str, x: Tensor) -> Tensor:
    return x.clone() if style == CORE[0] else x.transpose(1, 2).clone() if style == CORE[1] else x.flatten(0, 1)
