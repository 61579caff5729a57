"""Which engine writes and translates fastest on this machine: PyTorch, or C where it is exact and takes less time.

A short test of both, once, decides; its result is kept beside the compiled library.
"""

import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from clearformer.config import Config, EngineName, GPTConfig
from clearformer.data.downloads import cache_folder
from clearformer.engine import open_engine
from clearformer.errors import ClearformerError

TRIED = GPTConfig(vocab_size=2048, context=128, d_model=256, num_heads=4, num_layers=4, d_ff=1024)
BATCHES, PROMPT, NEW, REPEATS = (1, 16), 16, 24, 3
TOLERANCE = 1e-4
"""greatest error of a logit, as a share of their standard deviation; float32 in another order of sums has about 1e-6"""
ACCELERATORS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""device files: where there is none, PyTorch need not be loaded to know that it computes on the CPU"""


@dataclass(frozen=True)
class Trial:
    """What the test has measured."""

    error: float
    """of the logits in C, as a share of their standard deviation"""
    speedups: tuple[float, ...]
    """seconds of PyTorch / seconds of C, for each of `BATCHES`"""

    @property
    def prefers_c(self) -> bool:
        return self.error <= TOLERANCE and min(self.speedups) > 1


def fastest_engine(config: Config, notify: Callable[[str], None]) -> EngineName:
    """The engine to decode with: C instead of PyTorch if it can compute the run, and the test preferred it."""
    if config.engine != "torch" or _has_accelerator():
        return config.engine
    try:
        return "c" if _trial(config, notify).prefers_c else config.engine
    except ClearformerError:  # no compiler, or a setting that C lacks: C was not asked for
        return config.engine


def _has_accelerator() -> bool:
    if platform.system() != "Darwin" and not any(map(os.path.exists, ACCELERATORS)):
        return False
    from clearformer.training.device import choose_device

    return choose_device("auto").type != "cpu"


def _trial(config: Config, notify: Callable[[str], None]) -> Trial:
    """The kept result, or a new one. Raises ClearformerError if C cannot compute a run of this configuration."""
    from clearformer.engines.c import engine, library

    engine.describe(config)
    name = Path(library.library()[0]._name).stem
    kept = cache_folder() / "kernels" / f"decoding-{name}-{version('torch')}-{library.threads()}.json"
    try:
        values = json.loads(kept.read_text("utf-8"))
        return Trial(float(values["error"]), tuple(map(float, values["speedups"])))
    except (OSError, ValueError, KeyError, TypeError):  # not measured yet, or damaged
        notify("comparing the engine in C with PyTorch, once on this machine")
    trial = measure()
    kept.write_text(json.dumps(asdict(trial)), "utf-8")
    chosen = "C decodes" if trial.prefers_c else "PyTorch decodes"
    notify(
        f"{chosen} from now on, unless --engine says otherwise: C takes 1/{trial.speedups[0]:.1f} of the time for one "
        f"text, 1/{trial.speedups[1]:.1f} for {BATCHES[1]}, and its logits differ by {trial.error:.0e} of their spread"
    )
    return trial


def measure() -> Trial:
    """Compare logits and the time to decode, the two engines in turn."""
    from clearformer.generation.decoding import generate
    from clearformer.generation.sampling import GREEDY

    names: tuple[EngineName, ...] = ("torch", "c")
    config = Config(dataset="", model=TRIED)
    engines = [open_engine(name) for name in names]
    models = [engine.make_model(config) for engine in engines]
    tokens = np.random.default_rng(1).integers(4, TRIED.vocab_size, (max(BATCHES), PROMPT))
    expected, found = (engine.logits_of(model, (tokens,)) for engine, model in zip(engines, models, strict=True))
    speedups = []
    for batch in BATCHES:
        prompts, best = tokens[:batch].tolist(), [float("inf")] * 2
        for _ in range(REPEATS):
            for index, model in enumerate(models):
                start = time.perf_counter()
                list(generate(model, prompts, NEW, GREEDY))
                best[index] = min(best[index], time.perf_counter() - start)
        speedups.append(best[0] / best[1])
    return Trial(float(np.abs(found - expected).max() / expected.std()), tuple(speedups))
