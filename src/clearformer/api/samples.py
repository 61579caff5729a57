"""Samples in training: at each validation the model answers the same examples, in the terminal and in samples.jsonl."""

from typing import Any

from clearformer.api.display import say
from clearformer.engine import engine_of
from clearformer.runs import samples
from clearformer.runs.folder import RunFolder
from clearformer.runs.samples import Sample
from clearformer.runs.session import Update, untrained_model
from clearformer.training.processes import is_first


class Sampled:
    """Called with each update, writes and prints samples where there was a validation.

    They are of a copy of the model, in evaluation mode, so that training is the same to the bit without them.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.copy: Any = None

    def __call__(self, update: Update) -> list[Sample]:
        """The samples of this update; none if there was no validation, or none are wanted."""
        count = self.run.config.train.samples
        if not count or update.validation_loss is None:
            return []
        from clearformer.inspection.examples import examples

        engine = engine_of(update.model)
        weights = engine.weights_of(update.model)  # in all processes, of which each may have a part
        if not is_first():
            return []
        self.copy = self.copy or untrained_model(self.run)
        engine.load_weights(self.copy, weights)
        found = examples(self.run, self.copy, count)
        samples.append(self.run.samples, update.record.step, found)
        say(printed(update.record.step, found))
        return found


def printed(step: int, found: list[Sample]) -> str:
    """The samples of a step for a terminal, each part of one in a line, after its name."""
    width = max((len(name) for sample in found for name in sample), default=0)
    lines = ["\n".join(f"  {name:<{width}}  {_line(text)}" for name, text in sample.items()) for sample in found]
    return f"at step {step:,}\n" + "\n\n".join(lines) + "\n"


def _line(text: str) -> str:
    return text.replace("\n", "⏎")
