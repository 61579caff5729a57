"""Skip what needs a C compiler where there is none."""

import pytest

from clearformer.engines.c import library
from clearformer.errors import EngineError


@pytest.fixture(scope="session")
def compiled() -> None:
    try:
        library.library()
    except EngineError as error:
        pytest.skip(str(error))
