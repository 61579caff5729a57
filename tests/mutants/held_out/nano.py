"""Bugs in the one-file GPT, set aside while the checks are written."""

from bare.answers import ACTIVATION, CACHE, FUTURE, GENERATE, GRADIENTS, INFERENCE, LOSS, OPTIMIZER, RESIDUAL, SCALE
from bare.bug import Bug

BUGS = (
    Bug(
        "cached-mask-from-the-first-row",
        "cache",
        "self.bias[:, :, S - T : S, :S]",
        "self.bias[:, :, :T, :S]",
        "with a cache the mask is cut from its first row: a new token sees the first token alone",
        (*CACHE, *GENERATE),
    ),
    Bug(
        "temperature-multiplies",
        "generate",
        "logits = logits / temperature",
        "logits = logits * temperature",
        "the temperature multiplies the logits instead of dividing them: a low one makes the text random",
        GENERATE,
    ),
    Bug(
        "probabilities-over-the-rows",
        "generate",
        "probs = F.softmax(logits, dim=-1)",
        "probs = F.softmax(logits, dim=0)",
        "generate takes its softmax over the rows of the batch: with one row all tokens are equally likely",
        GENERATE,
    ),
    Bug(
        "inference-skips-the-last-norm",
        "inference",
        "        x = self.transformer.ln_f(x)\n        if use_cache:\n            self.cached += t\n"
        "        if targets is not None:\n            logits = self.lm_head(x)\n",
        "        if use_cache:\n            self.cached += t\n"
        "        if targets is not None:\n            logits = self.lm_head(self.transformer.ln_f(x))\n",
        "without targets the last norm is left out: generation reads other logits than training fits",
        INFERENCE,
    ),
    Bug(
        "inference-reads-the-mean",
        "inference",
        "x[:, [-1], :]",
        "x.mean(dim=1, keepdim=True)",
        "without targets the logits are those of the mean of all positions, not of the last",
        INFERENCE,
    ),
    Bug(
        "loss-of-log-probabilities-exponentiated",
        "loss",
        "loss = F.cross_entropy(logits.view(-1, logits.size(-1)),",
        "loss = F.cross_entropy(logits.softmax(dim=-1).view(-1, logits.size(-1)),",
        "the cross-entropy is given probabilities instead of logits",
        (*LOSS, "learning.one-batch:probabilities"),
    ),
    Bug(
        "attention-replaces-the-stream",
        "residual",
        "x = x + self.attn(self.ln_1(x), use_cache)",
        "x = self.attn(self.ln_1(x), use_cache)",
        "the residual around attention is missing: nothing of a token passes it by",
        RESIDUAL,
    ),
    Bug(
        "scores-divided-by-the-models-width",
        "numbers",
        "is_causal=True)",
        "is_causal=True, scale=1.0 / math.sqrt(self.n_embd))",
        "the fused attention is scaled by the model's width, the path with a cache by a head's: they disagree",
        (*SCALE, *CACHE, *GENERATE),
    ),
    Bug(
        "heads-viewed-without-transpose",
        "masks",
        "        k = k.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)\n",
        "        k = k.reshape(B, self.n_head, T, C // self.n_head)\n",
        "keys are viewed as heads without a transpose: a head's keys come from other tokens, future ones too",
        FUTURE,
    ),
    Bug(
        "norm-weights-never-given-to-the-optimizer",
        "parameters",
        '            {"params": nodecay_params, "weight_decay": 0.0},\n',
        "",
        "configure_optimizers leaves out the weights of all norms, so that they are never trained",
        OPTIMIZER,
    ),
    Bug(
        "hidden-layer-without-activation",
        "residual",
        "        x = self.gelu(x)\n",
        "",
        "the feed-forward has no activation between its two matrices, so that it is linear",
        (*ACTIVATION, *GRADIENTS),
    ),
    Bug(
        "generates-the-second-likeliest",
        "generate",
        "idx_next = logits.argmax(dim=-1, keepdim=True)",
        "idx_next = logits.topk(2, dim=-1).indices[:, 1:]",
        "greedy generation takes the second likeliest token",
        GENERATE,
    ),
    Bug(
        "evaluation-mode-stays-on",
        "state",
        "        self.reset_cache()\n        for _ in range(max_new_tokens):\n",
        "        self.eval()\n        self.reset_cache()\n        for _ in range(max_new_tokens):\n",
        "generate switches the model to evaluation and leaves it there: training goes on without dropout",
        (*GENERATE, "state.*", "learning.dropout"),
    ),
)
