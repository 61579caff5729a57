"""Bugs in positions."""

from planted.mutant import Mutant

PLANTED = {
    "order.matters": [
        Mutant("encoder-without-positions", "functional", ' + positions(real).to(p["embed"].dtype)', "", "no-order"),
        Mutant("classifier-without-positions", "textbook", " + self.positions[: tokens.shape[1]]", "", "no-order"),
        Mutant(
            "source-without-positions",
            "modular",
            "self.encoder(self.embedding(source), ",
            "self.encoder(self.embedding.table(source) * 5.66, ",
            "no-order-in-source",
        ),
    ],
    "order.positions": [
        Mutant(
            "two-tokens-a-position",
            "single_file",
            "self.wpe(torch.arange(T))",
            "self.wpe(torch.arange(T) // 2)",
            "repeated",
        ),
        Mutant("positions-clamped", "hugging", "- 1).clamp(min=0)", "- 1).clamp(0, 7)", "repeated"),
        Mutant(
            "waves-taken-by-row",
            "modular",
            "x + self.waves[start:stop]",
            "x + self.waves[start : start + len(x), None]",
            "positions-by-row",
            "batches.permuted:row-number",
        ),
    ],
    "order.balance": [
        Mutant(
            "embeddings-divided-by-the-width",
            "modular",
            "* math.sqrt(self.table.embedding_dim)",
            "/ self.table.embedding_dim",
            "tokens-drowned",
        ),
        Mutant(
            "positions-begin-far-too-small",
            "textbook",
            "torch.randn(context, width) * 0.02",
            "torch.randn(context, width) * 0.002",
            "positions-drowned",
        ),
    ],
    "order.rotary": [
        Mutant(
            "rotary-on-queries-only",
            "hugging",
            "apply_rotary(query, cos, sin), apply_rotary(key, cos, sin)",
            "apply_rotary(query, cos, sin), key",
            "one-turned",
        ),
        # as LLMs-from-scratch #747: half-split angles, interleaved pairs
        Mutant(
            "rotary-layouts-mixed",
            "hugging",
            "first, second = x.chunk(2, dim=-1)\n    return torch.cat((-second, first), dim=-1)",
            "first, second = x[..., ::2], x[..., 1::2]\n    return torch.stack((-second, first), dim=-1).flatten(-2)",
            "not-a-rotation",
        ),
        Mutant("rotary-without-its-minus", "hugging", "(-second, first)", "(second, first)", "not-a-rotation"),
    ],
}
