"""Bugs in the small Llama, set aside while the checks are written."""

from bare.answers import (
    CACHE,
    EPSILON,
    FUTURE,
    GENERATE,
    LOSS_PADDING,
    LOSS_SHIFT,
    PADDING,
    ROTARY,
    ROWS_IN_TRAINING,
    UNUSED_ARGUMENT,
)
from bare.bug import Bug

BUGS = (
    Bug(
        "loss-of-the-tokens-themselves",
        "loss",
        "F.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten(), ignore_index=-100)",
        "F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)",
        "compute_loss does not shift: each position predicts the token that it reads",
        LOSS_SHIFT,
        "huggingface/transformers #35066",
    ),
    Bug(
        "padding-predicted",
        "loss",
        "targets = tokens if mask is None else tokens.masked_fill(mask == 0, -100)",
        "targets = tokens",
        "padding is predicted like any token",
        LOSS_PADDING,
        "huggingface/transformers #2759",
    ),
    Bug(
        "cached-keys-not-turned",
        "cache",
        "        keys[:, :, at : at + 1], values[:, :, at : at + 1] = xk, xv\n",
        "        keys[:, :, at : at + 1], values[:, :, at : at + 1] = apply_rotary(xk, cos, -sin), xv\n",
        "with a cache keys are stored without their rotation",
        (*CACHE, *GENERATE),
    ),
    Bug(
        "first-written-token-repeated",
        "generate",
        "            written.append(token)\n            logits, state = self.advance(token, state)\n",
        "            written.append(token)\n            _, state = self.advance(token, state)\n",
        "complete never looks at the new logits and writes its first token again and again",
        GENERATE,
        "xberg-io/xberg #1210",
    ),
    Bug(
        "mask-accepted-and-not-used",
        "masks",
        "visible = causal & mask.bool()[:, None, None, :]",
        "visible = causal[None, None].expand(len(tokens), 1, T, T)",
        "the mask is taken and padding attended to",
        (*PADDING, *UNUSED_ARGUMENT),
        "huggingface/transformers #278",
    ),
    Bug(
        "values-turned-as-well",
        "order",
        "return apply_rotary(xq, cos, sin), apply_rotary(xk, cos, sin), xv",
        "return apply_rotary(xq, cos, sin), apply_rotary(xk, cos, sin), apply_rotary(xv, cos, sin)",
        "values are turned by their positions too, so that what is read depends on where it stood",
        ROTARY,
    ),
    Bug(
        "norm's-epsilon-of-one",
        "numbers",
        "norm_eps: float = 1e-5",
        "norm_eps: float = 1.0",
        "the norm's epsilon is a thousand times the mean square of the embeddings, so that it hardly normalises",
        EPSILON,
    ),
    Bug(
        "rows-share-the-norm-in-training",
        "batches",
        "        return normed.type_as(x) * self.weight\n",
        "        if self.training:\n"
        "            normed = normed / normed.std(dim=(0, 1), keepdim=True, unbiased=False).clamp(min=0.1)\n"
        "        return normed.type_as(x) * self.weight\n",
        "in training the norm also divides by a deviation over the batch: rows influence each other",
        (*ROWS_IN_TRAINING, *FUTURE),
    ),
)
