"""Layer normalisation and RMS normalisation, compared with their formulas and with the usual mistakes in them."""

from functools import cached_property, partial
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from clearformer.checks.outcome import DoesNotApply
from clearformer.checks.parts.probe import SAME, PartProbe, PartSubject, apart


def centred(x: Tensor) -> Tensor:
    return x - x.mean(-1, keepdim=True)


class Norm(PartProbe):
    """x [B, T, D] -> [B, T, D], with weights set so that they change nothing."""

    declarable: ClassVar[dict[str, tuple[str | bool, ...]]] = {"eps": ()}
    kind: ClassVar[Literal["layer", "rms"]]

    def __init__(self, meant: PartSubject, seed: int, memory: dict[str, Any]) -> None:
        super().__init__(meant, seed, memory)
        wanted = "a function or module x [B, T, D] -> [B, T, D]"
        self.width = self.find((partial(self.fits, width) for width in self.widths()), wanted)
        self.scales: list[nn.Parameter] = []
        self.one = 0.0
        """the weight that changes nothing: 1, or 0 where 1 + weight multiplies"""
        self.biases: list[nn.Parameter] = []
        self.ignored: list[nn.Parameter] = []
        if isinstance(self.target, nn.Module):
            self.neutral([weight for weight in self.target.parameters() if weight.numel() in (1, self.width)])

    def fits(self, width: int) -> int:
        self.call(self.draw(2, 3, width), shape=(2, 3, width))
        return width

    def neutral(self, weights: list[nn.Parameter]) -> None:
        """Tell by their effect which weights are added and which multiply, and make both neutral."""
        x = self.draw(2, 3, self.width)
        before = self(x)
        for weight in weights:
            kept = weight.clone()
            weight.add_(self.draw(*weight.shape))
            moved = self(x) - before
            weight.copy_(kept)
            if not moved.any():
                self.ignored.append(weight)
            elif apart(moved, moved[:1, :1].expand_as(moved)) < SAME:  # the same for every token
                self.biases.append(weight)
            else:
                self.scales.append(weight)
        for weight in (*self.biases, *self.scales):
            weight.zero_()
        if self.scales and float(self(x).abs().max()) == 0.0:
            self.one = 1.0
            for weight in self.scales:
                weight.fill_(1.0)

    def __call__(self, x: Tensor) -> Tensor:
        return self.call(x, shape=x.shape)

    def example(self) -> tuple[Tensor]:
        return (self.draw(2, 3, self.width),)

    def formula(self, x: Tensor) -> Tensor:
        """In float64 and without eps."""
        x = x.double()
        middle = centred(x) if self.kind == "layer" else x
        return middle / middle.square().mean(-1, keepdim=True).sqrt()

    @cached_property
    def moved(self) -> dict[str, float]:
        """How far a token's output moves when only another token of its row changes, or only another row."""
        x = self.draw(2, 3, self.width)
        before, moved = self(x), {}
        for name, place in (("tokens", (0, slice(1, 3))), ("rows", (1, slice(0, 3)))):
            changed = x.clone()
            changed[place] = 4 * self.draw(*changed[place].shape)
            moved[name] = apart(self(changed)[0, 0], before[0, 0])
        return moved

    def alone(self) -> None:
        """What is measured below is about a token on its own."""
        if max(self.moved.values()) > SAME:
            raise DoesNotApply(f"tokens are not normalised one by one; see {self.kind}-norm.axis")


class Layer(Norm):
    kind = "layer"


class Rms(Norm):
    kind = "rms"
