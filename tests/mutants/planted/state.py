"""Bugs in what a model keeps: saving, seeds, and what a call leaves behind."""

from planted.mutant import Mutant

PLANTED = {
    "state.saved": [
        # lstrip takes letters, not a word
        Mutant(
            "prefix-stripped-by-its-letters",
            "hugging",
            "\n\ndef causal_lm_loss",
            """
    def load_state_dict(self, state_dict: dict[str, Tensor], strict: bool = True, assign: bool = False) -> object:
        names = {name.lstrip("module."): weight for name, weight in state_dict.items()}
        return super().load_state_dict(names, strict=False, assign=assign)


def causal_lm_loss""",
            "loaded-differs",
        ),
        Mutant(
            "saved-in-half-precision",
            "modular",
            "    def encode(self",
            """    def state_dict(self, *args: object, **kwargs: object) -> dict[str, Tensor]:
        return {name: weight.half() for name, weight in super().state_dict(*args, **kwargs).items()}

    def encode(self""",
            "loaded-differs",
        ),
    ],
    "state.complete": [
        Mutant(
            "running-mean-in-an-attribute",
            "textbook",
            "        for layer in self.layers:\n",
            """        if self.training:
            self.mean = 0.9 * getattr(self, "mean", 0.0) + 0.1 * x.detach().mean((0, 1))
        x = x - getattr(self, "mean", 0.0)
        for layer in self.layers:
""",
        ),
        Mutant(
            "output-matrix-kept-from-the-first-call",
            "single_file",
            "        logits = self.head(x)\n",
            """        if not hasattr(self, "output"):
            self.output = self.head.weight.detach().clone()
        logits = x @ self.output.T
""",
            "not-registered",
            "parameters.registered:plain-tensor",
        ),
    ],
    "state.seeded": [
        Mutant(
            "seed-from-the-clock",
            "modular",
            "        memory = self.encode(source, source_real)\n",
            "        torch.seed()\n        memory = self.encode(source, source_real)\n",
            "unseeded",
        ),
        Mutant(
            "dropout-without-the-seed",
            "functional",
            "keep = torch.rand(x.shape) >= DROPOUT",
            "own = torch.Generator()\n    own.seed()\n    keep = torch.rand(x.shape, generator=own) >= DROPOUT",
            "unseeded",
        ),
    ],
    "state.unchanged": [
        Mutant(
            "embedding-scaled-in-place",
            "functional",
            'p["embed"][tokens] * math.sqrt(WIDTH)',
            'p["embed"].data.mul_(math.sqrt(WIDTH))[tokens]',
            "weights-change",
        ),
        Mutant(
            "embedding-renormed-by-reading",
            "single_file",
            "nn.Embedding(config.vocab_size, config.n_embd)",
            "nn.Embedding(config.vocab_size, config.n_embd, max_norm=1.0)",
            "weights-change",
        ),
    ],
}
