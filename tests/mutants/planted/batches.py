"""Bugs between the rows of a batch, and in padding."""

from planted.mutant import Mutant

PLANTED = {
    "batches.independent": [
        Mutant(
            "norm-over-the-batch",
            "hugging",
            "hidden_states.pow(2).mean(-1, keepdim=True)",
            "hidden_states.pow(2).mean((0, -1), keepdim=True)",
            "rows-mixed",
        ),
        Mutant(
            "softmax-over-the-batch",
            "textbook",
            "scores.softmax(dim=-1)",
            "scores.softmax(dim=0)",
            "rows-mixed",
            "numbers.softmax:over-batch",
        ),
        Mutant(
            "batch-norm-in-place-of-layer-norm",
            "modular",
            "mean = x.mean(-1, keepdim=True)",
            "mean = x.mean((0, 1), keepdim=True)",
            "rows-mixed",
        ),
        Mutant(
            "norm-over-the-batch-in-training",
            "modular",
            "mean = x.mean(-1, keepdim=True)",
            "mean = x.mean((0, 1) if self.training else -1, keepdim=True)",
            "rows-mixed-in-training",
        ),
    ],
    "batches.permuted": [
        Mutant(
            "rows-take-their-neighbours-positions",
            "functional",
            "positions(real).to(",
            "positions(real.T).transpose(0, 1).to(",
            "row-number",
        ),
        Mutant(
            "position-of-the-row",
            "single_file",
            "self.wpe(torch.arange(T))",
            "self.wpe(torch.arange(len(idx)) % self.config.block_size)[:, None]",
            "row-number",
        ),
    ],
    "batches.right-padding": [
        # as TransformerLens #1005
        Mutant(
            "padding-mask-unused",
            "functional",
            "mask = real[:, None, None, :]",
            "mask = torch.ones_like(real)[:, None, None, :]",
            "padding-attended",
        ),
        # key_padding_mask has True for padding
        Mutant(
            "real-and-padded-exchanged",
            "functional",
            "if real is None else real",
            "if real is None else ~real",
            "mask-inverted",
        ),
        Mutant(
            "mask-repeated-in-the-wrong-order",
            "functional",
            "mask = real[:, None, None, :]",
            "mask = real.repeat(HEADS, 1).view(len(real), HEADS, 1, -1)",
        ),
        Mutant(
            "mean-divides-by-the-padded-length",
            "textbook",
            "real.sum(dim=1, keepdim=True).clamp(min=1)",
            "tokens.shape[1]",
            "length-counts",
        ),
        Mutant(
            "reads-the-last-place-of-the-row",
            "textbook",
            "self.output(x.sum(dim=1) / real.sum(dim=1, keepdim=True).clamp(min=1))",
            "self.output(x[:, -1])",
            "length-counts",
        ),
    ],
    "batches.left-padding": [
        # as transformers #3150
        Mutant(
            "positions-count-the-padding",
            "functional",
            "where = (real.cumsum(1) - 1).clamp(min=0)",
            "where = torch.arange(real.shape[1]).expand_as(real)",
            "positions-shifted",
        ),
        Mutant(
            "padding-taken-to-be-on-the-right",
            "hugging",
            "attention_mask[:, None, None, :].bool()",
            "(torch.arange(total) < attention_mask.sum(-1, keepdim=True))[:, None, None, :]",
            "side-ignored",
            "batches.padding-unseen:side-ignored",
        ),
    ],
    "batches.padding-unseen": [
        # as transformers #278
        Mutant(
            "attention-mask-ignored",
            "hugging",
            "mask = causal & attention_mask[:, None, None, :].bool()",
            "mask = causal[None, None]",
            "padding-attended",
        ),
        Mutant(
            "padded-places-in-the-mean",
            "textbook",
            "x = x.masked_fill(~real[:, :, None], 0.0)\n",
            "\n",
            "padding-attended",
            "batches.right-padding:padding-attended",
        ),
    ],
}
