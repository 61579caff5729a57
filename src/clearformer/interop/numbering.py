"""A translator's tokens in our order: every vocabulary of ours begins with <pad>, <bos>, <eos> and <unk>.

All engines begin, end and pad targets with these numbers. Marian's begin with the token of padding, which here becomes
two: <pad>, and <bos> with the same vector.
"""

import json
from collections.abc import Mapping
from typing import Any

import tokenizers

from clearformer.data.imported import ROLES, ImportedTokenizer
from clearformer.data.tokenizers import MASK
from clearformer.errors import InteropError
from clearformer.interop.formats import Values

KEYS = {"pad": "pad_token_id", "bos": "decoder_start_token_id", "eos": "eos_token_id"}


def in_our_order(tokenizer: ImportedTokenizer, values: Values) -> tuple[ImportedTokenizer, list[int]]:
    """The tokenizer with our numbers, and for each of our tokens the row of its vector in the file.

    Raises InteropError if `values`, of a config.json, do not say which tokens pad, begin and end a text.
    """
    size = tokenizer.vocab_size
    roles: dict[str, int] = {role: _number(values, key, size) for role, key in KEYS.items()}
    if roles["pad"] == roles["eos"]:
        raise InteropError(
            f"another eos_token_id than pad_token_id was expected in config.json, found {roles['eos']} in both; no "
            "model of clearformer has that"
        )
    if tokenizer.special.unk is not None:
        roles["unk"] = tokenizer.special.unk
    found: dict[int, str] = {index: tokenizer.backend.id_to_token(index) or "" for index in range(size)}
    rows = [roles["pad"], roles["bos"], roles["eos"], roles.get("unk", roles["pad"])]
    begins = "<bos>" if roles["bos"] in (roles["pad"], roles["eos"]) else found[roles["bos"]]
    first = [found[roles["pad"]], begins, found[roles["eos"]], found[roles["unk"]] if "unk" in roles else "<unk>"]
    rest = sorted((index for index in found if index not in rows), key=lambda index: (not found[index], index))
    texts = first + [found[index] for index in rest if found[index]]
    if "" in first or len(set(texts)) < len(texts):
        raise InteropError(
            "tokens that pad, begin and end a text were expected in tokenizer.json, and no other <bos> or <unk>, found "
            f"{', '.join(map(repr, first))}; use the tokenizer.json that belongs to the model"
        )
    backend = _renumbered(tokenizer.backend, texts)
    rows += rest
    return ImportedTokenizer(backend, dict(zip(ROLES[:MASK], texts, strict=False)), len(rows)), rows


def _number(values: Values, key: str, size: int) -> int:
    found = values.get(key)
    if type(found) is not int or not 0 <= found < size:
        raise InteropError(f"{key} must be the number of a token in config.json, found {found!r}; repair it")
    return found


def _renumbered(backend: tokenizers.Tokenizer, texts: list[str]) -> tokenizers.Tokenizer:
    """The same tokenizer, whose tokens are `texts`, in this order, and which puts nothing around a text."""
    file: dict[str, Any] = json.loads(backend.to_str())
    numbers, model = {text: index for index, text in enumerate(texts)}, file["model"]
    if isinstance(model["vocab"], list):
        scores: Mapping[str, float] = dict(model["vocab"])
        model |= {"vocab": [[text, scores.get(text, 0.0)] for text in texts], "unk_id": 3}
    else:
        model["vocab"] = numbers
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    new = [text for text in texts if backend.token_to_id(text) is None]
    added: dict[str, dict[str, Any]] = {text: {"id": numbers[text], "content": text} | plain for text in new}
    added |= {each["content"]: each | {"id": numbers[each["content"]]} for each in file["added_tokens"]}
    file |= {"added_tokens": sorted(added.values(), key=lambda each: int(each["id"])), "post_processor": None}
    return tokenizers.Tokenizer.from_str(json.dumps(file))
