"""Bugs in who may see whom."""

from planted.mutant import Mutant

PLANTED = {
    "masks.future": [
        Mutant(
            "mask-never-applied",
            "single_file",
            'att = att.masked_fill(~self.mask[:T, :T], float("-inf"))',
            "",
            "no-mask",
        ),
        # as TransformerLens's T5
        Mutant(
            "decoder-never-masked",
            "modular",
            "mask = ~future & real[:, None, None, :]",
            "mask = real[:, None, None, :]",
            "no-mask",
        ),
        # as RoFormer and others with is_decoder=True
        Mutant(
            "mask-only-with-cache",
            "hugging",
            "mask = causal & attention_mask[:, None, None, :].bool()",
            "mask = attention_mask[:, None, None, :].bool()\n        if use_cache:\n            mask = mask & causal",
            "no-mask",
        ),
        # as nanoGPT #331: one of two code paths
        Mutant(
            "fused-path-without-is-causal",
            "single_file",
            """        att = (q @ k.transpose(-2, -1)) / math.sqrt(k.size(-1))
        att = att.masked_fill(~self.mask[:T, :T], float("-inf"))
        att = F.softmax(att, dim=-1)
        att = self.attn_drop(att)
        y = (att @ v).transpose(1, 2)""",
            """        dropout = self.attn_drop.p if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout).transpose(1, 2)""",
            "no-mask",
        ),
        Mutant(
            "mask-diagonal-one-ahead",
            "single_file",
            "torch.tril(torch.ones(config.block_size, config.block_size))",
            "torch.tril(torch.ones(config.block_size, config.block_size), diagonal=1)",
            "diagonal",
        ),
        Mutant("future-begins-one-late", "modular", ".triu(start + 1)", ".triu(start + 2)", "diagonal"),
        Mutant("mask-upside-down", "single_file", "torch.tril(", "torch.triu(", "transposed"),
        Mutant(
            "mask-compares-the-wrong-way",
            "hugging",
            "torch.arange(total)[None, :] <= ",
            "torch.arange(total)[None, :] >= ",
            "transposed",
        ),
        Mutant(
            "mask-after-softmax",
            "single_file",
            'att = att.masked_fill(~self.mask[:T, :T], float("-inf"))\n        att = F.softmax(att, dim=-1)',
            "att = F.softmax(att, dim=-1)\n        att = att.masked_fill(~self.mask[:T, :T], 0.0)",
            "after-softmax",
        ),
        Mutant(
            "mask-multiplies-the-weights",
            "hugging",
            "scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)\n"
            "        weights = F.dropout(scores.softmax(dim=-1),",
            "weights = F.dropout(scores.softmax(dim=-1) * mask,",
            "after-softmax",
        ),
        Mutant(
            "mask-lost-in-long-texts",
            "single_file",
            "~self.mask[:T, :T]",
            "~(self.mask[:T, :T] if T <= 16 else torch.ones(T, T, dtype=torch.bool))",
            "some-lengths",
        ),
        Mutant(
            "mask-for-the-full-length-only", "single_file", "~self.mask[:T, :T]", "~self.mask[-T:, :T]", "some-lengths"
        ),
        Mutant(
            "mask-on-the-first-layer-only",
            "hugging",
            "layer(hidden_states, mask, cos, sin, past)",
            "layer(hidden_states, mask if index == 0 else torch.ones_like(mask), cos, sin, past)",
            "some-layers",
        ),
        Mutant(
            "heads-merged-without-transpose",
            "single_file",
            "(att @ v).transpose(1, 2).reshape(B, T, D)",
            "(att @ v).reshape(B, T, D)",
            "leak",
        ),
        Mutant(
            "norm-over-the-tokens",
            "hugging",
            "hidden_states.pow(2).mean(-1, keepdim=True)",
            "hidden_states.pow(2).mean(1, keepdim=True)",
            "leak",
        ),
    ],
    # so little comes through that an exchange of tokens may not show it, or in training alone
    "masks.gradient": [
        Mutant(
            "mask-dropped-in-training",
            "hugging",
            "mask = causal & ",
            "causal = causal | self.training\n        mask = causal & ",
            "in-training",
        ),
        Mutant("mask-of-minus-twelve", "single_file", 'float("-inf")', "-12.0", "finite-mask"),
        Mutant(
            "mask-of-minus-ten",
            "hugging",
            "torch.finfo(scores.dtype).min",
            "-10.0",
            "finite-mask",
            "masks.future:finite-mask",
        ),
    ],
    "masks.scaled": [
        # as minGPT #75
        Mutant("mask-of-minus-ten-thousand", "single_file", 'float("-inf")', "-1e4", "finite-mask"),
        # as transformers #17121
        Mutant(
            "mask-added-as-a-finite-bias",
            "hugging",
            "scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)",
            "scores = scores + (1.0 - mask.to(scores.dtype)) * -10000.0",
            "finite-mask",
        ),
        Mutant("padding-at-minus-ten-thousand", "textbook", "-1e30", "-1e4", "finite-mask"),
    ],
    "masks.past": [
        Mutant("token-cannot-see-itself", "modular", ".triu(start + 1)", ".triu(start)", "self-unseen"),
        Mutant(
            "blocks-never-joined",
            "hugging",
            "mask = causal & ",
            "block = torch.arange(total) // 8\n        mask = causal & (block == block[past_len:, None]) & ",
            "past-unused",
        ),
        Mutant("attended-result-dropped", "hugging", "hidden_states = hidden_states + attended", "", "not-added"),
    ],
    "masks.empty-row": [
        # as pytorch #41508
        Mutant(
            "empty-row-of-minus-infinity", "hugging", "torch.finfo(scores.dtype).min", '-float("inf")', "not-finite"
        ),
        Mutant(
            "empty-row-not-set-to-zero",
            "modular",
            "scores.softmax(-1).masked_fill(~mask, 0.0)",
            "scores.softmax(-1)",
            "not-finite",
        ),
        Mutant(
            "empty-row-minus-its-own-maximum", "functional", "torch.finfo(scores.dtype).min", "-torch.inf", "not-finite"
        ),
        Mutant("mean-of-no-tokens", "textbook", ".clamp(min=1)", "", "divided-by-none"),
    ],
    "masks.both-sides": [
        Mutant(
            "causal-mask-left-in-an-encoder",
            "functional",
            "mask = real[:, None, None, :]",
            "mask = real[:, None, None, :] & torch.ones(real.shape[1], real.shape[1]).tril().bool()",
            "one-side",
        ),
        Mutant(
            "encoder-sees-only-what-follows",
            "functional",
            "scores = torch.where(mask,",
            "mask = mask & torch.ones(x.shape[1], x.shape[1]).triu().bool()\n    scores = torch.where(mask,",
            "one-side",
        ),
    ],
}
