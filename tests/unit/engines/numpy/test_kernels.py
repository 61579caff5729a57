import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from numpy.typing import NDArray

from clearformer.config import TrainConfig
from clearformer.data.batches import IGNORE
from clearformer.engines import compiler as engines_compiler
from clearformer.engines.numpy import compiled, kernels, optimizer, threads
from clearformer.engines.numpy.tensor import OPERATIONS, Tensor, apply

pytestmark = pytest.mark.slow  # a hundred draws of each

Array = NDArray[np.floating[Any]]
Made = tuple[list[Array], dict[str, Any]]

# float32 summed in another order, of the largest number in an array or among the inputs: 6.8e-7 seen over 150 draws of
# each, in layer_norm
KERNEL_TOLERANCE = 3e-6
# x Φ(x) and its derivative by the polynomial: 1.2e-7 seen, where float32 can tell 6e-8 from nothing
GELU_TOLERANCE = 3e-7
# ten steps of AdamW in float32, of numbers up to 1: 5.2e-7 seen
ADAMW_TOLERANCE = 2e-6
EPS = 1e-2
"""so large that a vector of equal numbers, whose gradient is the rounding, is not stretched much"""
TOKENS = array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=9)
WIDTH = st.integers(1, 70)
HUGE = st.sampled_from((1.0, 1.0, 1e3))


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Libraries are kept here, and nothing stays switched on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLEARFORMER_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
    compiled.library.cache_clear()
    kernels.switch(False)


@pytest.fixture(scope="module")
def compiler() -> str:
    found = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if found is None:
        pytest.skip("no C compiler on this machine")
    return found


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """As in a new process, whose surroundings may be changed; another test may have left the kernels on."""
    compiled.library.cache_clear()
    kernels.switch(False)
    yield monkeypatch
    compiled.library.cache_clear()


@contextmanager
def kernels_on(pieces: int = 1) -> Iterator[str]:
    """All work is done in so many pieces, if it has as many rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "threads", lambda: pieces)
        patch.setattr(threads, "GRAIN", 1)
        try:
            yield kernels.switch(True)
        finally:
            kernels.switch(False)


def outcome(name: str, inputs: list[Array], options: dict[str, Any], dtype: type) -> list[Array]:
    """The result and all gradients, where that of the result is a wave."""
    options = {key: np.random.default_rng(7) if key == "rng" else value for key, value in options.items()}
    leaves = [Tensor(_as(value, dtype), requires_grad=True) for value in inputs]
    out = apply(name, *leaves, **options)
    out.backward(np.cos(np.arange(out.data.size, dtype=dtype)).reshape(out.shape))
    return [out.data, *(leaf.grad for leaf in leaves)]


def _as(value: Array, dtype: type) -> Array:
    """The same layout in memory."""
    return value if value.dtype == dtype else value.astype(dtype, order="K")


def activated(draw: Any, rng: np.random.Generator) -> Made:
    return [draw(HUGE) * rng.standard_normal((*draw(TOKENS), 2 * draw(WIDTH)), np.float32)], {}


def normed(draw: Any, rng: np.random.Generator) -> Made:
    D = 1 + draw(WIDTH)  # noqa: N806
    shapes = [(*draw(TOKENS), D), (D,), (D,)]
    inputs = [rng.standard_normal(shape, np.float32) + np.float32(draw(st.sampled_from((0, 1)))) for shape in shapes]
    return inputs, {"eps": EPS}


def predicted(draw: Any, rng: np.random.Generator) -> Made:
    tokens, V = draw(TOKENS), draw(WIDTH)  # noqa: N806
    targets = np.where(rng.random(tokens) < 0.3, IGNORE, rng.integers(0, V, tokens))
    logits = draw(HUGE) * rng.standard_normal((*tokens, V), np.float32)
    return [logits], {"targets": targets, "smoothing": draw(st.sampled_from((0.0, 0.1)))}


def attended(draw: Any, rng: np.random.Generator) -> Made:
    """Some queries may see nothing; keys may be shared by heads."""
    ends = (0, 2), (1, 3), (1, 3), (0, 70), (1, 80)
    B, G, sharing, T, S = draw(st.tuples(*(st.integers(*bounds) for bounds in ends)))  # noqa: N806
    E, H, causal = draw(st.sampled_from((1, 7, 16, 59))), G * sharing, draw(st.booleans())  # noqa: N806
    T = min(T, S) if causal else T  # noqa: N806
    options = {
        "causal": causal,
        "mask": None if causal else draw(st.sampled_from((None, rng.random((B, 1, T, S)) < 0.1))),
        "bias": None if causal else draw(st.sampled_from((None, rng.standard_normal((1, H, 1, S), np.float32)))),
        "dropout": draw(st.sampled_from((0.0, 0.3))),
        "rng": None,
    }
    shapes = (B, H, T, E), (B, G, S, E), (B, G, S, E)
    q, k, v = (rng.standard_normal(shape, np.float32) for shape in shapes)
    return [q, k, v], options


def without_bias(draw: Any, rng: np.random.Generator) -> Made:
    inputs, options = normed(draw, rng)
    return inputs[:2], options


SHAPES = {"matrix": (300, 77), "vector": (77,), "number": (1,)}
CASES = {
    "gelu": activated,
    "swiglu": activated,
    "layer_norm": normed,
    "layer_norm without bias": without_bias,
    "rms_norm": without_bias,
    "cross_entropy": predicted,
    "attention": attended,
}


def test_every_kernel_of_a_rule_has_a_case():
    assert compiled.RULES.keys() <= {name.partition(" ")[0] for name in CASES}


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("case", CASES)
@settings(max_examples=30)
@given(data=st.data(), seed=st.integers(0, 2**31), strided=st.booleans(), pieces=st.integers(1, 3))
def test_kernels_equal_the_rules_in_numpy_and_their_gradients(case, data, seed, strided, pieces):
    name = case.partition(" ")[0]
    inputs, options = CASES[case](data.draw, np.random.default_rng(seed))
    if strided:
        inputs = [np.repeat(value, 2, -1)[..., ::2] for value in inputs]
    expected = outcome(name, inputs, options, np.float32)
    with kernels_on(pieces) as words:
        assert words.startswith("kernels compiled by")
        found = outcome(name, inputs, options, np.float32)
    least = max([1.0, *(float(np.abs(value).max(initial=0)) for value in inputs)])
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == np.float32
        assert np.abs(ours - theirs).max(initial=0) <= KERNEL_TOLERANCE * np.abs(theirs).max(initial=least)


@pytest.mark.usefixtures("compiler")
def test_gelu_and_its_derivative_are_those_of_the_error_function():
    x = np.linspace(-14, 14, 100_001).astype(np.float32)
    below = np.array([(1 + math.erf(value / math.sqrt(2))) / 2 for value in x.tolist()])
    bell = np.exp(-(x.astype(np.float64) ** 2) / 2) / math.sqrt(2 * math.pi)
    with kernels_on():
        out, found = OPERATIONS["gelu"].forward(x)
    assert np.abs(out - x * below).max() <= GELU_TOLERANCE * 14
    assert np.abs(out / np.where(x, x, 1) - below)[np.abs(x) > 1e-3].max() <= GELU_TOLERANCE
    assert np.abs(found["slope"] - below - x * bell).max() <= GELU_TOLERANCE


@pytest.mark.usefixtures("compiler")
def test_a_query_that_sees_nothing_yields_zeros_and_numbers_that_are_not_finite_stay_so():
    q, (k, v) = np.ones((1, 1, 9, 1), np.float32), np.ones((2, 1, 1, 5, 1), np.float32)
    q[0, 0, 2] = np.nan
    mask = np.arange(9)[:, None] != [0, 0, 1, 0, 0]
    mask[0] = False
    options = {"causal": False, "mask": mask[None, None], "bias": None, "dropout": 0.0, "rng": None}
    with kernels_on():
        out, found = OPERATIONS["attention"].forward(q, k, v, **options)
        gelu = OPERATIONS["gelu"].forward(np.array([np.nan, np.inf], np.float32))[0]
    assert found["weights"][0, 0, :2].tolist() == [[0] * 5, [0.25, 0.25, 0, 0.25, 0.25]]
    assert out[0, 0, :2].tolist() == [[0], [1]]
    assert np.isnan(out[0, 0, 2]).all()
    assert np.isnan(gelu[0])
    assert gelu[1] == np.inf


@pytest.mark.usefixtures("compiler")
def test_scores_may_be_huge():
    q, k = (np.float32(1000) * np.eye(20, dtype=np.float32)[None, None] for _ in "qk")
    options = {"mask": None, "bias": None, "dropout": 0.0, "rng": None}
    with kernels_on():
        out, _ = OPERATIONS["attention"].forward(q, -k, q, causal=False, **options)
        causal, _ = OPERATIONS["attention"].forward(q, k, q, causal=True, **options)
    assert np.array_equal(causal, q)
    assert np.abs(out - (1000 - q) / 19).max() <= KERNEL_TOLERANCE * 1000


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("pieces", [1, 2])
def test_adamw_moves_as_in_numpy(decay, pieces):
    config = TrainConfig(weight_decay=decay)

    def moved(dtype: type) -> list[Array]:
        rng = np.random.default_rng(0)
        weights = {name: Tensor(rng.random(shape).astype(dtype), True) for name, shape in SHAPES.items()}
        adamw = optimizer.AdamW(weights, config)
        for _ in range(10):
            for weight in weights.values():
                weight.grad = np.float32(rng.standard_normal(weight.shape)).astype(dtype)
            adamw.step(1e-2)
        return [array for name in SHAPES for array in (weights[name].data, *adamw.state[name].values())]

    exact = moved(np.float64)
    with kernels_on(pieces):
        found = moved(np.float32)
    for ours, theirs in zip(found, exact, strict=True):
        assert ours.dtype == np.float32
        assert np.abs(ours - theirs).max() <= ADAMW_TOLERANCE


def made_up() -> dict[str, Made]:
    """Something for each kernel."""
    rng = np.random.default_rng(0)
    x, weight, bias = rng.standard_normal((6, 8)), rng.standard_normal(8), rng.standard_normal(8)
    heads = list(rng.standard_normal((3, 2, 2, 9, 4)))
    seen = {"causal": True, "mask": None, "bias": None, "dropout": 0.0, "rng": None}
    return {
        "gelu": ([x], {}),
        "swiglu": ([x], {}),
        "layer_norm": ([x, weight, bias], {"eps": EPS}),
        "rms_norm": ([x, weight], {"eps": EPS}),
        "cross_entropy": ([x], {"targets": np.arange(6), "smoothing": 0.1}),
        "attention": (heads, seen),
    }


@pytest.mark.usefixtures("compiler")
def test_float64_stays_with_numpy_to_the_bit():
    inputs = made_up()
    expected = {name: outcome(name, *given, np.float64) for name, given in inputs.items()}
    with kernels_on():
        found = {name: outcome(name, *given, np.float64) for name, given in inputs.items()}
    assert all(np.array_equal(a, b) for name in inputs for a, b in zip(found[name], expected[name], strict=True))


@pytest.mark.usefixtures("compiler")
def test_switched_off_all_is_as_it_was():
    before, update = dict(OPERATIONS), optimizer.update
    with kernels_on():
        assert OPERATIONS["gelu"] is compiled.RULES["gelu"]
        assert optimizer.update == compiled.update
    assert before == OPERATIONS
    assert optimizer.update == update
    assert kernels.switch(False) == "no compiled kernels"


def test_without_a_compiler_the_engine_says_so_and_goes_on(anew):
    anew.delenv("CC", raising=False)
    anew.setenv("PATH", "")
    anew.setattr(engines_compiler, "PACKAGE", "no_such_package")
    before = dict(OPERATIONS)
    assert kernels.switch(True) == "no compiled kernels (no C compiler found)"
    assert before == OPERATIONS


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ("-Dsqrtf=cbrtf", "layer_norm, rms_norm, attention, update"),
        ("-Dlogf=log10f", "cross_entropy"),
        ("-Dfabsf=sqrtf", "gelu"),
    ],
)
def test_a_compiler_that_computes_something_else_is_refused(compiler, anew, change, wrong):
    anew.setenv("CC", f"{compiler} {change}")
    before = dict(OPERATIONS)
    words = kernels.switch(True)
    assert words.startswith("no compiled kernels (")
    assert words.endswith(f" computes {wrong} wrongly)")
    assert before == OPERATIONS


@pytest.mark.parametrize("command", ["true", "false", "/nowhere/cc"])
def test_what_is_no_compiler_is_named(anew, command):
    anew.setenv("CC", command)
    assert kernels.switch(True).startswith(f"no compiled kernels ({command} cannot compile kernels.c: ")


@pytest.mark.usefixtures("compiler")
def test_a_library_is_made_once_and_kept(anew, tmp_path):
    anew.setenv("CLEARFORMER_CACHE", str(tmp_path))
    made = []
    for _ in range(2):
        compiled.library.cache_clear()
        with kernels_on() as words:
            assert words.startswith("kernels compiled by")
        made.append([(path.name, path.stat().st_mtime_ns) for path in (tmp_path / "kernels").iterdir()])
    assert made[0] == made[1]
    assert len(made[0]) == 1
