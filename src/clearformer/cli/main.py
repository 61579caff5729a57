"""Dispatch to the commands, and turn errors into a one-line message and an exit code.

0 success; 1 the machine or a file failed; 2 invalid input; 128 + n stopped by signal n.
"""

import difflib
import importlib
import keyword
import os
import sys
from collections.abc import Sequence

from clearformer import __version__
from clearformer.errors import ClearformerError

COMMANDS = {
    "demo": "train, prove four claims, and write a report and a page to look inside, in three minutes",
    "guide": "build a transformer up from nothing, in stages that run",
    "recipes": "list what can be trained, with sizes and data",
    "train": "train a recipe into a run's folder",
    "grok": "watch a model grok arithmetic: memorise first, understand later",
    "resume": "continue a run exactly where it stopped",
    "evaluate": "loss, perplexity and scores of a run, beside the untrained model",
    "generate": "continue a prompt with a language model",
    "translate": "translate lines of standard input",
    "fill": "replace each <mask> in a text by its likeliest token",
    "classify": "classify each line of standard input",
    "compare": "print what runs differ in, and draw their loss curves in one picture",
    "draw": "draw what the attention heads of a run look at in a text",
    "explore": "write a page in which a browser runs the model",
    "export": "write a run as a program in C that needs no Python, or for other libraries",
    "import": "make a run of a model of Hugging Face's",
    "check": "find silent bugs of any transformer, yours too",
    "data": "list corpora, or download one",
}
"""the command `name` is the module `clearformer.cli.name`, or `clearformer.cli.name_` for a keyword of Python"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments)
    except ClearformerError as error:
        print(f"clearformer: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of the output has exited, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        print(
            f"clearformer: a file or folder that can be used was expected, but: {error}; check its name, your access "
            "and the room on the disk",
            file=sys.stderr,
        )
        return 1
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise  # PyTorch has no exception class for lack of memory on a CPU
        print(
            f"clearformer: enough memory was expected, but: {str(error).split(chr(10))[0] or 'none is left'}; "
            "lower --train.batch-tokens or a size of --model",
            file=sys.stderr,
        )
        return 1


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if arguments[0] == "--version":
        print(f"clearformer {__version__}")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]!r}" if near else "see clearformer --help"
        raise ClearformerError(f"a command was expected ({', '.join(COMMANDS)}), found {name!r}; {hint}")
    module = f"{name}_" if keyword.iskeyword(name) else name
    return int(importlib.import_module(f"clearformer.cli.{module}").run(rest))


def usage() -> str:
    """What `clearformer --help` prints."""
    lines = "\n".join(f"  {name:<10} {summary}" for name, summary in COMMANDS.items())
    return f"""usage: clearformer COMMAND [options]

A transformer you can see through: train it, measure it, use it, look inside.

{lines}

`clearformer COMMAND --help` explains each."""
