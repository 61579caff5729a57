"""Bugs in weights: how they begin, who trains them, which are the same."""

from planted.mutant import Mutant

PLANTED = {
    "parameters.initial-loss": [
        # as minGPT's PR #62
        Mutant(
            "tied-embedding-of-deviation-one",
            "single_file",
            "        self.apply(self._init_weights)\n",
            "",
            "large-logits",
        ),
        # as transformers' PR #26441
        Mutant(
            "initializer-range-of-one",
            "hugging",
            "initializer_range: float = 0.02",
            "initializer_range: float = 1.0",
            "large-logits",
        ),
        Mutant(
            "output-weights-not-scaled-down",
            "functional",
            "torch.randn(WIDTH, VOCAB) * 0.02",
            "torch.randn(WIDTH, VOCAB)",
            "large-logits",
        ),
    ],
    "parameters.gradients": [
        Mutant("final-norm-not-called", "single_file", "        x = self.ln_f(x)\n", "", "unused"),
        Mutant(
            "attention-detached",
            "hugging",
            "hidden_states = hidden_states + attended",
            "hidden_states = hidden_states + attended.detach()",
            "cut-off",
        ),
        Mutant(
            "encoder-without-gradients",
            "modular",
            "memory = self.encode(source, source_real)\n",
            "with torch.no_grad():\n            memory = self.encode(source, source_real)\n",
            "cut-off",
        ),
        Mutant("positions-not-added", "single_file", " + self.wpe(torch.arange(T))", "", "unused"),
        Mutant(
            "queries-used-as-keys",
            "single_file",
            "q, k, v = self.qkv(x).split(D, dim=2)\n",
            "q, _, v = self.qkv(x).split(D, dim=2)\n        k = q\n",
            "part-unused",
        ),
        Mutant(
            "values-detached",
            "single_file",
            "q, k, v = self.qkv(x).split(D, dim=2)\n",
            "q, k, v = self.qkv(x).split(D, dim=2)\n        v = v.detach()\n",
            "part-cut-off",
        ),
    ],
    "parameters.start": [
        Mutant(
            "gate-and-gated-begin-at-zero",
            "hugging",
            "                nn.init.normal_(weight, std=config.initializer_range)\n",
            "                nn.init.normal_(weight, std=config.initializer_range)\n"
            "        for layer in self.layers:\n"
            "            nn.init.zeros_(layer.mlp.up_proj.weight)\n"
            "            nn.init.zeros_(layer.mlp.down_proj.weight)\n",
            "stuck",
        ),
    ],
    "parameters.optimizer": [
        Mutant(
            "groups-of-matrices-alone",
            "hugging",
            "    def forward(\n        self,\n        input_ids: Tensor,\n        attention_mask",
            "    def configure_optimizers(self) -> torch.optim.Optimizer:\n"
            "        groups = [{'params': [weight for weight in self.parameters() if weight.dim() >= 2]}]\n"
            "        return torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.1)\n\n"
            "    def forward(\n        self,\n        input_ids: Tensor,\n        attention_mask",
            "left-out",
        ),
    ],
    "parameters.registered": [
        Mutant(
            "heads-in-a-python-list",
            "textbook",
            "nn.ModuleList([Head(width, width // num_heads) for _ in range(num_heads)])",
            "[Head(width, width // num_heads) for _ in range(num_heads)]",
            "module-in-a-list",
        ),
        Mutant(
            "blocks-in-a-python-list",
            "single_file",
            "nn.ModuleList([Block(config) for _ in range(config.n_layer)])",
            "[Block(config) for _ in range(config.n_layer)]",
            "module-in-a-list",
        ),
        Mutant(
            "feed-forward-no-module",
            "single_file",
            "class MLP(nn.Module):\n",
            "class MLP:\n    def __call__(self, x: Tensor) -> Tensor:\n        return self.forward(x)\n\n",
            "in-an-object",
        ),
        Mutant(
            "positions-a-plain-tensor",
            "textbook",
            "nn.Parameter(torch.randn(context, width) * 0.02)",
            "torch.randn(context, width) * 0.02",
            "plain-tensor",
        ),
        Mutant(
            "parameters-in-a-plain-dict",
            "functional",
            "self.p = nn.ParameterDict(init())",
            "self.p = {name: weight.requires_grad_() for name, weight in init().items()}",
            "plain-tensor",
        ),
    ],
    "parameters.heads": [
        Mutant(
            "heads-share-one-weight",
            "textbook",
            "[Head(width, width // num_heads) for _ in range(num_heads)]",
            "[Head(width, width // num_heads)] * num_heads",
            "one-weight",
        ),
        Mutant(
            "heads-cloned-with-their-values",
            "textbook",
            "self.heads = nn.ModuleList([Head(width, width // num_heads) for _ in range(num_heads)])",
            "import copy\n\n        head = Head(width, width // num_heads)\n"
            "        self.heads = nn.ModuleList([copy.deepcopy(head) for _ in range(num_heads)])",
            "equal-values",
        ),
        Mutant(
            "weights-begin-constant",
            "hugging",
            "nn.init.normal_(weight, std=config.initializer_range)",
            "nn.init.constant_(weight, config.initializer_range)",
            "equal-values",
        ),
    ],
    "parameters.tied": [
        Mutant("output-not-tied", "single_file", "        self.head.weight = self.wte.weight\n", "", "tie-lost"),
        Mutant(
            "tied-by-their-data",
            "single_file",
            "self.head.weight = self.wte.weight",
            "self.head.weight.data = self.wte.weight.data",
            "tied-by-data",
        ),
        Mutant(
            "tied-by-a-copy",
            "modular",
            "self.generator.weight = self.embedding.table.weight",
            "self.generator.weight = nn.Parameter(self.embedding.table.weight.detach().clone())",
            "tie-lost",
        ),
        Mutant(
            "tied-though-untied-in-the-config",
            "hugging",
            "        for weight in self.parameters():\n",
            "        self.lm_head.weight = self.embed_tokens.weight\n        for weight in self.parameters():\n",
            "tied-anyway",
        ),
    ],
}
