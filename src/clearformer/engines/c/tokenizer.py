"""Whether the tokenizers in C, which the page and an exported program have, read a run's."""

import ctypes
import json

from clearformer.data.imported import ImportedTokenizer
from clearformer.data.tokenizers import Tokenizer
from clearformer.engines.c import library
from clearformer.errors import EngineError, RunError


def names_of(tokenizer: Tokenizer) -> str:
    """The special tokens of an imported one in JSON, as in its special_tokens_map.json; "" of ours."""
    return json.dumps(tokenizer.names) if isinstance(tokenizer, ImportedTokenizer) else ""


def require_readable(tokenizer: Tokenizer) -> None:
    """Raise RunError, naming the part, if C does not read an imported tokenizer; without a compiler it is not asked."""
    names, target = names_of(tokenizer).encode(), tokenizer.target
    if not names:
        return
    if target is not tokenizer:
        require_readable(target)
    text = tokenizer.backend.to_str().encode()
    try:
        c = library.library()[0]
    except EngineError:
        return
    fault = ctypes.create_string_buffer(library.FAULT_SIZE)
    files = text, len(text), names, len(names)
    size = c.read_tokenizer(*files, None, fault)
    memory = (ctypes.c_uint64 * (size // 8))()
    if not size or not c.read_tokenizer(*files, memory, fault):
        raise RunError(fault.value.decode())
