"""Bugs that stand in the way of learning."""

from planted.mutant import Mutant

PLANTED = {
    "learning.one-batch": [
        Mutant(
            "logits-squashed",
            "hugging",
            "logits = self.lm_head(self.norm(hidden_states))",
            "logits = self.lm_head(self.norm(hidden_states)).tanh()",
            "bounded",
        ),
        Mutant(
            "attention-called-but-not-added",
            "single_file",
            "x = x + self.attn(self.ln_1(x))",
            "self.attn(self.ln_1(x))",
            "reads-one-token",
            "masks.past:not-added",
        ),
    ],
    "learning.reversing": [
        Mutant("window-of-two", "single_file", "self.mask[:T, :T]", "self.mask[:T, :T].triu(-1)"),
    ],
    "learning.induction": [
        Mutant(
            "mask-compares-for-equality",
            "hugging",
            "torch.arange(total)[None, :] <= ",
            "torch.arange(total)[None, :] == ",
            "does-not-read",
            "masks.past:only-itself",
        ),
    ],
    "learning.dropout": [
        Mutant(
            "dropout-in-evaluation-too",
            "hugging",
            "F.dropout(scores.softmax(dim=-1), self.attention_dropout, self.training)",
            "F.dropout(scores.softmax(dim=-1), self.attention_dropout)",
            "dropout-in-evaluation",
        ),
        Mutant(
            "dropout-always-on",
            "functional",
            "return forward(self.p, tokens, real, self.training)",
            "return forward(self.p, tokens, real, True)",
            "dropout-in-evaluation",
        ),
        Mutant(
            "dropout-on-the-embeddings-not-called",
            "single_file",
            "x = self.drop(self.wte(idx) + self.wpe(torch.arange(T)))",
            "x = self.wte(idx) + self.wpe(torch.arange(T))",
            "never-called",
        ),
        Mutant(
            "dropout-lost-with-an-evaluation",
            "hugging",
            "        weights = F.dropout(",
            "        if not self.training:\n            self.attention_dropout = 0.0\n        weights = F.dropout(",
            "lost-after-evaluation",
        ),
        Mutant(
            "train-does-not-reach-the-parts",
            "modular",
            "    def encode(self",
            "    def train(self, mode: bool = True) -> nn.Module:\n        self.training = mode\n"
            "        return self\n\n"
            "    def encode(self",
            "dropout-in-evaluation",
        ),
    ],
}
