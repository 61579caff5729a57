"""Bugs in the annotated encoder-decoder, set aside while the checks are written."""

from bare.answers import (
    GENERATE,
    GRADIENTS,
    LEARNING,
    LOSS,
    LOSS_SHIFT,
    OWN_MASKS,
    PADDING,
    PAST,
    SMOOTHING,
    SOURCE,
    SOURCE_PADDING,
)
from bare.bug import Bug

BUGS = (
    Bug(
        "source-mask-upside-down",
        "masks",
        "return (src != self.pad_idx)[:, None, None, :]",
        "return (src == self.pad_idx)[:, None, None, :]",
        "make_src_mask shows the padding of the source and hides its tokens",
        (*OWN_MASKS, *SOURCE, *SOURCE_PADDING),
        "InseeFrLab/torchTextClassifiers #92",
    ),
    Bug(
        "padding-taken-for-the-begin-token",
        "masks",
        "pad_mask = (trg != self.pad_idx)[:, None, None, :]",
        "pad_mask = (trg != self.bos_idx)[:, None, None, :]",
        "make_trg_mask hides the first token, which every target begins with, and shows the padding",
        (*PAST, *OWN_MASKS, *PADDING),
        "hyunwoongko/transformer #11",
    ),
    Bug(
        "target-attends-to-itself-twice",
        "encoder-decoder",
        "self.src_attn(x, memory, memory, src_mask)",
        "self.src_attn(x, x, x, trg_mask)",
        "cross-attention reads the target in place of the encoder's output: the source has no influence",
        (*SOURCE, *GRADIENTS),
    ),
    Bug(
        "greedy-search-without-a-target-mask",
        "generate",
        "out = self.decode(memory, src_mask, ys, self.make_trg_mask(ys))",
        "out = self.decode(memory, src_mask, ys, None)",
        "greedy_decode gives no mask: earlier tokens see later ones, as they never did in training",
        GENERATE,
    ),
    Bug(
        "end-token-replaced-by-padding",
        "generate",
        "            next_word = next_word.masked_fill(done, self.pad_idx)\n"
        "            done = done | (next_word == self.eos_idx)\n",
        "            done = done | (next_word == self.eos_idx)\n"
        "            next_word = next_word.masked_fill(done, self.pad_idx)\n",
        "greedy_decode writes padding where the end token should stand",
        GENERATE,
        "thu-nics/C2C #19",
    ),
    Bug(
        "target-predicts-itself",
        "loss",
        "trg_input, trg_y = trg[:, :-1], trg[:, 1:]",
        "trg_input, trg_y = trg, trg",
        "compute_loss does not shift: the decoder reads the token that it is to predict",
        LOSS_SHIFT,
    ),
    Bug(
        "confidence-of-one",
        "loss",
        "self.confidence = 1.0 - smoothing",
        "self.confidence = 1.0",
        "smoothed targets sum to more than one: the label keeps all of its share",
        SMOOTHING,
    ),
    Bug(
        "divergence-of-plain-probabilities",
        "loss",
        "return self.proj(x).log_softmax(dim=-1)",
        "return self.proj(x).softmax(dim=-1)",
        "the divergence is given probabilities where it expects their logarithms",
        (*LOSS, *LEARNING, "numbers.*"),
    ),
)
