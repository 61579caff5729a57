"""Fuzzing the tokenizers in C: a mutated tokenizer.json is refused with a sentence, or encodes as the library does.

    python benchmarks/robustness/vocabularies.py --cases 10000
    python benchmarks/robustness/vocabularies.py --seed 417          one case again

The C code is compiled with -fsanitize=address,undefined. A failure is a report of these, a refusal without a sentence,
or a file that C reads and the `tokenizers` package does not, or with other ids or another text. The exit code is 1 if
there is any.
"""

import base64
import copy
import json
import random
import re
from pathlib import Path
from typing import Any, Literal

import tokenizers
from foreign import KINDS, imported
from fuzzing import Case, Found, change_bytes, fuzz, main, places

from clearformer.data.imported import ImportedTokenizer
from clearformer.data.tokenizers import Tokenizer, train_tokenizer
from clearformer.engines.c.library import TOKENIZER_PARTS

PARTS = ("json.c", "fault.c", *TOKENIZER_PARTS)

LINES = [
    "the quick brown fox\n",
    "jumps over 12 dogs,\t  naïve café 日本語 👩‍👩‍👧 x²!\r\n",
    "<mask> <pad> \u3000e\u0301\n",
]
TEXTS = [
    *("", " ", "²", "\n", "\r\n", "<pad>", "\ufffd", "🦊", "é", "\u00a0", "\x00", "the fox", "qu", "  quick", "..."),
    *("ﬁ\u0301", "\u0323", "A\u030a", "\u1112\u1161\u11ab", "ﷺ", "ｶﾞ", "\u212b", "  \u00a0 ", "Ａ\u0300\u0301"),
    *LINES,
]
VALUES: list[Any] = [
    *(None, True, False, 0, 1, 4, -1, 2**31, 2**63, 10**30, 0.5, 1.0, "", "x", "<pad>", "é", "Ġ", "\0", [], {}),
    *(["a"], [["a", "b"]]),
]
SENTENCE = re.compile(r"refused: .+ (was|were) expected.*, found .+; use the (tokenizer.json|run) .+")

File = tuple[str, str]
"""a tokenizer.json behind the special_tokens_map.json of an imported one, "" of ours"""


def vocabularies() -> list[File]:
    """A small tokenizer.json of each kind, with <mask> and without, and imported ones."""
    kinds: list[tuple[Literal["character", "word", "bpe"], int]] = [("character", 60), ("word", 30), ("bpe", 300)]
    own = [train_tokenizer(kind, LINES * 3, size, mask) for kind, size in kinds for mask in (False, True)]
    foreign = [(json.dumps(each.names), each.backend.to_str()) for each in map(imported, KINDS)]
    return [("", each.backend.to_str()) for each in own] + foreign


def change_value(file: Any, rng: random.Random) -> None:
    """Replace, remove, rename or exchange one value."""
    nodes = places(file)
    container, key = rng.choice(nodes[:40] + rng.sample(nodes, min(len(nodes), 20)))
    match rng.randrange(4):
        case 0:
            container[key] = copy.deepcopy(rng.choice(VALUES))
        case 1:
            del container[key]
        case 2:
            other, place = rng.choice(nodes)
            container[key], other[place] = copy.deepcopy(other[place]), copy.deepcopy(container[key])
        case _ if isinstance(container, dict):
            container[rng.choice(["x", "", "ab", "type", "Ġthe", "\0"])] = container.pop(key)


def change_vocabulary(file: Any, rng: random.Random) -> None:
    """Change the vocabulary, merges or added tokens so that they may still be right."""
    vocabulary, merges = file["model"]["vocab"], file["model"].get("merges", [])
    if isinstance(vocabulary, list):
        rng.choice(vocabulary)[rng.randrange(2)] = rng.choice([0.0, -1.5, -20.0, "the", "▁", "x"])
        return
    one, other = rng.sample(list(vocabulary), 2)
    match rng.randrange(6):
        case 0:
            vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
        case 1:
            vocabulary[rng.choice([one + other, "".join(rng.choices(TEXTS, k=2))])] = vocabulary.pop(one)
        case 2:
            rng.shuffle(merges)
        case 3:
            merges += rng.choices(merges, k=2) if merges else []
        case 4:
            merges[rng.randrange(len(merges) + 1) :] = []
        case _ if file["added_tokens"]:
            file["added_tokens"].pop()


def change_table(file: Any, rng: random.Random) -> bool:
    """Change bytes of a table of replacements, if there is one."""
    normalizer = file["normalizer"] or {}
    first = normalizer.get("normalizers", [normalizer])[0]
    if "precompiled_charsmap" not in first:
        return False
    table = change_bytes(base64.b64decode(first["precompiled_charsmap"]), rng)
    first["precompiled_charsmap"] = base64.b64encode(table).decode()
    return True


def mutate(names: str, text: str, rng: random.Random) -> bytes:
    """The file behind its names, with one to three changes of its values or its bytes."""
    file, how, changes = json.loads(text), rng.choice(["values", "vocabulary", "bytes", "table"]), rng.randint(1, 3)
    if how == "table" and not change_table(file, rng):
        how = "values"
    for _ in range(changes * (how in ("values", "vocabulary"))):
        (change_value if how == "values" else change_vocabulary)(file, rng)
    data = json.dumps(file, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    for _ in range(changes * (how == "bytes")):
        data = change_bytes(data, rng)
    return names.encode() + b"\n" + data


def make_case(seed: int, files: list[File]) -> Case:
    """A file, a text, sometimes not UTF-8, and token ids."""
    rng = random.Random(seed)
    text = "".join(rng.choices(TEXTS, k=rng.randrange(8))).encode()
    if rng.random() < 0.1:
        place = rng.randrange(len(text) + 1)
        text = text[:place] + rng.randbytes(1) + text[place:]
    ids = [rng.choice([rng.randrange(320), rng.randrange(320), 2**31 - 1]) for _ in range(rng.randrange(12))]
    return mutate(*rng.choice(files), rng), text, ids


def kind_of(line: str) -> str:
    """A line without what differs from case to case."""
    refusal = re.match("refused: (nothing|.+?, found)", line)
    return refusal[0] if refusal else "read"


def fault_in(line: str, case: Case) -> str:
    """What is wrong with the driver's line; empty if nothing."""
    both, text, ids = case
    names, file = both.split(b"\n", 1)
    if line.startswith("refused: "):
        return "" if SENTENCE.fullmatch(line) else f"no sentence: {line}"
    encoded, _, decoded = line.rpartition(":")
    try:
        backend = tokenizers.Tokenizer.from_str(file.decode())
        tokenizer = ImportedTokenizer(backend, json.loads(names), 0) if names else Tokenizer(backend)
    except Exception as error:  # the library raises plain Exceptions
        return f"read, but the library says: {error}"
    try:
        expected = " ".join(map(str, tokenizer.encode_lines(text.decode())))
    except UnicodeDecodeError:
        expected = "no UTF-8"
    if encoded.strip() != expected:
        return f"{text!r} becomes {encoded}, in the library {expected}"
    found = bytes.fromhex(decoded).decode()
    return "" if found == tokenizer.decode(ids) else f"{ids} become {found!r}, in the library {tokenizer.decode(ids)!r}"


def run_cases(seeds: range) -> Found:
    """Fuzz the tokenizers with the cases of these seeds."""
    files, driver = vocabularies(), Path(__file__).with_suffix(".c")
    return fuzz(driver, PARTS, seeds, lambda seed: make_case(seed, files), kind_of, fault_in)


if __name__ == "__main__":
    main(__doc__, run_cases)
