"""Bugs that released versions of libraries had, each with a version that has it and one that has not."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ReleasedBug:
    id: str
    library: str
    """the name that pip knows"""
    broken: str
    """a version with the bug"""
    mended: str
    """a version without it"""
    model: str
    """`FILE:FUNCTION` in `released`, which returns a small model with random weights"""
    truth: str
    """what is wrong, in words"""
    first: tuple[str, ...]
    """patterns of the answers that are true as the first line: `check` or `check:cause`, * for anything"""
    source: str
    """the issue or pull request: `owner/repository#number`"""
    beside: tuple[str, ...] = ()
    """further requirements, where the library needs older ones than it says"""


NO_MASK = "as a decoder it builds the mask of an encoder, so that every token sees the whole text"
CHUNKS = "several tokens at once, given a filled cache, are computed as if there were no past"
LEAK = ("masks.future", "masks.gradient")
CHUNKED = ("cache.chunks",)

BUGS = (
    *(
        ReleasedBug(
            f"transformers-{model.replace('_', '-')}-sees-the-future",
            "transformers",
            "5.17.0",
            "5.18.0",
            f"of_transformers.py:{model}",
            NO_MASK,
            LEAK,
            "huggingface/transformers#48745",
        )
        for model in ("roformer", "rembert", "megatron_bert", "big_bird")
    ),
    ReleasedBug(
        "transformers-doge-sees-the-future",
        "transformers",
        "5.17.0",
        "5.18.0",
        "of_transformers.py:doge",
        "its own mask takes the causal one's place, which it adds only where the text is padded",
        LEAK,
        "huggingface/transformers#48748",
    ),
)
