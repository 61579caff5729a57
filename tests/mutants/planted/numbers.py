"""Bugs in the formulas and in their precision."""

from planted.mutant import Mutant

PLANTED = {
    "numbers.finite": [
        Mutant(
            "probabilities-in-place-of-logits",
            "single_file",
            "logits = self.head(x)\n",
            "logits = self.head(x).softmax(-1)\n",
            "probabilities",
        ),
        Mutant(
            "first-token-sees-nothing",
            "single_file",
            "torch.tril(torch.ones(config.block_size, config.block_size))",
            "torch.tril(torch.ones(config.block_size, config.block_size), diagonal=-1)",
            "not-finite",
        ),
    ],
    "numbers.float64": [
        Mutant(
            "softmax-in-half-precision",
            "single_file",
            "att = F.softmax(att, dim=-1)",
            "att = F.softmax(att.bfloat16(), dim=-1).to(x.dtype)",
            "half-precision",
        ),
        Mutant(
            "autocast-left-on",
            "single_file",
            "    def forward(self, idx:",
            '    @torch.autocast("cpu", dtype=torch.bfloat16)\n    def forward(self, idx:',
            "half-precision",
        ),
        Mutant(
            "mask-lifts-what-is-allowed",
            "hugging",
            "scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)",
            "scores = (scores + 1e6 * mask).masked_fill(~mask, torch.finfo(scores.dtype).min)",
            "rounded",
        ),
        Mutant(
            "angles-in-half-precision",
            "hugging",
            "return angles.cos(), angles.sin()",
            "return angles.cos().half().to(angles.dtype), angles.sin().half().to(angles.dtype)",
            "half-precision",
        ),
    ],
    "numbers.half": [
        Mutant(
            "scores-scaled-down-after-the-product",
            "single_file",
            "(q @ k.transpose(-2, -1)) / math.sqrt(k.size(-1))",
            "(100 * q @ (100 * k).transpose(-2, -1)) / (1e4 * math.sqrt(k.size(-1)))",
            "overflow",
        ),
    ],
    "numbers.epsilon": [
        Mutant(
            "epsilon-above-the-embeddings-square",
            "hugging",
            "rms_norm_eps: float = 1e-6",
            "rms_norm_eps: float = 1e-2",
            "epsilon-too-large",
        ),
    ],
    "numbers.activation": [
        Mutant(
            "activation-left-out", "single_file", "self.proj(F.gelu(self.fc(x)))", "self.proj(self.fc(x))", "linear"
        ),
        Mutant(
            "result-of-the-activation-not-used",
            "functional",
            '    return linear(p, "down", layer, hidden)',
            '    return linear(p, "down", layer, linear(p, "up", layer, x))',
            "linear",
        ),
    ],
    "numbers.residual": [
        Mutant(
            "attention-in-place-of-its-input",
            "single_file",
            "x = x + self.attn(self.ln_1(x))",
            "x = self.attn(self.ln_1(x))",
            "no-residual",
        ),
        Mutant(
            "feed-forward-in-place-of-its-input",
            "hugging",
            "hidden_states = hidden_states + self.mlp(",
            "hidden_states = self.mlp(",
            "no-residual",
        ),
        Mutant(
            "encoders-attention-in-place-of-its-input",
            "modular",
            "x = self.norms[0](x + self.dropout(self.attention(",
            "x = self.norms[0](self.dropout(self.attention(",
            "no-residual",
        ),
    ],
    "numbers.large": [
        Mutant(
            "gate-of-two-infinities",
            "hugging",
            "F.silu(self.gate_proj(hidden_states)) *",
            "self.gate_proj(hidden_states) * (e := self.gate_proj(hidden_states).exp()) / (1 + e) *",
            "overflow",
        ),
        Mutant(
            "softmax-without-its-maximum",
            "functional",
            "torch.exp(x - x.amax(-1, keepdim=True))",
            "torch.exp(x)",
            "overflow",
        ),
    ],
    "numbers.scale": [
        Mutant("scores-not-scaled", "single_file", " / math.sqrt(k.size(-1))", "", "no-scale"),
        Mutant("cross-and-self-attention-not-scaled", "modular", " / math.sqrt(self.head_width)", "", "no-scale"),
        Mutant("scaled-by-the-width-not-its-root", "hugging", "/ math.sqrt(self.head_dim)", "/ self.head_dim", "twice"),
        Mutant(
            "scaled-by-the-models-width", "single_file", "/ math.sqrt(k.size(-1))", "/ math.sqrt(D)", "by-model-width"
        ),
        Mutant("scaled-up", "textbook", "k.shape[-1] ** -0.5", "k.shape[-1] ** 0.5", "inverse"),
    ],
    "numbers.softmax": [
        Mutant("softmax-over-queries", "hugging", "scores.softmax(dim=-1)", "scores.softmax(dim=-2)", "over-queries"),
        Mutant(
            "softmax-over-the-wrong-axis", "textbook", "scores.softmax(dim=-1)", "scores.softmax(dim=1)", "over-queries"
        ),
    ],
    "numbers.norm-variance": [
        Mutant(
            "variance-divided-by-one-less",
            "modular",
            "((x - mean) ** 2).mean(-1, keepdim=True)",
            "x.var(-1, keepdim=True)",
            "unbiased",
        ),
        Mutant(
            "divided-by-the-mean-square",
            "hugging",
            "torch.rsqrt(variance",
            "torch.reciprocal(variance",
            "by-the-square",
        ),
        # as the Annotated Transformer's
        Mutant(
            "deviation-by-torchs-default",
            "modular",
            "self.gain * (x - mean) / (variance + self.eps).sqrt()",
            "self.gain * (x - mean) / (x.std(-1, keepdim=True) + self.eps)",
            "unbiased",
        ),
    ],
    "numbers.norm-order": [
        Mutant(
            "norm-after-each-part",
            "single_file",
            "        x = x + self.attn(self.ln_1(x))\n        return x + self.mlp(self.ln_2(x))",
            "        x = self.ln_1(x + self.attn(x))\n        return self.ln_2(x + self.mlp(x))",
            "other-order",
        ),
        Mutant(
            "norm-after-the-sum",
            "hugging",
            """        attended, present = self.self_attn(self.input_layernorm(hidden_states), mask, cos, sin, past)
        hidden_states = hidden_states + attended
        hidden_states = hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))
""",
            """        attended, present = self.self_attn(hidden_states, mask, cos, sin, past)
        hidden_states = self.input_layernorm(hidden_states + attended)
        hidden_states = self.post_attention_layernorm(hidden_states + self.mlp(hidden_states))
""",
            "other-order",
        ),
        # as the Annotated Transformer against its text
        Mutant(
            "norm-before-each-part",
            "modular",
            """        keys, values = self.self_attention.keys_and_values(x)
        if past is not None:
            keys, values = torch.cat([past[0], keys], dim=2), torch.cat([past[1], values], dim=2)
        x = self.norms[0](x + self.dropout(self.self_attention(x, keys, values, mask)))
        of_source = self.cross_attention.keys_and_values(memory)
        x = self.norms[1](x + self.dropout(self.cross_attention(x, *of_source, source_mask)))
        return self.norms[2](x + self.dropout(self.feed_forward(x))), (keys, values)
""",
            """        normed = self.norms[0](x)
        keys, values = self.self_attention.keys_and_values(normed)
        if past is not None:
            keys, values = torch.cat([past[0], keys], dim=2), torch.cat([past[1], values], dim=2)
        x = x + self.dropout(self.self_attention(normed, keys, values, mask))
        of_source = self.cross_attention.keys_and_values(memory)
        x = x + self.dropout(self.cross_attention(self.norms[1](x), *of_source, source_mask))
        return x + self.dropout(self.feed_forward(self.norms[2](x))), (keys, values)
""",
            "other-order",
        ),
    ],
}
