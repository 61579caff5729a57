"""The commands' pages: what `clearformer COMMAND --help` prints."""

import contextlib
import html
import io
import os
from unittest import mock

from clearformer.cli.main import COMMANDS, main
from tools.docs import Nav, Pages
from tools.docs.links import code

COLUMNS = "100"
WIDE = "---\nhide: [toc]\n---\n\n"
"""without a table of contents, so that a terminal's lines fit beside the list of pages"""
EXAMPLES = {"train": ["dates"]}
"""arguments with which a command's help says more"""


def pages() -> tuple[Pages, Nav]:
    """The index with all commands, and a page for each."""
    rows = "\n".join(f"| [`{name}`]({name}.md) | {html.escape(summary)} |" for name, summary in COMMANDS.items())
    made = {
        "commands/index.md": "# Commands\n\n`clearformer COMMAND --help` prints what these pages show.\n\n"
        f"| command | |\n| --- | --- |\n{rows}\n\n{_shown([])}"
    }
    for name, summary in COMMANDS.items():
        shown = [_shown([name])] + ([_shown([name, *EXAMPLES[name]])] if name in EXAMPLES else [])
        made[f"commands/{name}.md"] = (
            f"{WIDE}# {name}\n\n{html.escape(summary[0].upper() + summary[1:])}.\n\n" + "\n".join(shown)
        )
    return made, ["commands/index.md", *({name: f"commands/{name}.md"} for name in COMMANDS)]


def _shown(arguments: list[str]) -> str:
    return code(f"$ clearformer {' '.join([*arguments, '--help'])}\n\n{help_of(arguments)}", "text")


def help_of(arguments: list[str]) -> str:
    """What the command prints with these arguments and --help, as in a terminal of 100 columns."""
    printed = io.StringIO()
    with (
        mock.patch.dict(os.environ, COLUMNS=COLUMNS),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
    ):
        main([*arguments, "--help"])
    return "\n".join(line.rstrip() for line in printed.getvalue().strip("\n").splitlines())
