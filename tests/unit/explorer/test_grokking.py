"""What a page holds of a run that learned arithmetic: measures of all milestones, and stages of training by default."""

import dataclasses
import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clearformer.config import Config, GPTConfig, ModularConfig, Operation
from clearformer.explorer.contents import MAX_LINES, STAGES, contents, size
from clearformer.inspection.grokking.history import measure, tabulate
from clearformer.models.build import build, load_weights
from clearformer.models.gpt import GPT
from clearformer.models.initial import initial_weights
from clearformer.runs.checkpoint import Checkpoint, save_checkpoint
from clearformer.runs.folder import RunFolder, create_folder

P, LAST = 7, 1000
MILESTONES = sorted({round(2 ** (i / 2)) for i in range(20)})
"""1, 2, 3, 4, 6, … 724"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., RunFolder]:
    """A run with other weights at each milestone, and at step LAST."""

    def make(operation: Operation = "add") -> RunFolder:
        model = GPTConfig(
            vocab_size=P + 5, context=3, d_model=8, num_heads=2, num_layers=1, d_ff=8, norm="none", tie_embeddings=False
        )
        config = Config("modular", model, tokenizer="number", modular=ModularConfig(P, operation, 0.5))
        run = create_folder(tmp_path / operation, config, lambda _: None)
        for step in [*MILESTONES, LAST]:
            checkpoint = Checkpoint(step, {"model": initial_weights(model, step)})
            save_checkpoint(run.checkpoints if step == LAST else run.milestones, checkpoint, keep=step)
        lines = [{"step": step, "loss": 1.0} for step in range(1, 5001)]
        run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return run

    return make


def test_every_milestone_is_measured_from_the_untrained_model_to_the_trained_one(run):
    made = run()
    found = contents(made).about["grokking"]
    assert [line["step"] for line in found["measures"]] == [0, *MILESTONES, LAST]
    model = build(made.config.model, made.config.train.seed).eval()
    assert isinstance(model, GPT)
    load_weights(model, initial_weights(made.config.model, MILESTONES[5]))
    expected = dataclasses.asdict(measure(model, MILESTONES[5], tabulate(made.corpus, "add", P), found["frequencies"]))
    expected["squared_weights"] = sum(expected["squared_weights"].values())
    assert found["measures"][6] == expected
    assert [(each["name"], each["first"], each["last"]) for each in found["phases"]] == [("memorisation", 0, LAST)]
    json.dumps(found, allow_nan=False)  # a browser reads no NaN


def test_numbers_stand_in_the_order_of_the_circle(run):
    assert contents(run("add")).about["grokking"]["numbers"] == [0, 1, 2, 3, 4, 5, 6]
    assert contents(run("divide")).about["grokking"]["numbers"] == [1, 3, 2, 6, 4, 5]  # the powers of 3 modulo 7
    without = contents(run("quadratic")).about["grokking"]
    assert without["frequencies"] == []
    assert without["numbers"] == [0, 1, 2, 3, 4, 5, 6]
    assert without["measures"][0]["restricted_loss"] is None


def test_stages_are_even_in_the_logarithm_of_steps_and_half_precise_unless_their_number_is_given(run):
    made = run()
    held = contents(made)
    steps = [each["step"] for each in held.about["checkpoints"]]
    assert (steps[0], steps[-1], len(steps)) == (0, LAST, STAGES)
    assert held.about["precision"] == "half"
    assert size(made, 0, "single") == size(made, STAGES, "half")
    late = np.diff(np.log(np.array(steps[-5:]) + 30.0))
    apart = math.log((LAST + 30) / 30) / (STAGES - 1)
    np.testing.assert_allclose(late, apart, atol=math.log(2) / 2)  # milestones are half a doubling apart
    few = contents(made, checkpoints=3)
    assert few.about["precision"] == "single"
    assert [each["step"] for each in few.about["checkpoints"]] == [0, min(MILESTONES, key=_from_middle), LAST]


def _from_middle(step: int) -> float:
    return abs(math.log((step + 30) ** 2 / (30 * (LAST + 30))))


def test_metrics_are_thinned_evenly_in_the_logarithm_so_that_the_first_steps_stay(run):
    steps = [line["step"] for line in contents(run()).about["metrics"]]
    assert len(steps) <= MAX_LINES
    assert steps[:50] == list(range(1, 51))
    assert steps[-1] == 5000
    assert max(later / earlier for earlier, later in itertools.pairwise(steps[50:])) < 1.04
