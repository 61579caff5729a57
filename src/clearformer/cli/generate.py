"""`clearformer generate`"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from clearformer.cli.arguments import input_lines, parse
from clearformer.config import EngineName
from clearformer.errors import PromptError
from clearformer.runs.checkpoint import CheckpointName

if TYPE_CHECKING:
    from clearformer.api.run import Run

DRAFT_TOKENS = 4


@dataclass(frozen=True)
class Generate:
    """Continue prompts with a language model."""

    run: Positional[Path]
    """the run's folder"""
    prompt: tuple[str, ...] = ()
    """prompts to continue; by default, the lines of standard input"""
    max_new_tokens: int = 200
    """how many tokens to generate"""
    temperature: float = 0.8
    """0 takes the likeliest token; 1 samples from the model's distribution"""
    top_k: int = 0
    """sample from this many of the likeliest tokens; 0 is all"""
    top_p: float = 1.0
    """sample from the fewest tokens that together have this probability"""
    seed: int = 1
    """of sampling: the same seed gives the same text; with --draft, another one than without"""
    slide: bool = True
    """when the context is full, continue from its last half; --no-slide ends with an error"""
    cache: bool = True
    """--no-cache recomputes all tokens at each step: the same text, slower"""
    engine: EngineName | Literal["fastest"] = "fastest"
    """the engine to compute with; fastest: C instead of PyTorch if a short test found it faster on this machine"""
    checkpoint: CheckpointName = "last"
    """best: the weights with the lowest validation loss, which --train.patience keeps"""
    draft: Path | None = None
    """a smaller run with the same tokenizer, which proposes tokens for this one to judge: the same distribution, and
    the same text at temperature 0, in less time if the two often agree"""
    draft_tokens: int | None = None
    """how many tokens the draft proposes at a time; by default 4"""
    json: Annotated[bool, arg(name="json")] = False
    """print a JSON list of objects with `prompt`, `text` and `tokens`"""


def run(arguments: Sequence[str]) -> int:
    options = parse(Generate, arguments, "generate")
    from clearformer.api.run import open_run
    from clearformer.generation.sampling import Sampling

    sampling = Sampling(options.temperature, options.top_k, options.top_p, options.seed)
    run = open_run(options.run, engine=options.engine, checkpoint=options.checkpoint)
    run.require("gpt")
    prompts = list(options.prompt) or list(input_lines())
    if not prompts:
        raise PromptError("a prompt was expected, found none; give --prompt TEXT or lines on standard input")
    draft = None
    if options.draft is not None:
        tokens = DRAFT_TOKENS if options.draft_tokens is None else options.draft_tokens
        draft = run.drafted_by(open_run(options.draft, engine=run.engine), tokens)
    elif options.draft_tokens is not None:
        raise PromptError("a draft was expected with --draft-tokens, found none; name a smaller run with --draft")
    count = options.max_new_tokens
    steps = run.continue_prompts(prompts, count, sampling, slide=options.slide, cached=options.cache, draft=draft)
    _write(run, prompts, steps, as_json=options.json)
    if draft is not None:
        run.notify(
            f"{draft.tokens_per_step:.2f} tokens per step of {run.folder}, {draft.steps:,} steps; of {draft.drafted:,} "
            f"tokens that {options.draft} drafted, {draft.accepted:,} were accepted"
        )
    return 0


def _write(run: "Run", prompts: Sequence[str], steps: Iterator[list[int]], *, as_json: bool) -> None:
    """Print the texts; that of one prompt as its tokens arrive."""
    from clearformer.generation.decoding import decode_stream

    if as_json:
        rows = [list(row) for row in zip(*steps, strict=True)]
        texts = [run.tokenizer.decode(row) for row in rows]
        results = zip(prompts, texts, rows, strict=True)
        print(json.dumps([{"prompt": prompt, "text": text, "tokens": row} for prompt, text, row in results]))
    elif len(prompts) == 1:
        print(prompts[0], end="", flush=True)
        for piece in decode_stream(run.tokenizer, (tokens[0] for tokens in steps), run.tokenizer.encode(prompts[0])):
            print(piece, end="", flush=True)
        print()
    else:
        for prompt, row in zip(prompts, zip(*steps, strict=True), strict=True):
            print(prompt + "".join(decode_stream(run.tokenizer, row, run.tokenizer.encode(prompt))) + "\n")
