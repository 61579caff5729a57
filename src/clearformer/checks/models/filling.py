"""Masked tokens that a bidirectional model fills in, against its own logits."""

import torch

from clearformer.checks.explain.generation import gaps
from clearformer.checks.outcome import ModelCrashed, Outcome, failed, passed
from clearformer.checks.probe.influence import TOLERANCE
from clearformer.checks.probe.probe import Inputs, Probe


def filled(probe: Probe) -> Outcome:
    """Masked places are filled with the likeliest token, and no others.

    A condition the wrong way round replaces what was known and leaves the masks, and an index that is off by one fills
    a place with what belongs beside it.

    One token in three is masked. Each masked place must be filled with the token that has the largest logit there, and
    all others must stay.
    """
    tokens = probe.inputs(2).tokens
    masked = torch.arange(tokens.shape[1]).expand(tokens.shape) % 3 == 1
    tokens[masked] = probe.subject.mask or 0
    found = probe.invoke(probe.subject.fill, tokens)  # type: ignore[arg-type]  # needed by the check
    if not isinstance(found, torch.Tensor) or found.shape != tokens.shape or found.is_floating_point():
        raise ModelCrashed(f"token ids {list(tokens.shape)} were expected, found {type(found).__name__}")
    logits = probe.logits(Inputs(tokens))
    kept = found[~masked] == tokens[~masked]
    if not kept.all():
        cause = "all-replaced" if torch.equal(found[masked], tokens[masked]) else "others-replaced"
        case = f"{int((~kept).sum())} of {kept.numel()} places that were not masked have another token"
        return failed(cause, float((~kept).float().mean()), 0, case=case, diagnosis=DIAGNOSES[cause])
    gap = float(gaps(logits, found)[masked].max())
    if gap <= TOLERANCE:
        return passed(gap, TOLERANCE)
    cause = "still-masked" if torch.equal(found, tokens) else "not-the-likeliest"
    case = f"a masked place was filled with a token whose logit is {gap:.2g} standard deviations below the largest one"
    return failed(cause, gap, TOLERANCE, case=case, diagnosis=DIAGNOSES[cause])


DIAGNOSES = {
    "all-replaced": "The condition is the wrong way round: the known tokens are replaced and the masked ones stay.",
    "others-replaced": "Tokens that are known are replaced too: keep them with torch.where(tokens == mask, ...).",
    "still-masked": "The masked places stay as they are: what fills them is not returned.",
    "not-the-likeliest": "What fills a place is not the token with the largest logit there: look at the axis and the "
    "position of the argmax.",
}
