"""The bugs of `planted`, as far as a model shows them that is given without a word on what it should be."""

from bare import answers
from bare.bug import Bug
from planted.mutant import Mutant

from mutants import MUTANTS

BESIDE_THE_MODEL = {
    *("batch-of-inputs-as-targets", "decoder-reads-the-label-itself", "ignored-label-becomes-token-zero"),
    *("mean-over-padding-too", "each-batch-counts-the-same", "loss-not-divided", "weighted-by-rows"),
    *("gradients-of-the-last-batch-only", "loss-on-all-positions", "loss-on-the-unmasked"),
    *("mean-over-the-unmasked-too", "smoothing-loses-the-label's-share", "smoothing-spread-over-too-few"),
    *("smoothing-on-top-of-the-label", "steps-see-the-padding"),
    *("known-tokens-filled", "masks-filled-with-the-place-before"),
    *("classifier-nll-of-logits", "classifier-softmax-twice", "labels-rewritten"),
}
"""in a function that the file has beside the model: the model itself is right"""
AGAINST_A_DECLARATION = {
    *("norm-after-each-part", "norm-after-the-sum", "norm-before-each-part"),
    *("output-not-tied", "tied-by-a-copy", "tied-though-untied-in-the-config"),
}
"""either is right, unless its author says which is meant"""

ALSO_TRUE: dict[str, tuple[str, ...]] = {
    "masks.future": answers.FUTURE,
    "masks.gradient": (*answers.FUTURE, "masks.scaled"),
    "masks.scaled": answers.FINITE_MASK,
    "masks.past": answers.PAST,
    "masks.both-sides": answers.PAST,
    "masks.empty-row": answers.EMPTY_ROW,
    "batches.independent": answers.ROWS,
    "batches.permuted": answers.ROWS,
    "batches.right-padding": answers.PADDING,
    "batches.left-padding": answers.PADDING,
    "batches.padding-unseen": answers.PADDING,
    "order.matters": (*answers.ORDER, *answers.GRADIENTS),
    "order.positions": answers.POSITIONS,
    "order.rotary": answers.ROTARY,
    **dict.fromkeys(("cache.steps", "cache.chunks", "cache.unequal", "cache.limit"), answers.CACHE),
    "cache.separate": (*answers.CACHE, "state.unchanged"),
    "cache.read-only": (*answers.CACHE, "state.unchanged"),
    "loss.shift": answers.LOSS,
    "loss.padding": answers.LOSS,
    "learning.one-batch": answers.LEARNING,
    "learning.reversing": answers.LEARNING,
    "learning.induction": answers.LEARNING,
    "learning.dropout": (*answers.DROPOUT, *answers.REPEATABLE),
    "state.complete": (*answers.SAVED, "parameters.registered"),
    "state.saved": answers.SAVED,
    "state.seeded": answers.REPEATABLE,
    "parameters.heads": (*answers.HEADS, "parameters.initial*"),
}
"""answers as good as the check under which `planted` lists a bug"""
OF_A_BUG: dict[str, tuple[str, ...]] = {
    "heads-merged-without-transpose": answers.FUTURE,
    "attended-result-dropped": (*answers.PAST, *answers.GRADIENTS),
    "mask-compares-for-equality": (*answers.PAST, *answers.LEARNING),
    "window-of-two": (*answers.PAST, *answers.LEARNING),
    "attention-called-but-not-added": (*answers.PAST, *answers.GRADIENTS, *answers.LEARNING),
    "probabilities-in-place-of-logits": (*answers.LEARNING, *answers.LOSS, "numbers.*"),
    "logits-squashed": (*answers.LEARNING, "numbers.*"),
    "softmax-before-the-loss": answers.LOSS,
    "gate-of-two-infinities": ("numbers.large", "numbers.finite"),
    "norm-over-the-tokens": answers.FUTURE,
    "positions-not-added": (*answers.GRADIENTS, *answers.ORDER),
    "encoder-without-positions": answers.ORDER,
    "cross-attention-left-out": (*answers.SOURCE, *answers.GRADIENTS),
    "memory-never-filled": (*answers.SOURCE, *answers.GRADIENTS),
    "weights-begin-constant": (*answers.HEADS, *answers.INITIAL_GRADIENTS),
    "batch-norm-in-place-of-layer-norm": (*answers.ROWS, *answers.FUTURE),
    "norm-over-the-batch": (*answers.ROWS, *answers.ROWS_IN_TRAINING),
    "softmax-over-the-batch": (*answers.ROWS, *answers.SOFTMAX),
    "softmax-over-queries": answers.SOFTMAX,
    "train-does-not-reach-the-parts": answers.DROPOUT,
    "waves-taken-by-row": (*answers.POSITIONS, *answers.ROWS),
    "padding-mask-unused": answers.PADDING,
    "no-mask-in-training": ("inference.mode", "masks.gradient:in-training"),
}


def _bare(mutant: Mutant) -> Bug:
    first = OF_A_BUG.get(mutant.id) or ALSO_TRUE.get(mutant.check) or (mutant.check,)
    topic = mutant.check.split(".")[0]
    return Bug(mutant.id, topic, mutant.old, mutant.new, mutant.cause or mutant.id, first, style=mutant.style)


OLDER = tuple(_bare(each) for each in MUTANTS if each.id not in BESIDE_THE_MODEL | AGAINST_A_DECLARATION)
