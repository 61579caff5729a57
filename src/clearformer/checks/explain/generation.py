"""Why greedy text is not what the logits say: each known mistake predicts the tokens that would be written."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from clearformer.checks.outcome import DoesNotApply, Outcome, failed
from clearformer.checks.probe.influence import TOLERANCE
from clearformer.checks.probe.probe import Inputs, Probe

DIAGNOSES = {
    "one-behind": "Each new token is taken from the logits of the last position but one: take logits[:, -1].",
    "first-position": "Each new token is taken from the logits of the first position: take logits[:, -1].",
    "unlikeliest": "The token with the smallest logit is taken: argmin, or an ascending sort.",
    "second-likeliest": "The second largest logit is taken: look at the index into the sorted tokens.",
    "not-read-again": "All new tokens follow the prompt alone: append each of them to what the model reads next.",
    "last-token-only": "The model reads the newest token alone, as if it were the first: the tokens before it, or the "
    "cache that holds them, are not passed on.",
    "prompt-forgotten": "From the second new token on the prompt is not read any more: append new tokens to it, or "
    "keep its keys and values in the cache.",
    "prompt-cut": "The last token of the prompt is not read: look at the index with which the prompt is cut or stored.",
    "last-token-twice": "The last token of the prompt is read twice, once with the prompt and once as the first new "
    "one.",
    "prompt-lost": "What is returned does not begin with the prompt: keep the whole text, and cut only what is read.",
    "source-padding": "The padding of a shorter source is read while writing, which the forward pass hides: pass the "
    "source's mask to every step.",
    "padding-read": "The padding of a shorter prompt is read as text, or its positions are counted from the padding: "
    "hide it in the mask of every step, and count from the first real token.",
    "ended-early": "It stops although not every row has written the token that ends its text: stop when all have.",
    "changed-by-an-end": "What is written in one row changes when another row has ended: keep the rows in their order, "
    "and let the end of one touch neither the tokens nor the cache of the others.",
    "written-behind-the-end": "A row that has ended is filled up with padding, and is then written on: once it "
    "has ended it stays so, ended = ended | (new == end).",
    "sampling": "Other tokens are drawn than the likeliest: those that are left out must get a logit of -inf, in the "
    "row in which they are left out.",
    "first-row": "All rows get the tokens of the first one: look for an index [0] or an .item() in the loop.",
    "state-left": "A second call with the same prompt writes another text: a cache or a position that the first call "
    "left on the model is not reset.",
    "random": "Two calls with the same prompt write different texts, though it is to write greedily: it draws random "
    "numbers, or dropout is active.",
    "after-the-first": "The first new token is right and a later one is not, so the prompt is read rightly and what is "
    "fed back is not: look at the cache, at the position of the new token, and at its mask.",
    "other": "No known mistake gives these tokens: compare the logits in the loop with those of one forward pass.",
    "count": "It writes another number of tokens than it is asked for: look at the range of the loop.",
    "keeps-the-oldest": "Where the context is full, the newest tokens are cut off and the oldest kept: cut with "
    "[:, -context:], not [:, :context].",
    "no-tokens": "What it writes are no tokens of the vocabulary.",
}

Write = Callable[[Inputs], Tensor]
"""prompt -> new tokens [B, N]"""


def gaps(logits: Tensor, tokens: Tensor) -> Tensor:
    """[B, N]: how far the logit of each token is below the largest one, in standard deviations of the logits."""
    chosen = logits.gather(-1, tokens[..., None])[..., 0]
    return (logits.amax(-1) - chosen) / logits.std().clamp(min=1e-12)


def before_the_end(new: Tensor, end: int | None) -> Tensor:
    """[B, N]: True up to the first token that ends a row's text, and for that one."""
    return torch.ones_like(new, dtype=torch.bool) if end is None else (new == end).cumsum(1) - (new == end).long() == 0


def explain(
    probe: Probe, prompt: Inputs, new: Tensor, distances: Tensor, write: Write, name: str, cause: str | None = None
) -> Outcome:
    """The outcome for new tokens [B, N] of which one is at a distance [B, N] from the likeliest; `cause` if known."""
    row, index = divmod(int((distances > TOLERANCE).flatten().int().argmax()), new.shape[1])
    worst = float(distances.max())
    case = (
        f"{name}: new token {index} of row {row} has a logit {float(distances[row, index]):.2g} standard deviations "
        f"below the largest one, after a prompt of {prompt.tokens.shape[1]}"
    )
    cause = cause or _change(partial(write, prompt), name) or _rule(probe, prompt, write)
    if cause is None:
        cause = "after-the-first" if bool((distances[:, 0] <= TOLERANCE).all()) else "other"
    return failed(cause, worst, TOLERANCE, case=case, diagnosis=DIAGNOSES[cause])


def _change(write: Callable[[], Tensor], name: str) -> str | None:
    """Whether the text changes from seed to seed. Raises DoesNotApply where it is meant to."""
    texts = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        texts.append(write())
    if torch.equal(*texts):
        return None
    if "greedy" in name:
        return "random"
    raise DoesNotApply(f"{name} draws random numbers, and how to make it greedy is not known")


def logits_before(probe: Probe, prompt: Inputs, new: Tensor) -> Tensor:
    """[B, N, V]: the logits before each new token, in one forward pass over the text."""
    text = torch.cat([prompt.tokens, new], dim=1)
    return probe.logits(prompt.replace(tokens=text[:, :-1]))[:, prompt.tokens.shape[1] - 1 :]


def _rule(probe: Probe, prompt: Inputs, write: Write) -> str | None:
    """The first known mistake with which all new tokens after this prompt and after another would be written."""
    causes: list[str] | None = None
    for other in (prompt, prompt.map(lambda tensor: tensor.flip(0, 1)), probe.inputs(*prompt.tokens.shape)):
        one = other.replace(tokens=prompt.tokens) if probe.kind == "encoder-decoder" else other
        new = write(one)
        predictions = _predictions(probe, one, new, logits_before(probe, one, new))
        alive = before_the_end(new, probe.subject.end)
        found = [cause for cause, predicted in predictions if torch.equal(predicted[alive], new[alive])]
        causes = found if causes is None else [cause for cause in causes if cause in found]
    return causes[0] if causes else None


def _predictions(probe: Probe, prompt: Inputs, new: Tensor, logits: Tensor) -> Iterator[tuple[str, Tensor]]:
    text, P = torch.cat([prompt.tokens, new], dim=1), prompt.tokens.shape[1]  # noqa: N806
    everywhere = probe.logits(prompt.replace(tokens=text[:, :-1])).argmax(-1)
    right = logits.argmax(-1)
    yield "unlikeliest", logits.argmin(-1)
    yield "second-likeliest", logits.topk(2).indices[..., 1]
    if P > 1:
        yield "one-behind", everywhere[:, P - 2 : -1]
    yield "first-position", everywhere[:, :1].expand_as(new)
    if P > 1:
        yield "prompt-cut", _likeliest(probe, prompt, prompt.tokens[:, :-1], new)
    yield "last-token-twice", _likeliest(probe, prompt, torch.cat([prompt.tokens, prompt.tokens[:, -1:]], dim=1), new)
    yield "not-read-again", right[:, :1].expand_as(new)
    yield "first-row", right[:1].expand_as(new)
    windows = [text[:, at : at + 1] for at in range(P - 1, text.shape[1] - 1)]
    newest = torch.cat([_next(probe, prompt, window) for window in windows], dim=1)
    yield "last-token-only", newest
    if new.shape[1] > 1:
        yield "last-token-only", torch.cat([right[:, :1], newest[:, 1:]], dim=1)
        later = [_next(probe, prompt, new[:, : at + 1]) for at in range(new.shape[1] - 1)]
        yield "prompt-forgotten", torch.cat([right[:, :1], *later], dim=1)


def _likeliest(probe: Probe, prompt: Inputs, tokens: Tensor, new: Tensor) -> Tensor:
    """[B, N]: the new tokens that would follow these instead of the prompt."""
    return logits_before(probe, prompt.replace(tokens=tokens), new).argmax(-1)


def _next(probe: Probe, prompt: Inputs, tokens: Tensor) -> Tensor:
    """[B, 1]: the likeliest token after these."""
    return probe.logits(prompt.replace(tokens=tokens))[:, -1:].argmax(-1)
