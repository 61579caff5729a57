"""`clearformer data`"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tyro.conf import Positional

from clearformer.cli.arguments import parse
from clearformer.errors import DataError


@dataclass(frozen=True)
class Data:
    """List the corpora, or download one for use without a network."""

    action: Positional[Literal["list", "get"]] = "list"
    name: Positional[str | None] = None
    """the corpus to download"""


def run(arguments: Sequence[str]) -> int:
    options = parse(Data, arguments, "data")
    from clearformer.api.display import Working
    from clearformer.data.catalogue import DOWNLOADS
    from clearformer.data.downloads import cache_folder, fetch
    from clearformer.data.load import BUILT_IN

    if options.action == "list":
        for name, (description, _) in BUILT_IN.items():
            print(f"{name:<16} built in    {description}")
        for name, download in DOWNLOADS.items():
            size = sum(file.size for file in download.files) / 1e6
            downloaded = all((cache_folder() / name / file.name).is_file() for file in download.files)
            status = "here" if downloaded else f"{size:.1f} MB"
            print(f"{name:<16} {status:<11} {download.description}; licence: {download.licence}")
        return 0
    if options.name not in DOWNLOADS:
        raise DataError(f"one of {', '.join(DOWNLOADS)} was expected after `data get`, found {options.name!r}")
    working = Working()
    try:
        print(fetch(DOWNLOADS[options.name], progress=working))
    finally:
        working.close()
    return 0
