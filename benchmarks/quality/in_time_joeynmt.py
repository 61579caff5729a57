"""JoeyNMT at Multi30k: its model and its trainer, given our tokens as words.

Its transformer has the depth and the width of ours, and all else is as in its recipe for IWSLT 2014: feed-forward
layers of 4 D, tied embeddings, dropout of 0.3, label smoothing, Adam at 0.0003 on batches of 4,096 tokens. Its rate is
constant here: there it falls when validation stalls, which does not happen in the time. Post-norm is named, as in its
newer recipes: left out, its encoder is pre-norm without a norm at the end. Its trainer runs as it is; only its
validation, which decodes, is replaced.
"""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from joeynmt.config import parse_global_args, set_validation_args
from joeynmt.prediction import predict, prepare
from joeynmt.training import TrainManager

from clearformer.data.corpora import Split
from clearformer.runs.folder import RunFolder

if TYPE_CHECKING:
    from in_time import Curve

FIRST_WORD = 4
"""the special tokens of both stand before it"""
SPLITS: dict[str, Split] = {"train": "train", "dev": "validation", "test": "test"}
VALIDATE = 100
"""steps"""
STACK: dict[str, Any] = {"type": "transformer", "num_layers": 3, "num_heads": 4, "hidden_size": 256, "ff_size": 1024}
STACK |= {"layer_norm": "post", "dropout": 0.3, "embeddings": {"embedding_dim": 256, "scale": True, "dropout": 0.0}}
TRAINING: dict[str, Any] = {
    "optimizer": "adam",
    "adam_betas": [0.9, 0.999],
    "learning_rate": 3e-4,
    "scheduling": "exponential",
    "decrease_factor": 1.0,
    "normalization": "tokens",
    "label_smoothing": 0.1,
    "batch_size": 4096,
    "batch_type": "token",
    "epochs": 10_000,
    "validation_freq": VALIDATE,
    "logging_freq": VALIDATE,
    "early_stopping_metric": "loss",
}


class Trainer(TrainManager):  # type: ignore[misc]
    """Measures the curve where it would validate, and stops after `seconds`."""

    curve: "Curve"
    seconds: float

    def _validate(self, valid_data: Any) -> None:
        with self.curve.paused():
            self.curve.add(self.stats.steps, validation_loss(self.model, valid_data))
        self.stats.is_max_update = self.curve.seconds >= self.seconds

    def _save_checkpoint(self, new_best: bool, score: float) -> None:
        """None is wanted."""


def run(run: RunFolder, curve: "Curve", seconds: float) -> dict[str, Any]:
    from in_time import scored

    logging.disable()
    with TemporaryDirectory() as folder:
        settings = configuration(run, Path(folder))
        arguments = parse_global_args(settings, rank=0, mode="train")
        model, train, validation, test = prepare(arguments, rank=0, mode="train")
        tested = set_validation_args(arguments.test)
        trainer = Trainer(0, model, Path(folder), torch.device("cpu"), autocast=arguments.autocast,
                          train_args=arguments.train, dev_args=tested)  # fmt: skip
        trainer.curve, trainer.seconds = curve, seconds
        curve.started()
        trainer.train_and_validate(train, validation)
        translate = {"n_gpu": 0, "normalization": "tokens", "autocast": arguments.autocast, "args": arguments.test}
        words = predict(model, test, torch.device("cpu"), **translate)[3]
    translations = [[int(word[1:]) for word in line if word[0] == "t"] for line in words]
    parameters = sum(each.numel() for each in model.parameters())
    return {"curve": curve.points, "steps": trainer.stats.steps, "parameters": parameters} | scored(run, translations)


def configuration(run: RunFolder, folder: Path) -> dict[str, Any]:
    """JoeyNMT's settings; the tokens of all splits are written to files of `folder`."""
    for split in SPLITS.values():
        for index, side in enumerate(("source", "target")):
            lines = [" ".join(f"t{token}" for token in tokens[index]) for _, tokens in run.pairs(split)]
            (folder / f"{split}.{side}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = folder / "words.txt"
    words.write_text("".join(f"t{index}\n" for index in range(FIRST_WORD, run.config.model.vocab_size)))
    sides = {
        name: {"lang": side, "level": "word", "voc_file": str(words), "max_length": 128}
        for name, side in (("src", "source"), ("trg", "target"))
    }
    return {
        "name": "multi30k",
        "model_dir": str(folder),
        "use_cuda": False,
        "data": {"train": str(folder / "train"), "dev": str(folder / "validation"), "test": str(folder / "test")}
        | sides,
        "testing": {"beam_size": 5, "beam_alpha": 1.0, "max_output_length": 100, "batch_size": 32},
        "training": TRAINING,
        "model": {
            "initializer": "xavier_uniform",
            "embed_initializer": "xavier_uniform",
            "tied_embeddings": True,
            "tied_softmax": True,
            "encoder": STACK,
            "decoder": STACK,
        },
    }


@torch.no_grad()
def validation_loss(model: Any, data: Any) -> float:
    """Nats a token, without label smoothing or dropout."""
    model.eval()
    total = count = 0.0
    for batch in data.make_iter(batch_size=64, pad_index=model.pad_index, eos_index=model.eos_index):
        log_p = model(return_type="loss", **vars(batch))[1]
        correct = log_p.gather(-1, batch.trg[..., None])[..., 0]
        total -= correct[batch.trg != model.pad_index].sum().item()
        count += batch.ntokens
    model.train()
    return total / count
