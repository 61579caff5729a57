"""Models of the C engine in WebAssembly, which a Node process holds: see wasm_port.mjs."""

import atexit
import base64
import functools
import json
import shutil
import subprocess
import threading
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from cases import config_for
from numpy.typing import NDArray
from safetensors.numpy import save

from clearformer.config import AnyModelConfig, GPTConfig, TrainConfig, TransformerConfig
from clearformer.data.batches import Batch, Batches, PairBatch
from clearformer.engines.c.library import FOLDER
from clearformer.generation.beam import Beam
from clearformer.training.steps import Record, updates

Arrays = dict[str, NDArray[Any]]
LIMIT = 120
"""seconds for an answer, of a machine that is busy"""


@functools.cache
def _node() -> "subprocess.Popen[str]":
    script = Path(__file__).with_suffix(".mjs")
    process = subprocess.Popen(["node", script, FOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(process.communicate)  # which is called last
    atexit.register(process.kill)
    return process


_unused: list[int] = []
"""models to free; Python may find one unused at any time, also between a question and its answer"""


def ask(action: str, **values: Any) -> Any:
    """The answer of Node."""
    process, unused = _node(), [_unused.pop() for _ in range(len(_unused))]
    assert process.stdin
    assert process.stdout
    timer = threading.Timer(LIMIT, process.kill)
    timer.start()
    with suppress(BrokenPipeError):  # it has ended, and its output, too
        process.stdin.write(json.dumps({"action": action, "unused": unused, **values}) + "\n")
        process.stdin.flush()
    line = process.stdout.readline()
    timer.cancel()
    assert line, f"an answer to {action} within {LIMIT} seconds was expected of Node, but it hung or ended"
    answer = json.loads(line)
    assert "error" not in answer, answer["error"]
    return answer.get("found")


def missing() -> str:
    return "" if shutil.which("node") else "Node was expected for WebAssembly, found none; install nodejs"


def describe() -> str:
    version = subprocess.check_output(["node", "--version"], text=True, timeout=LIMIT).strip()
    return f"C, compiled to WebAssembly by ziglang, in Node {version} (1 thread)"


class Model:
    """A model in WebAssembly."""

    def __init__(self, config: AnyModelConfig, weights: Arrays) -> None:
        self.config = config
        file = base64.b64encode(save(weights)).decode()
        self.number = ask("load", weights=file, config=json.loads(config_for(config).to_json()))
        weakref.finalize(self, _unused.append, self.number)

    def ask(self, action: str, **values: Any) -> Any:
        return ask(action, model=self.number, **values)

    def logits(self, inputs: tuple[NDArray[Any], ...]) -> NDArray[np.float32]:
        return _array(self.ask("run", inputs=self._inputs(inputs)))

    def gradients(self, batch: Batch, config: TrainConfig) -> tuple[float, Arrays]:
        found = self.ask("gradients", batches=self._batches([batch]), settings=_settings(config))
        return found["loss"], _arrays(found["gradients"])

    def train(self, batches: Batches, config: TrainConfig) -> Iterator[Record]:
        def step(micro_batches: list[Batch], rate: float, _seed: int) -> tuple[float, float]:
            settings = _settings(config) | {"rate": rate}
            found = self.ask("step", batches=self._batches(micro_batches), settings=settings)
            return found["loss"], found["norm"]

        return updates(step, lambda *_: "a number", batches, config, self.config.d_model)

    def weights(self) -> Arrays:
        return _arrays(self.ask("weights"))

    def generated(self, rows: list[list[int]], max_tokens: int, beam: Beam) -> list[Any]:
        """As `Port.generated`."""
        if isinstance(self.config, GPTConfig):
            options = {"temperature": 0, "maxTokens": max_tokens}
            steps = [self.ask("generate", inputs=row, options=options) for row in rows]
            return [list(tokens) for tokens in zip(*steps, strict=True)]
        greedy = [self.ask("generate", inputs={"source": row}, options={"temperature": 0}) for row in rows]
        best = self.ask("translate", sources=rows, options={"beam": beam.size, "nBest": beam.n_best})
        return [greedy, [[found["tokens"] for found in some] for some in best]]

    def _inputs(self, inputs: tuple[NDArray[Any], ...]) -> dict[str, Any]:
        """Texts without padding."""
        if isinstance(self.config, TransformerConfig):
            source, target, source_real, target_real = inputs
            return {"source": _texts(source, source_real), "target": _texts(target, target_real)}
        tokens, *rest = inputs
        if not rest:
            return {"tokens": tokens.tolist()}
        real, segments = rest
        return {"tokens": _texts(tokens, real), "segments": _texts(segments, real)}

    def _batches(self, batches: list[Batch]) -> list[dict[str, Any]]:
        found = []
        for batch in batches:
            real = batch.inputs[-1 if isinstance(batch, PairBatch) else 1] if len(batch.inputs) > 1 else None
            one = batch.targets.ndim == 1 or real is None
            targets = batch.targets.tolist() if one else _texts(batch.targets, real)
            found.append({"inputs": self._inputs(batch.inputs), "targets": targets})
        return found


def _texts(x: NDArray[Any], real: NDArray[np.bool_]) -> list[list[int]]:
    return [row[:length].tolist() for row, length in zip(x, real.sum(-1), strict=True)]


def _settings(config: TrainConfig) -> dict[str, Any]:
    return {
        "smoothing": config.label_smoothing, "tokenLoss": config.token_loss, "beta1": config.beta1,
        "beta2": config.beta2, "epsilon": config.epsilon, "decay": config.weight_decay, "clip": config.clip,
    }  # fmt: skip


def _array(found: dict[str, Any]) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(found["data"]), np.float32).reshape(found["shape"])


def _arrays(found: dict[str, Any]) -> Arrays:
    return {name: _array(value) for name, value in found.items()}
