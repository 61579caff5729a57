"""clearformer, with each of its engines: `clearformer`, `clearformer numpy`, ..."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import work
from numpy.typing import NDArray
from work import Work

from clearformer.config import AnyModelConfig, Config, EngineName, TrainConfig
from clearformer.data.batches import Batch, TextBatch, collate
from clearformer.engine import open_engine
from clearformer.generation.beam import Beam, beam_search
from clearformer.generation.decoding import generate
from clearformer.generation.sampling import GREEDY
from clearformer.models.initial import count_parameters

Device = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class OneBatch:
    """The same batch at every step."""

    one: Batch
    batches_per_epoch: int = 1

    def batch(self, step: int) -> Batch:  # noqa: ARG002  # any step's
        return self.one

    def in_order(self, max_tokens: int | None = None) -> Iterator[Batch]:  # noqa: ARG002
        yield self.one


def training(size: str, precision: str, engine: EngineName = "torch", device: Device = "cpu") -> Work:
    return training_of(work.GPTS[size], work.windows(size), precision, engine, device)


def training_of(
    config: AnyModelConfig, windows: NDArray[np.int64], precision: str, engine: EngineName, device: Device = "cpu"
) -> Work:
    """On windows [B, T + 1]."""
    batch = TextBatch(windows[:, :-1], windows[:, 1:])
    return _training(config, batch, windows[:, 1:].size, precision, engine, device)


def training_pairs(size: str, precision: str, engine: EngineName = "torch") -> Work:
    sources, targets = work.sentences(1), work.sentences(2)
    units = sum(map(len, sources)) + sum(map(len, targets))
    batch = collate(list(zip(sources, targets, strict=True)))
    return _training(work.PAIRS[size], batch, units, precision, engine, "cpu")


def _training(
    config: AnyModelConfig, batch: Batch, units: int, precision: str, engine: EngineName, device: Device
) -> Work:
    """A step of the project's own loop: forward, backward, clipping and AdamW."""
    settings = TrainConfig(steps=10**9, batch_tokens=batch.num_tokens, precision=precision, device=device)  # type: ignore[arg-type]
    opened = open_engine(engine)
    model = opened.make_model(Config(dataset="", engine=engine, model=config, train=settings))
    records = opened.train(model, opened.make_optimizer(model, settings), OneBatch(batch), settings)
    facts = {"loss": round(next(records).loss, 2)}
    return Work(lambda: next(records), units, count_parameters(config), facts)


def generation(size: str, batch: int, engine: EngineName = "torch", device: Device = "cpu") -> Work:
    model = make_model(work.GPTS[size], engine, device)
    prompts = work.prompts(size, batch).tolist()

    def run() -> int:
        return sum(len(tokens) for tokens in generate(model, prompts, work.NEW, GREEDY))

    return Work(run, batch * work.NEW, count_parameters(work.GPTS[size]), {"tokens out": run()})


def translation(size: str, engine: EngineName = "torch") -> Work:
    """Beam search to the end of the context, since a model with random weights hardly ever ends a sentence."""
    config = replace(work.PAIRS[size], context=work.TRANSLATED + 1)
    model = make_model(config, engine)
    sources = work.sources().tolist()

    def run() -> int:
        return sum(len(best[0].tokens) for best in beam_search(model, sources, Beam(size=work.BEAM)))

    return Work(run, work.SENTENCES, count_parameters(config), {"tokens out": run()})


def make_model(config: AnyModelConfig, engine: EngineName, device: Device = "cpu") -> Any:
    settings = TrainConfig(device=device)
    return open_engine(engine).make_model(Config(dataset="", engine=engine, model=config, train=settings))
