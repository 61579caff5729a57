"""Masked tokens that a bidirectional model fills in, against its own logits."""

import torch
from torch import Tensor

from clearformer.checks.explain.generation import gaps
from clearformer.checks.outcome import ModelCrashed, Outcome, failed, passed
from clearformer.checks.probe.influence import TOLERANCE
from clearformer.checks.probe.probe import Inputs, Probe
from clearformer.checks.recognise.generation import FACTORS
from clearformer.checks.weights import randomise_weights

ROWS = 8


def filled(probe: Probe) -> Outcome:
    """Masked places are filled with the likeliest token, and no others.

    A condition the wrong way round replaces what was known and leaves the masks, and an index that is off by one fills
    a place with what belongs beside it.

    One token in three is masked. Each masked place must be filled with the token that has the largest logit there, and
    all others must stay; and, where the padding token is known, in a batch of rows that end in padding.
    """
    tokens = probe.inputs(ROWS).tokens
    real = torch.ones_like(tokens, dtype=torch.bool)
    outcome = _compare(probe, tokens, real)
    if outcome.status == "failed" or probe.subject.padded is None or probe.subject.pad not in probe.subject.reserved:
        return outcome
    real[1:, tokens.shape[1] // 2 :] = False
    tokens = tokens.masked_fill(~real, probe.subject.pad)
    _let_padding_decide(probe, _with_masks(probe, tokens, real)[0], real)
    padded = _compare(probe, tokens, real)
    return padded if padded.status == "failed" else outcome


def _let_padding_decide(probe: Probe, tokens: Tensor, real: Tensor) -> None:
    """Enlarge the weights until another token would be filled in if padding were read."""
    for factor in FACTORS:
        randomise_weights(probe.model, probe.seed, factor)
        hidden, read = (probe.logits(inputs).argmax(-1) for inputs in (Inputs(tokens, real=real), Inputs(tokens)))
        if (hidden != read)[tokens == probe.subject.mask].any():
            return


def _with_masks(probe: Probe, tokens: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """The tokens, of which one in three is masked, and which those are."""
    masked = (torch.arange(tokens.shape[1]) % 3 == 1) & real
    return tokens.masked_fill(masked, probe.subject.mask or 0), masked


def _compare(probe: Probe, tokens: Tensor, real: Tensor) -> Outcome:
    tokens, masked = _with_masks(probe, tokens, real)
    found = probe.invoke(probe.subject.fill, tokens)  # type: ignore[arg-type]  # needed by the check
    if not isinstance(found, torch.Tensor) or found.shape != tokens.shape or found.is_floating_point():
        raise ModelCrashed(f"token ids {list(tokens.shape)} were expected, found {type(found).__name__}")
    logits = probe.logits(Inputs(tokens) if real.all() else Inputs(tokens, real=real))
    kept = found[~masked] == tokens[~masked]
    if not kept.all():
        cause = "all-replaced" if real.all() and torch.equal(found[masked], tokens[masked]) else "others-replaced"
        case = f"{int((~kept).sum())} of {kept.numel()} places that were not masked have another token"
        return failed(cause, float((~kept).float().mean()), 0, case=case, diagnosis=DIAGNOSES[cause])
    gap = float(gaps(logits, found)[masked].max())
    if gap <= TOLERANCE:
        return passed(gap, TOLERANCE)
    cause = "still-masked" if torch.equal(found, tokens) else "not-the-likeliest" if real.all() else "padding-read"
    case = f"a masked place was filled with a token whose logit is {gap:.2g} standard deviations below the largest one"
    return failed(cause, gap, TOLERANCE, case=case, diagnosis=DIAGNOSES[cause])


DIAGNOSES = {
    "all-replaced": "The condition is the wrong way round: the known tokens are replaced and the masked ones stay.",
    "others-replaced": "Tokens that are known are replaced too: keep them with torch.where(tokens == mask, ...).",
    "still-masked": "The masked places stay as they are: what fills them is not returned.",
    "padding-read": "In a row that ends in padding the padding is read as text: pass the mask of real tokens on.",
    "not-the-likeliest": "What fills a place is not the token with the largest logit there: look at the axis and the "
    "position of the argmax.",
}
