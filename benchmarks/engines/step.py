"""A whole training step of the same GPT in each engine, beside PyTorch's, or a token generated: time and memory.

    python benchmarks/engines/step.py --size M --rounds 5
    python benchmarks/engines/step.py --size M --what token --against numpy compiled

One process an engine, since two libraries' threads disturb each other, and the engines take turns, so that a noisy
machine slows all alike; what counts is the ratio within a round. `floor` is NumPy making the products of a step alone.
PyTorch runs with its defaults. NumPy has what its user can set: glibc keeps freed memory, and OpenBLAS chooses the
kernel of the processor it finds. `compiled` is NumPy with its optional kernels in C, and OpenBLAS's threads soon
sleep, so that the kernels may have threads too. Prints one JSON object.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from clearformer.config import Config, GPTConfig, TrainConfig
from clearformer.data.batches import TextWindows
from clearformer.engine import Engine, open_engine

SIZES: dict[str, tuple[GPTConfig, int]] = {
    "S": (GPTConfig(vocab_size=65, context=64, d_model=128, num_heads=4, num_layers=4, d_ff=512, dropout=0.0), 12),
    "M": (GPTConfig(vocab_size=65, context=256, d_model=384, num_heads=6, num_layers=6, d_ff=1536, dropout=0.0), 16),
}
"""a model and the windows in its batch: nanoGPT's settings for a CPU and for a small GPU"""
SECONDS = 8.0
"""how long one measurement goes on"""
WARM_UP = 2
MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**34)}
SETTINGS = {"numpy": MALLOC, "floor": MALLOC, "compiled": MALLOC | {"OPENBLAS_THREAD_TIMEOUT": "18"}}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="S")
    parser.add_argument("--what", choices=("step", "token"), default="step")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", nargs="*", default=["numpy", "compiled", "floor"], help="engines, or floor")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.child, options.size, options.what)))
        return
    names = ["torch", *options.against]
    rounds = [{name: in_a_process(name, options) for name in names} for _ in range(options.rounds)]
    result: dict[str, Any] = {
        "what": options.what,
        "size": options.size,
        "threads": options.threads,
        "processor": processor(),
        "rounds": options.rounds,
    }
    for name in names:
        seconds = [each[name]["seconds"] for each in rounds]
        ratios = [each[name]["seconds"] / each["torch"]["seconds"] for each in rounds]
        memory = statistics.median(each[name]["peak_mb"] for each in rounds)
        result[name] = {
            "seconds": round(statistics.median(seconds), 4),
            "of_torch": round(statistics.median(ratios), 3),
            "least": round(min(ratios), 3),
            "most": round(max(ratios), 3),
            "peak_mb": round(memory),
        }
    print(json.dumps(result))


def in_a_process(name: str, options: argparse.Namespace) -> dict[str, float]:
    threads = {f"{library}_NUM_THREADS": str(options.threads) for library in ("OMP", "OPENBLAS", "MKL")}
    environment = {key: value for key, value in os.environ.items() if key != "OPENBLAS_CORETYPE"} | threads
    environment |= SETTINGS.get(name, {})
    command = [sys.executable, __file__, "--size", options.size, "--what", options.what, "--child", name]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(name: str, size: str, what: str) -> dict[str, float]:
    """The median time of a step, and how much more memory the process took at its height than before the model."""
    if what == "token":
        step = token(name, SIZES[size][0])
    else:
        step = products(*SIZES[size]) if name == "floor" else training_step(name, *SIZES[size])
    for _ in range(WARM_UP):
        step()
    times: list[float] = []
    while sum(times) < SECONDS or len(times) < 5:
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return {"seconds": statistics.median(times), "peak_mb": height() - BEFORE.pop()}


BEFORE: list[float] = []


def height() -> float:
    """The most memory that the process ever held, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)


def opened(name: str) -> Engine[Any, Any]:
    """An engine; NumPy's with its kernels in C or without."""
    engine = open_engine("numpy" if name == "compiled" else name)  # type: ignore[arg-type]  # a choice of --against
    if name in ("numpy", "compiled"):
        from clearformer.engines.numpy import kernels

        kernels.switch(name == "compiled")
    return engine


def training_step(name: str, model_config: GPTConfig, windows: int) -> Callable[[], object]:
    """Forward, backward, clipping and AdamW, as training does it."""
    train_config = TrainConfig(steps=10**9, batch_tokens=windows * model_config.context)
    engine = opened(name)

    BEFORE.append(height())
    model = engine.make_model(Config(dataset="", model=model_config, train=train_config))
    tokens = np.random.default_rng(1).integers(4, model_config.vocab_size, 100_000)
    batches = TextWindows(tokens, model_config.context, train_config.batch_tokens, seed=1)
    records = engine.train(model, engine.make_optimizer(model, train_config), batches, train_config)
    return lambda: next(records)


def token(name: str, model_config: GPTConfig) -> Callable[[], object]:
    """One row, token by token with a cache, from a prompt of 32 up to the context's end, then from the prompt again."""
    engine = opened(name)
    from clearformer.generation.decoding import generate
    from clearformer.generation.sampling import GREEDY

    BEFORE.append(height())
    model = engine.make_model(Config(dataset="", model=model_config))
    prompt = np.random.default_rng(1).integers(4, model_config.vocab_size, 32).tolist()

    def endless() -> Iterator[list[int]]:
        while True:
            yield from generate(model, [prompt], model_config.context - len(prompt), GREEDY)

    tokens = endless()
    return lambda: next(tokens)


def products(config: GPTConfig, windows: int) -> Callable[[], object]:
    """The matrix products of a step, forwards and twice backwards, and nothing between them."""
    BEFORE.append(height())
    rng = np.random.default_rng(1)
    tokens, heads = windows * config.context, windows * config.num_heads
    D, F, E = config.d_model, config.d_ff, config.head_width  # noqa: N806

    def made(*shape: int) -> Any:
        return rng.normal(size=shape).astype(np.float32)

    linear = [(made(tokens, a), made(b, a), made(tokens, b)) for a, b in ((D, 3 * D), (D, D), (D, F), (F, D))]
    last = (made(tokens, D), made(config.vocab_size, D), made(tokens, config.vocab_size))
    q, p = made(heads, config.context, E), made(heads, config.context, config.context)

    def step() -> None:
        for x, weight, g in [*linear * config.num_layers, last]:
            x @ weight.T, g @ weight, g.T @ x
        for _ in range(config.num_layers):
            for _ in range(3):  # the scores, and what comes back to queries and keys; the values and their two
                q @ q.swapaxes(-1, -2), p @ q

    return step


def processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:  # noqa: PTH123
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


if __name__ == "__main__":
    main()
