"""`clearformer draw`"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.text import Text
from tyro.conf import Positional

from clearformer.cli.arguments import parse
from clearformer.runs.checkpoint import CheckpointName

COLOUR = "rgb(63,134,224)"


@dataclass(frozen=True)
class Draw:
    """Draw what each head attends to in a text: all heads as small maps, or some of them.

    Without --out they are drawn in the terminal, as characters.
    """

    run: Positional[Path]
    """the run's folder"""
    text: Positional[str]
    """the text that the model reads; of a translator, the source"""
    target: str | None = None
    """of a translator: the target; by default the model's own translation"""
    layer: int | None = None
    """only this layer, from 0 on, or from the end if negative"""
    head: int | None = None
    """only this head, from 0 on; with --layer, one map with its tokens"""
    attention: Literal["cross", "encoder", "decoder"] | None = None
    """of a translator: from target to source (cross, the default), within the source, or within the target"""
    checkpoint: CheckpointName = "last"
    """best: the weights with the lowest validation loss, which --train.patience keeps"""
    out: Path | None = None
    """a file to write, .svg or .png"""


def run(arguments: Sequence[str]) -> int:
    options = parse(Draw, arguments, "draw")
    from clearformer.api.run import open_run
    from clearformer.inspection.characters import lines

    reading = open_run(options.run, checkpoint=options.checkpoint).inspect(options.text, options.target)
    heads = reading.heads(options.attention).select(options.layer, options.head)
    if options.out is not None:
        picture = heads if options.layer is None or options.head is None else heads.map()
        picture.save(options.out)
        print(options.out)
        return 0
    console = Console(highlight=False)
    for line in lines(heads, console.width if console.is_terminal else None):
        text = Text(line)
        text.highlight_regex("[░▒▓█]+", COLOUR)
        console.print(text, soft_wrap=True)
    return 0
