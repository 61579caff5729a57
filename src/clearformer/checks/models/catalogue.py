"""All checks of a model, by id: `group.name`. Their docstrings say what they test, why, and how to fix a failure."""

from clearformer.checks.check import Check
from clearformer.checks.models import (
    arguments,
    batches,
    binary_loss,
    cache,
    dropout,
    encoder_decoder,
    filling,
    generation,
    given_positions,
    gradients,
    inference,
    learning,
    loss,
    masks,
    numbers,
    optimizers,
    order,
    own_losses,
    own_steps,
    parameters,
    residual,
    state,
    sublayers,
)
from clearformer.checks.subject import Kind

DECODERS: tuple[Kind, ...] = ("causal", "encoder-decoder")
GENERATORS: tuple[Kind, ...] = ("causal", "bidirectional", "encoder-decoder")
"""models that predict tokens"""


LARGE = 30e6
"""parameters: a training of a model with ten million takes 3 to 12 seconds of processor time"""


CHECKS: dict[str, Check] = {
    "masks.future": Check("no future token influences a past logit", masks.future, DECODERS),
    "masks.gradient": Check("no gradient leads from a past logit to a future token", masks.gradient, DECODERS),
    "masks.scaled": Check("large scores do not overcome a mask", masks.scaled),
    "masks.past": Check("every earlier token is used", masks.past, DECODERS),
    "masks.empty-row": Check("a sequence that is all padding stays finite", masks.empty_row, needs=("padded",)),
    "masks.both-sides": Check("both sides of each token are seen", masks.both_sides, ("bidirectional",)),
    "batches.independent": Check("no row of a batch influences another", batches.independent),
    "batches.permuted": Check("rows in another order give the same outputs in that order", batches.permuted),
    "batches.right-padding": Check(
        "padding on the right changes nothing for real tokens", batches.right_padding, needs=("padded",)
    ),
    "batches.left-padding": Check(
        "padding on the left changes nothing for real tokens", batches.left_padding, needs=("padded",)
    ),
    "batches.padding-unseen": Check(
        "the tokens that fill the padding do not matter", batches.padding_unseen, needs=("padded",)
    ),
    "arguments.used": Check("segments, positions and masks that the model takes have an influence", arguments.used),
    "arguments.unchanged": Check("the caller's tensors are not written to", arguments.unchanged),
    "order.matters": Check("swapping two earlier tokens changes the output", order.matters, needs=("vocab_size",)),
    "order.positions": Check("each position is distinct, up to the full context", order.positions),
    "order.balance": Check("neither tokens nor positions drown the other", order.balance, random_weights=False),
    "order.rotary": Check("rotary scores depend on distance alone", order.rotary),
    "order.position-ids": Check(
        "without positions the model counts from 0", given_positions.default, needs=("positions", "vocab_size")
    ),
    "cache.steps": Check(
        "token by token with a cache, the logits are those of one forward pass", cache.steps, DECODERS, ("step",)
    ),
    "cache.chunks": Check(
        "in chunks of any size with a cache, the logits are those of one forward pass",
        cache.chunks,
        DECODERS,
        ("step",),
    ),
    "cache.unequal": Check(
        "rows with prompts of unequal length continue as each would alone",
        cache.unequal,
        ("causal",),
        ("step", "prefill"),
    ),
    "cache.limit": Check(
        "the cache holds the full context, and going past it is an error or stays correct",
        cache.limit,
        DECODERS,
        ("step",),
    ),
    "cache.separate": Check("two caches do not influence each other", cache.separate, DECODERS, ("step",)),
    "cache.read-only": Check(
        "a call without a cache and a cached sequence do not influence each other", cache.read_only, DECODERS, ("step",)
    ),
    "cache.methods": Check(
        "all of the model's steps with a cache give the logits of one forward pass", own_steps.methods, DECODERS
    ),
    "inference.paths": Check(
        "each path for inference gives the logits of the forward pass", inference.paths, ("causal",), ("vocab_size",)
    ),
    "inference.mode": Check("but for dropout, training mode computes what evaluation does", inference.mode),
    "generation.greedy": Check(
        "what is written greedily is what the logits say", generation.greedy, DECODERS, ("generate", "vocab_size")
    ),
    "generation.sampling": Check(
        "where only the likeliest token can be drawn, it is drawn",
        generation.sampling,
        DECODERS,
        ("vocab_size",),
        random_weights=False,
    ),
    "generation.padded": Check(
        "prompts that are padded on the left are continued as each would be alone",
        generation.padded,
        ("causal",),
        ("generate", "vocab_size"),
    ),
    "generation.filled": Check(
        "masked places are filled with the likeliest token, and no others",
        filling.filled,
        ("bidirectional",),
        ("fill", "mask", "vocab_size"),
    ),
    "generation.past-context": Check(
        "past the context, writing is refused or goes on from the newest tokens",
        generation.past_context,
        ("causal",),
        ("generate", "vocab_size"),
    ),
    "parameters.initial-loss": Check(
        "the loss is near ln V at the start", parameters.initial_loss, random_weights=False
    ),
    "parameters.gradients": Check("every parameter gets a gradient, and every part of it", gradients.gradients),
    "parameters.start": Check(
        "every parameter that can learn does so from its initial values on", gradients.start, random_weights=False
    ),
    "parameters.registered": Check("all weights are registered", parameters.registered),
    "parameters.heads": Check("no head is a copy of another", parameters.heads, random_weights=False),
    "parameters.tied": Check(
        "input embedding and output share a matrix if declared, and only then", parameters.tied, GENERATORS
    ),
    "parameters.optimizer": Check("the optimizer that the model makes trains all of its weights", optimizers.optimizer),
    "loss.shift": Check("targets are shifted by exactly one", loss.shift, GENERATORS, ("loss", "vocab_size")),
    "loss.padding": Check("labels of -100 are ignored", loss.padding, DECODERS, ("loss", "vocab_size")),
    "loss.accumulation": Check(
        "accumulated batches of unequal length equal the full batch",
        loss.accumulation,
        GENERATORS,
        ("loss", "vocab_size"),
    ),
    "loss.masked-positions": Check(
        "the loss is that of the masked positions only",
        loss.masked_positions,
        ("bidirectional",),
        ("loss", "vocab_size"),
    ),
    "loss.smoothing": Check(
        "label smoothing is as declared, and its weights sum to one", loss.smoothing, GENERATORS, ("loss", "vocab_size")
    ),
    "loss.methods": Check("all of the model's losses are right", own_losses.methods, GENERATORS, ("vocab_size",)),
    "loss.trains": Check("the loss can be differentiated", own_losses.trains, needs=("loss", "vocab_size")),
    "loss.classes": Check(
        "a classifier's loss is the cross-entropy of its logits",
        own_losses.classes,
        ("classifier",),
        ("loss", "vocab_size"),
    ),
    "loss.binary": Check(
        "a loss of yes and no is the binary cross-entropy of the logits",
        binary_loss.binary,
        ("classifier", "bidirectional"),
        ("vocab_size",),
    ),
    "state.saved": Check("a saved model, loaded again, gives the same output", state.saved),
    "state.complete": Check("all that training changes is saved", state.complete),
    "state.seeded": Check("two trainings from one seed are the same", state.seeded),
    "state.unchanged": Check("evaluation changes nothing", state.unchanged),
    "encoder-decoder.source": Check(
        "every source token influences the logits at every target position",
        encoder_decoder.source,
        ("encoder-decoder",),
    ),
    "encoder-decoder.source-padding": Check(
        "padding of the source changes nothing",
        encoder_decoder.source_padding,
        ("encoder-decoder",),
        ("padded",),
    ),
    "encoder-decoder.encoder": Check(
        "the encoder does not see the target", encoder_decoder.encoder, ("encoder-decoder",)
    ),
    "numbers.finite": Check(
        "the logits are finite, depend on the tokens, and are no probabilities", numbers.finite, random_weights=False
    ),
    "numbers.float64": Check("float32 agrees with float64", numbers.float64),
    "numbers.half": Check("nothing is lost in half precision that single precision holds", numbers.half),
    "numbers.large": Check("large activations do not overflow", numbers.large),
    "numbers.scale": Check(
        "attention's scores are scaled by 1/sqrt(d_head), or as declared", numbers.scale, random_weights=False
    ),
    "numbers.softmax": Check("each query's attention weights, over the keys, sum to one", numbers.softmax),
    "numbers.norm-variance": Check("LayerNorm divides by the root of the biased variance", sublayers.norm_variance),
    "numbers.epsilon": Check(
        "a norm's epsilon is small beside the variance to which it is added", sublayers.epsilon, random_weights=False
    ),
    "numbers.activation": Check(
        "between the two matrices of a feed-forward network there is something that is not linear", sublayers.activation
    ),
    "numbers.residual": Check("what goes into a sub-layer also goes past it", residual.residual),
    "numbers.norm-order": Check("norms are before or after each sub-layer, as declared", sublayers.norm_order),
    "learning.dropout": Check("dropout is on in training and off in evaluation", dropout.dropout),
    "learning.one-batch": Check(
        "one batch can be learned to a loss near 0",
        learning.one_batch,
        needs=("vocab_size",),
        random_weights=False,
        slow_from=LARGE,
    ),
    "learning.reversing": Check(
        "a short training on reversing strings beats the untrained model",
        learning.reversing,
        DECODERS,
        ("vocab_size",),
        random_weights=False,
        slow_from=LARGE,
    ),
    "learning.induction": Check(
        "a short training on repeated strings beats the untrained model",
        learning.induction,
        ("causal",),
        ("vocab_size",),
        random_weights=False,
        slow_from=LARGE,
    ),
}
