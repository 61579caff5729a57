"""What all tests share: signatures are executed, one thread, one seed a test, small models whose weights all count."""

import os
from collections.abc import Callable, Iterator

import jaxtyping
import pytest
import torch
from hypothesis import settings
from torch import Tensor, nn

# Before anything imports clearformer: from here on every shape in a signature is checked at each call, which takes half
# as long again, so that long tests do without. Not in `config`: it has no shapes, but it has `Self`, which beartype
# can check in a whole class only.
WAY = ("data", "blocks", "models", "training", "runs", "generation", "evaluation", "inspection", "engines")
if os.environ.get("CLEARFORMER_TEST_SHAPES") != "off":
    jaxtyping.install_import_hook([f"clearformer.{folder}" for folder in WAY], "beartype.beartype")

torch.set_num_threads(1)  # the workers of pytest-xdist share the cores, and more threads add up in another order

settings.register_profile("clearformer", deadline=None)  # a first call may take long
settings.load_profile("clearformer")

SIZES = {"vocab_size": 11, "context": 7, "d_model": 8, "num_heads": 2, "num_layers": 2, "d_ff": 16, "dropout": 0.0}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first, so that the workers end together."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _fastest_engine_is_known() -> None:
    """The engines are compared before any test, which prints a notice once on a machine."""
    from clearformer.engines.fastest import fastest_engine
    from clearformer.recipes import dates

    fastest_engine(dates(), lambda _: None)


@pytest.fixture
def unoptimized() -> Iterator[None]:
    """tinygrad's kernels are not optimized: that takes two thirds of the compilation time."""
    from clearformer.engines.tinygrad.adapter import reason_to_skip

    if reason_to_skip():
        yield
    else:
        from tinygrad import Context

        with Context(NOOPT=1):
            yield


@pytest.fixture(scope="session")
def scramble() -> Callable[..., None]:
    """Fill every parameter with N(0, 0.25), biases and norms too, so that none is without effect."""

    def fill(module: nn.Module, seed: int = 1) -> None:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)

    return fill


@pytest.fixture(scope="session")
def tiny(scramble: Callable[..., None]) -> Callable[..., nn.Module]:
    """A small scrambled model, in evaluation mode: `tiny("gpt", norm_order="post", seed=2)`."""
    from clearformer.config import BERTConfig, ClassifierConfig, GPTConfig, TransformerConfig
    from clearformer.models.build import FAMILIES

    families = (GPTConfig, TransformerConfig, BERTConfig, ClassifierConfig)
    configs = {config.kind: config for config in families}

    def make(kind: str, seed: int = 1, **changes: object) -> nn.Module:
        config = configs[kind](**(SIZES | changes))
        model = FAMILIES[type(config)](config)
        scramble(model, seed)
        return model.eval()

    return make


@pytest.fixture(scope="session")
def with_gradients() -> Callable[..., list[Tensor]]:
    """What a function returns, and the gradient of every input under a loss that weighs each output differently."""

    def evaluate(function: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
        leaves = [value.detach().clone().requires_grad_() for value in inputs]
        out = function(*leaves)
        out.backward(torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out))
        return [out.detach(), *(leaf.grad for leaf in leaves)]

    return evaluate
