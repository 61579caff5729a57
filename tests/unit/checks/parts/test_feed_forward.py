"""Feed-forward networks in several styles pass, and every mistake is caught and named."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearformer.blocks.feedforward import FeedForward, GatedFeedForward, SquaredReLU

Causes = Callable[..., dict[str, str]]


class Network(nn.Module):
    """Two linear layers with `between`, of width 16."""

    def __init__(
        self, between: Callable[[Tensor], Tensor] = F.gelu, before: Callable[[Tensor], Tensor] = torch.clone
    ) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(16, 48), nn.Linear(48, 16)
        self.between, self.before = between, before

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.between(self.up(self.before(x))))


class Silent(Network):
    """The last matrix is initialised with zeros, as in muP and some GPTs."""

    def __init__(self) -> None:
        super().__init__()
        nn.init.zeros_(self.down.weight)


class HalfRead(Network):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.cat((x[..., :8], x[..., :8]), dim=-1))


class HalfWritten(Network):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((super().forward(x)[..., :8], torch.ones_like(x[..., 8:])), dim=-1)


def by_hand() -> Callable[[Tensor], Tensor]:
    up, down = torch.randn(16, 64) / 4, torch.randn(64, 16) / 8
    return lambda x: (x @ up).relu() @ down


SOUND = {
    "ReLU": lambda: FeedForward(24, 64, nn.ReLU()),
    "GELU": lambda: FeedForward(64, 24, nn.GELU()),
    "squared ReLU": lambda: FeedForward(16, 64, SquaredReLU(), bias=False),
    "SwiGLU": lambda: GatedFeedForward(24, 40, nn.SiLU()),
    "sequential": lambda: nn.Sequential(nn.Linear(20, 50), nn.ReLU(inplace=True), nn.Linear(50, 20), nn.Dropout(0.5)),
    "activation first": lambda: Network(before=torch.relu),
    "silent": Silent,
    "by hand": by_hand,
}
WRONG = {
    "no activation": (lambda: nn.Sequential(nn.Linear(16, 64), nn.Linear(64, 16)), {"activation": "no-activation"}),
    "constant": (lambda: lambda x: torch.ones_like(x), {"activation": "constant", "used": "input-unread"}),
    "softmax over tokens": (lambda: Network(lambda x: 9 * x.softmax(1)), {"tokens": "mixes-tokens"}),
    "mean over tokens": (lambda: Network(lambda x: (x + x.mean(1, keepdim=True)).relu()), {"tokens": "mixes-tokens"}),
    "norm over the batch": (lambda: Network(lambda x: (x - x.mean(0)).relu()), {"tokens": "mixes-rows"}),
    "half is read": (HalfRead, {"used": "input-unread"}),
    "half is written": (HalfWritten, {"used": "output-constant"}),
    "dropout": (lambda: Network(lambda x: F.dropout(x.relu(), 0.3)), {"repeatable": "dropout"}),
    "in place": (lambda: Network(before=lambda x: x.mul_(2.0)), {"input": "in-place"}),
    "not finite": (lambda: Network(lambda x: x / (x - x)), {"finite": "not-finite"}),
}


@pytest.mark.parametrize("style", SOUND)
def test_a_sound_network_passes_in_any_style(style: str, causes: Causes):
    assert causes("feed-forward", SOUND[style]()) == {}


@pytest.mark.parametrize("bug", WRONG)
def test_a_mistake_is_caught_and_named(bug: str, causes: Causes):
    make, expected = WRONG[bug]
    found = causes("feed-forward", make())
    assert expected.items() <= found.items()
    if bug not in ("dropout", "not finite", "norm over the batch"):  # these make other numbers wrong as well
        assert found == expected
