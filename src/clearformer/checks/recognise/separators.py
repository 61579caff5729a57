"""Tokens that begin a new text in the middle of a row: what follows one does not see what came before it."""

import torch

from clearformer.checks.recognise import generation, masks, signature
from clearformer.checks.recognise.experiment import SPECIAL, Experiment, attempt

ENDS = (*generation.END_TOKENS, "end_of_text", "eot_token", "eot", "eod_token", "eod", "bos_token_id", "sep_token_id")
PLACE = 2
"""where such a token is put; one before it is replaced, and later logits are watched"""


def find(experiment: Experiment) -> tuple[int, ...]:
    """Those among the tokens that a model declares, the first few and the last one; empty where nothing is hidden."""
    tokens, V = experiment.tokens[:1], experiment.subject.vocab_size or 0  # noqa: N806
    declared = {signature.declared(experiment.model, [name]) for name in ENDS}
    likely = {token for token in (*declared, *range(SPECIAL), V - 1) if token is not None and 0 <= token < V}
    candidates = sorted(likely - set(experiment.subject.reserved))
    if experiment.kind not in ("causal", "bidirectional") or experiment.length < PLACE + 2:
        return ()
    rows = tokens.repeat(len(candidates) + 1, 1)
    rows[1:, PLACE] = torch.tensor(candidates)
    others = rows.clone()
    others[:, 0] = next((token for token in experiment.labels.flatten().tolist() if token != int(rows[0, 0])), 0)
    before, after = attempt(experiment.logits, rows), attempt(experiment.logits, others)
    if before is None or after is None:
        return ()
    changed = (before - after)[:, PLACE + 1 :].abs().flatten(1).amax(1) > masks.MIN_CHANGE * before.std()
    seen, *through = changed.tolist()
    return tuple(token for token, change in zip(candidates, through, strict=True) if seen and not change)
