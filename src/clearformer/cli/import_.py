"""`clearformer import`"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from clearformer.cli.arguments import parse


@dataclass(frozen=True)
class Import:
    """Make a run of a model that Hugging Face's transformers saved, to use it, look inside and train it further."""

    source: Positional[str]
    """the model's folder, or its name on huggingface.co, such as openai-community/gpt2"""
    out: Path | None = None
    """the run's folder; by default runs/NAME, or runs/NAME-2 and so on if that is in use"""


def run(arguments: Sequence[str]) -> int:
    options = parse(Import, arguments, "import")
    from clearformer.api.display import say
    from clearformer.api.run import USES, open_run
    from clearformer.api.training import unused_folder
    from clearformer.interop.importing import import_model

    folder = options.out or unused_folder(Path(options.source).resolve().name)
    import_model(options.source, folder, say)
    use = USES[open_run(folder).config.model.kind][1]
    print(f"{folder}: type clearformer {use} {folder} --help")
    return 0
