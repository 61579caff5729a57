"""Bugs in the small BERT, set aside while the checks are written."""

from bare.answers import (
    ACTIVATION,
    DROPOUT,
    GRADIENTS,
    LOSS_MASKED,
    LOSS_PADDING,
    NORM,
    PADDING,
    POSITIONS,
    RESIDUAL,
    ROWS_IN_TRAINING,
    UNUSED_ARGUMENT,
)
from bare.bug import Bug

BUGS = (
    Bug(
        "unmasked-labels-become-token-zero",
        "loss",
        "labels.flatten(), ignore_index=-100)",
        "labels.flatten().clamp(min=0))",
        "labels of -100, which are to be ignored, are predicted as token 0",
        (*LOSS_MASKED, *LOSS_PADDING),
        "huggingface/transformers #2718",
    ),
    Bug(
        "segments-looked-up-and-not-added",
        "arguments",
        "self.layer_norm(words + places + segments)",
        "self.layer_norm(words + places)",
        "segments have no influence: their embedding is looked up and not added",
        (*UNUSED_ARGUMENT, *GRADIENTS),
        "deeppavlov/DeepPavlov #1312",
    ),
    Bug(
        "attention-mask-replaced-by-ones",
        "masks",
        "        if attention_mask is None:\n            attention_mask = torch.ones_like(input_ids)\n",
        "        attention_mask = torch.ones_like(input_ids)\n",
        "the attention mask has no influence: padding is attended to",
        (*PADDING, *UNUSED_ARGUMENT),
        "TransformerLensOrg/TransformerLens #1005",
    ),
    Bug(
        "scores-multiplied-by-the-mask",
        "masks",
        "scores = scores + mask\n",
        "scores = scores * (mask == 0)\n",
        "the mask multiplies scores: padding keeps the score 0, which is not low",
        PADDING,
    ),
    Bug(
        "positions-begin-at-one",
        "order",
        "position_ids = torch.arange(input_ids.size(1), device=input_ids.device)",
        "position_ids = torch.arange(1, input_ids.size(1) + 1, device=input_ids.device)",
        "positions begin at 1, so that the longest text does not fit",
        (*POSITIONS, "numbers.finite", "*:crashed"),
    ),
    Bug(
        "attention-without-its-residual",
        "residual",
        "hidden = self.attention_norm(hidden + attended)",
        "hidden = self.attention_norm(attended)",
        "the residual around attention is missing",
        RESIDUAL,
    ),
    Bug(
        "activation-called-before-the-wrong-matrix",
        "residual",
        "fed = self.dropout(self.output(F.gelu(self.intermediate(hidden))))",
        "fed = self.dropout(self.output(self.intermediate(F.gelu(hidden))))",
        "the hidden layer of the feed-forward has no activation of its own: it is only as wide as the stream",
        ACTIVATION,
    ),
    Bug(
        "embeddings-left-frozen",
        "parameters",
        "        hidden = self.embeddings(input_ids, segment_ids)\n",
        "        with torch.no_grad():\n            hidden = self.embeddings(input_ids, segment_ids)\n",
        "the embeddings run without gradients and are never trained through the encoder",
        GRADIENTS,
    ),
    Bug(
        "batch-norm-with-running-statistics",
        "batches",
        "        mean = x.mean(-1, keepdim=True)\n        variance = (x - mean).pow(2).mean(-1, keepdim=True)\n",
        "        if self.training:\n"
        "            self.mean, self.variance = x.mean((0, 1)).detach(), x.var((0, 1)).detach()\n"
        '        mean = x.mean((0, 1)) if self.training else getattr(self, "mean", 0.0)\n'
        "        variance = x.var((0, 1), correction=0) if self.training else "
        'getattr(self, "variance", torch.ones(()))\n',
        "the norm runs over the batch: in training rows influence each other, and its statistics are not saved",
        (*ROWS_IN_TRAINING, "state.*", *NORM),
    ),
    Bug(
        "attention-dropout-made-and-not-called",
        "dropout",
        "probs = self.dropout(F.softmax(scores, dim=-1))",
        "probs = F.softmax(scores, dim=-1)",
        "attention's dropout was made and is never called",
        DROPOUT,
        "zhouhaoyi/Informer2020 #97",
    ),
)
