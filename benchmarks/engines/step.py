"""Time and memory of a training step, or of a generated token, of the same GPT in each engine, compared with PyTorch.

    python benchmarks/engines/step.py --size M --rounds 5
    python benchmarks/engines/step.py --size M --what token --against numpy compiled

Each engine has its own process, since the threads of two libraries would disturb each other. The engines take turns, so
that a noisy machine slows all; the result is the ratio within a round. `floor` is NumPy computing only the matrix
products of a step. PyTorch runs with its defaults, NumPy with the settings that its users can choose: glibc keeps freed
memory, and OpenBLAS chooses the kernel for the processor. `compiled` is NumPy with its optional kernels in C, and
OpenBLAS's threads soon sleep, so that the kernels can use threads. Prints one JSON object.
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
"""models and their numbers of windows per batch: nanoGPT's settings for a CPU and for a small GPU"""
SECONDS = 8.0
"""duration of one measurement"""
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
    arguments = ["--size", options.size, "--what", options.what]
    rounds = [
        {name: in_a_process(__file__, name, options.threads, arguments) for name in names}
        for _ in range(options.rounds)
    ]
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


def in_a_process(script: str, name: str, threads: int, arguments: list[str]) -> dict[str, float]:
    """What the script prints with --child `name`."""
    limits = {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "OPENBLAS", "MKL")}
    environment = {key: value for key, value in os.environ.items() if key != "OPENBLAS_CORETYPE"} | limits
    environment |= SETTINGS.get(name, {})
    command = [sys.executable, script, *arguments, "--child", name]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(name: str, size: str, what: str) -> dict[str, float]:
    """The median time of a step, and the peak memory of the process beyond that before the model."""
    if what == "token":
        step = token(name, SIZES[size][0])
    else:
        step = products(*SIZES[size]) if name == "floor" else training_step(name, *SIZES[size])
    for _ in range(WARM_UP):
        step()
    times: list[float] = []
    while sum(times) < SECONDS or len(times) < 5:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return {"seconds": statistics.median(times), "peak_mb": peak_memory() - BEFORE.pop()}


BEFORE: list[float] = []


def peak_memory() -> float:
    """The peak memory of the process so far, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)


def opened(name: str) -> Engine[Any, Any]:
    """An engine; NumPy's with or without its kernels in C."""
    engine = open_engine("numpy" if name == "compiled" else name)  # type: ignore[arg-type]  # a choice of --against
    if name in ("numpy", "compiled"):
        from clearformer.engines.numpy import kernels

        kernels.switch(name == "compiled")
    return engine


def training_step(name: str, model_config: GPTConfig, windows: int) -> Callable[[], object]:
    """A step of the training loop: forward, backward, clipping and AdamW."""
    train_config = TrainConfig(steps=10**9, batch_tokens=windows * model_config.context)
    engine = opened(name)

    BEFORE.append(peak_memory())
    model = engine.make_model(Config(dataset="", model=model_config, train=train_config))
    tokens = np.random.default_rng(1).integers(4, model_config.vocab_size, 100_000)
    batches = TextWindows(tokens, model_config.context, train_config.batch_tokens, seed=1)
    records = engine.train(model, engine.make_optimizer(model, train_config), batches, train_config)
    return lambda: next(records)


def token(name: str, model_config: GPTConfig) -> Callable[[], object]:
    """Generate one row with a cache, from a prompt of 32 tokens to the end of the context, and over again."""
    engine = opened(name)
    from clearformer.generation.decoding import generate
    from clearformer.generation.sampling import GREEDY

    BEFORE.append(peak_memory())
    model = engine.make_model(Config(dataset="", model=model_config))
    prompt = np.random.default_rng(1).integers(4, model_config.vocab_size, 32).tolist()

    def endless() -> Iterator[list[int]]:
        while True:
            yield from generate(model, [prompt], model_config.context - len(prompt), GREEDY)

    tokens = endless()
    return lambda: next(tokens)


def products(config: GPTConfig, windows: int) -> Callable[[], object]:
    """The matrix products of a step, one forward and two backward each, and nothing else."""
    BEFORE.append(peak_memory())
    rng = np.random.default_rng(1)
    tokens, heads = windows * config.context, windows * config.num_heads
    D, F, E = config.d_model, config.d_ff, config.key_width  # noqa: N806

    def random(*shape: int) -> Any:
        return rng.normal(size=shape).astype(np.float32)

    linear = [(random(tokens, a), random(b, a), random(tokens, b)) for a, b in ((D, 3 * D), (D, D), (D, F), (F, D))]
    last = (random(tokens, D), random(config.vocab_size, D), random(tokens, config.vocab_size))
    q, p = random(heads, config.context, E), random(heads, config.context, config.context)

    def step() -> None:
        for x, weight, g in [*linear * config.num_layers, last]:
            x @ weight.T, g @ weight, g.T @ x
        for _ in range(config.num_layers):
            for _ in range(3):  # scores and their two gradients; values and theirs
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
