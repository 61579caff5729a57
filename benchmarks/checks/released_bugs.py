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


LEAK = ("masks.future", "masks.gradient")


def of_transformers(
    model: str, what: str, broken: str, mended: str, truth: str, first: tuple[str, ...], number: int
) -> ReleasedBug:
    return ReleasedBug(
        id=f"transformers-{model.replace('_', '-')}-{what}",
        library="transformers",
        broken=broken,
        mended=mended,
        model=f"of_transformers.py:{model}",
        truth=truth,
        first=first,
        source=f"huggingface/transformers#{number}",
    )


def sees_the_future(model: str, truth: str, number: int) -> ReleasedBug:
    return of_transformers(model, "sees-the-future", "5.17.0", "5.18.0", truth, LEAK, number)


def forgets_in_chunks(model: str, broken: str, mended: str, number: int) -> ReleasedBug:
    truth = "several tokens at once behind a filled cache are computed without what is in it, or as if they were one"
    return of_transformers(model, "forgets-in-chunks", broken, mended, truth, ("cache.chunks",), number)


def of_x_transformers(
    model: str, what: str, broken: str, mended: str, truth: str, first: tuple[str, ...], number: int
) -> ReleasedBug:
    return ReleasedBug(
        id=f"x-transformers-{what}",
        library="x-transformers",
        broken=broken,
        mended=mended,
        model=f"of_x_transformers.py:{model}",
        truth=truth,
        first=first,
        source=f"lucidrains/x-transformers#{number}",
    )


BUGS = (
    *(
        sees_the_future(model, "as a decoder it builds an encoder's mask, so every token sees the whole text", 48745)
        for model in ("roformer", "rembert", "megatron_bert", "big_bird")
    ),
    sees_the_future("doge", "its own mask takes the causal one's place, which it adds only to padded texts", 48748),
    forgets_in_chunks("falcon_h1", "5.12.1", "5.13.0", 46741),
    forgets_in_chunks("mamba2", "5.12.1", "5.13.0", 46032),
    forgets_in_chunks("qwen3_5", "5.6.2", "5.7.0", 45513),
    forgets_in_chunks("qwen3_next", "5.6.2", "5.7.0", 45513),
    forgets_in_chunks("lfm2", "5.14.1", "5.15.0", 47452),
    of_transformers(
        "zamba2",
        "mixes-chunks",
        "5.14.1",
        "5.15.0",
        "the states of a long text's chunks are summed over the wrong axis: the past is lost and the future seen",
        LEAK,
        47475,
    ),
    of_x_transformers(
        "flash",
        "cached-flash-sees-one-key",
        "1.22.15",
        "1.22.22",
        "with one query the kernel's causal mask is aligned to the first key, so a cached step sees that key alone",
        ("cache.steps",),
        187,
    ),
    of_x_transformers(
        "alibi",
        "cached-alibi-from-the-first-row",
        "1.22.15",
        "1.22.22",
        "a cached step takes the bias of the first query and not that of the last",
        ("cache.steps",),
        187,
    ),
    of_x_transformers(
        "decoder",
        "left-padding-is-attended",
        "1.22.15",
        "1.22.22",
        "the mask of padding on the left is passed on as a context's, of which there is none, and so ignored",
        ("batches.left-padding", "batches.padding-unseen"),
        187,
    ),
    of_x_transformers(
        "wrapped",
        "cached-beyond-the-context",
        "1.26.4",
        "1.26.6",
        "generate goes on beyond the context with keys cached for learned positions that have moved since",
        ("generation.*", "cache.limit"),
        219,
    ),
    of_transformers(
        "gemma2",
        "sees-the-future",
        "4.42.1",
        "4.42.2",
        "in layers with a window the causal mask is multiplied by the window's, so that minus infinity becomes zero",
        LEAK,
        31673,
    ),
    of_transformers(
        "bert_with_relative_positions",
        "cached-distances",
        "4.24.0",
        "4.25.1",
        "a cached step takes its distances to the past as those of the first token",
        ("cache.steps",),
        20203,
    ),
    of_transformers(
        "xglm",
        "predicts-padding",
        "4.49.0",
        "4.50.0",
        "behind the labels it puts a padding token, which the last position is trained to predict",
        ("loss.padding",),
        35878,
    ),
    of_transformers(
        "mamba2",
        "mixes-chunks",
        "4.47.1",
        "4.48.0",
        "the states of a long text's chunks are summed over the wrong axis: the past is lost and the future seen",
        LEAK,
        34817,
    ),
    of_transformers(
        "gemma4",
        "needs-its-cache",
        "5.5.0",
        "5.5.4",
        "layers that share others' keys and values find them in the cache alone, and without one compute their own",
        ("inference.paths", "cache.steps", "cache.separate"),
        45242,
    ),
)
