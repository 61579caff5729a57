"""Layer normalisation and RMS normalisation, compared with their formulas and the usual mistakes."""

from functools import cached_property, partial
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from clearformer.checks.outcome import DoesNotApply
from clearformer.checks.parts.probe import TOLERANCE, PartProbe, relative_error
from clearformer.checks.subject import PartSubject


def centred(x: Tensor) -> Tensor:
    return x - x.mean(-1, keepdim=True)


class NormProbe(PartProbe):
    """x [B, T, D] -> [B, T, D], with neutral weights: a factor of 1 and a bias of 0."""

    declarable: ClassVar[dict[str, tuple[str | bool, ...]]] = {"eps": ()}
    kind: ClassVar[Literal["layer", "rms"]]

    def __init__(self, subject: PartSubject, seed: int, shared: dict[str, Any]) -> None:
        super().__init__(subject, seed, shared)
        expected = "a function or module x [B, T, D] -> [B, T, D]"
        self.width = self.find_form((partial(self.try_width, width) for width in self.widths()), expected)
        self.scales: list[nn.Parameter] = []
        self.neutral_weight = 0.0
        """1, or 0 where the factor is 1 + weight"""
        self.biases: list[nn.Parameter] = []
        self.ignored: list[nn.Parameter] = []
        if isinstance(self.part, nn.Module):
            self.neutralise([weight for weight in self.part.parameters() if weight.numel() in (1, self.width)])

    def try_width(self, width: int) -> int:
        self.call(self.draw(2, 3, width), shape=(2, 3, width))
        return width

    def neutralise(self, weights: list[nn.Parameter]) -> None:
        """Find out by their effect which weights are added and which multiply, and make both neutral."""
        x = self.draw(2, 3, self.width)
        before = self(x)
        for weight in weights:
            original = weight.clone()
            weight.add_(self.draw(*weight.shape))
            changes = self(x) - before
            weight.copy_(original)
            if not changes.any():
                self.ignored.append(weight)
            elif relative_error(changes, changes[:1, :1].expand_as(changes)) < TOLERANCE:  # the same for every token
                self.biases.append(weight)
            else:
                self.scales.append(weight)
        for weight in (*self.biases, *self.scales):
            weight.zero_()
        if self.scales and float(self(x).abs().max()) == 0.0:
            self.neutral_weight = 1.0
            for weight in self.scales:
                weight.fill_(1.0)

    def __call__(self, x: Tensor) -> Tensor:
        return self.call(x, shape=x.shape)

    def example(self) -> tuple[Tensor]:
        return (self.draw(2, 3, self.width),)

    def formula(self, x: Tensor) -> Tensor:
        """The norm in float64, without eps."""
        x = x.double()
        numerator = centred(x) if self.kind == "layer" else x
        return numerator / numerator.square().mean(-1, keepdim=True).sqrt()

    @cached_property
    def changes(self) -> dict[str, float]:
        """The relative change of a token's output when the rest of its row, or another row, is replaced."""
        x = self.draw(2, 3, self.width)
        before, changes = self(x), {}
        for name, index in (("tokens", (0, slice(1, 3))), ("rows", (1, slice(0, 3)))):
            changed = x.clone()
            changed[index] = 4 * self.draw(*changed[index].shape)
            changes[name] = relative_error(self(changed)[0, 0], before[0, 0])
        return changes

    def require_per_token(self) -> None:
        """Raises DoesNotApply unless each token is normalised by itself."""
        if max(self.changes.values()) > TOLERANCE:
            raise DoesNotApply(f"tokens are not normalised one by one; see {self.kind}-norm.axis")


class LayerNormProbe(NormProbe):
    kind = "layer"


class RMSNormProbe(NormProbe):
    kind = "rms"
