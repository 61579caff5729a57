"""`clearformer evaluate`"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from clearformer.cli.arguments import parse
from clearformer.config import EngineName
from clearformer.runs.checkpoint import CheckpointName


@dataclass(frozen=True)
class Evaluate:
    """Loss on a split, and perplexity, BLEU, accuracy or macro-F1; beside the untrained model."""

    run: Positional[Path]
    """the run's folder"""
    split: Literal["auto", "train", "validation", "test"] = "auto"
    """which part of the data; auto is test, or validation if there is no test split"""
    beam: int = 1
    """hypotheses per sentence in translation; 1 is greedy"""
    length_penalty: float = 0.6
    """of beam search: 0 ranks by probability; larger values favour longer translations"""
    engine: EngineName | None = None
    """the engine to compute with; by default the one that trained the run"""
    checkpoint: CheckpointName = "last"
    """best: the weights with the lowest validation loss, which --train.patience keeps"""
    json: Annotated[bool, arg(name="json")] = False
    """print one JSON object"""


def run(arguments: Sequence[str]) -> int:
    options = parse(Evaluate, arguments, "evaluate")
    from clearformer.api.run import open_run
    from clearformer.cli.tables import print_scores

    run = open_run(options.run, engine=options.engine, checkpoint=options.checkpoint)
    scores = run.evaluate(options.split, beam=options.beam, length_penalty=options.length_penalty)
    if options.json:
        print(json.dumps(scores))
        return 0
    print(f"{run.folder} at step {scores['step']}, on the {scores['split']} split\n")
    print_scores(scores)
    if "bleu_signature" in scores:
        method = (
            "greedy decoding"
            if scores["beam"] == 1
            else f"a beam of {scores['beam']}, length penalty {scores['length_penalty']}"
        )
        print(f"\nTranslated by {method}. BLEU is sacreBLEU's:")
        print(f"  bleu            {scores['bleu_signature']}\n  bleu_lowercase  {scores['bleu_lowercase_signature']}")
    return 0
