"""Bugs in the loss."""

from planted.mutant import Mutant

PLANTED = {
    "loss.shift": [
        Mutant(
            "rows-joined-before-the-shift",
            "hugging",
            "shift_logits, shift_labels = logits[:, :-1], labels[:, 1:]",
            "shift_logits, shift_labels = logits.flatten(0, 1)[None, :-1], labels.flatten()[None, 1:]",
            "runs-on",
        ),
        Mutant("targets-not-shifted", "hugging", "logits[:, :-1], labels[:, 1:]", "logits, labels", "predicts-itself"),
        Mutant(
            "targets-shifted-twice",
            "hugging",
            "logits[:, :-1], labels[:, 1:]",
            "logits[:, :-2], labels[:, 2:]",
            "shifted-twice",
        ),
        Mutant(
            "targets-shifted-backwards",
            "hugging",
            "logits[:, :-1], labels[:, 1:]",
            "logits[:, 1:], labels[:, :-1]",
            "backwards",
        ),
        Mutant(
            "batch-of-inputs-as-targets",
            "single_file",
            "x, y = tokens[:, :-1], labels[:, 1:]",
            "x, y = tokens[:, :-1], labels[:, :-1]",
            "predicts-itself",
        ),
        Mutant(
            "decoder-reads-the-label-itself",
            "modular",
            "target = torch.cat([begin, labels[:, :-1]], dim=1)",
            "target = torch.cat([labels[:, :1], labels[:, 1:]], dim=1)",
            "predicts-itself",
        ),
        Mutant(
            "softmax-before-the-loss",
            "single_file",
            "F.cross_entropy(logits.view(-1, logits.size(-1))",
            "F.cross_entropy(logits.softmax(-1).view(-1, logits.size(-1))",
            "probabilities",
        ),
    ],
    "loss.padding": [
        Mutant(
            "summed-and-divided-by-rows",
            "hugging",
            "shift_labels.flatten(), ignore_index=-100)",
            "shift_labels.flatten(), ignore_index=-100) * (shift_labels != -100).sum() / len(labels)",
            "divided-by-rows",
            "loss.shift:divided-by-rows",
        ),
        Mutant(
            "padding-predicted-as-token-zero",
            "hugging",
            "shift_labels.flatten(), ignore_index",
            "shift_labels.flatten().clamp(min=0), ignore_index",
            "padding-counted",
        ),
        Mutant(
            "ignored-label-becomes-token-zero",
            "single_file",
            "y.masked_fill(y == -100, -1)",
            "y.masked_fill(y == -100, 0)",
            "padding-counted",
        ),
        Mutant("mean-over-padding-too", "modular", "/ real.sum()", "/ real.numel()"),
    ],
    "loss.accumulation": [
        # as transformers #34191
        Mutant("each-batch-counts-the-same", "hugging", "* items / num_items", "/ len(batches)", "mean-of-means"),
        # as the Annotated Transformer's loop
        Mutant("loss-not-divided", "single_file", " * count / sum(counts)", "", "not-divided"),
        Mutant(
            "weighted-by-rows",
            "functional",
            "share = (labels != -100).sum() / total",
            "share = len(labels) / sum(len(other) for _, other in batches)",
            "mean-of-means",
        ),
        Mutant(
            "gradients-of-the-last-batch-only",
            "modular",
            "        share = (labels",
            "        model.zero_grad()\n        share = (labels",
            "last-batch-only",
        ),
    ],
    "loss.masked-positions": [
        Mutant(
            "loss-on-all-positions",
            "functional",
            "masked_loss(model(tokens), labels),",
            "masked_loss(model(tokens), torch.where(labels == -100, tokens, labels)),",
            "all-positions",
        ),
        Mutant(
            "loss-on-the-unmasked",
            "functional",
            "masked = labels != -100",
            "masked = labels == -100",
            "unmasked-positions",
        ),
        Mutant("mean-over-the-unmasked-too", "functional", "/ masked.sum()", "/ masked.numel()", "divided-by-all"),
    ],
    "loss.smoothing": [
        Mutant(
            "smoothing-loses-the-label's-share",
            "modular",
            "target.scatter_add(",
            "target.scatter(",
            "does-not-sum-to-one",
        ),
        Mutant(
            "smoothing-spread-over-too-few",
            "modular",
            "self.smoothing / logits.shape[-1]",
            "self.smoothing / (logits.shape[-1] - 2)",
            "does-not-sum-to-one",
        ),
        Mutant(
            "smoothing-on-top-of-the-label",
            "modular",
            "torch.full_like(right, 1 - self.smoothing, dtype=target.dtype)",
            "torch.full_like(right, 1.0, dtype=target.dtype)",
            "does-not-sum-to-one",
        ),
    ],
}
