"""Is this transformer right? Checks for any implementation, and a diagnosis of what is wrong.

In a test of your own:

    from clearformer.checks import assert_sound

    def test_my_transformer_is_sound():
        assert_sound(MyTransformer())

A model passes through the folders in this order: `load`, `recognise`, `probe`, `models` (or `parts`), `explain`,
`report`. docs/checking.md describes each.

Names are loaded when they are first used, so that `import clearformer.checks` does not import PyTorch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clearformer.checks.api import assert_sound, check_model
    from clearformer.checks.subject import PartSubject, Subject

_MODULES = {"assert_sound": "api", "check_model": "api", "PartSubject": "subject", "Subject": "subject"}

__all__ = ["PartSubject", "Subject", "assert_sound", "check_model"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'clearformer.checks' has no attribute {name!r}")
    return getattr(importlib.import_module(f"clearformer.checks.{_MODULES[name]}"), name)
