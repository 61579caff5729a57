"""Bugs between an encoder and its decoder."""

from planted.mutant import Mutant

PLANTED = {
    "encoder-decoder.source": [
        Mutant(
            "cross-attention-left-out",
            "modular",
            "        x = self.norms[1](x + self.dropout(self.cross_attention(x, *of_source, source_mask)))\n",
            "",
            "source-ignored",
        ),
        Mutant(
            "memory-never-filled",
            "modular",
            "            x = layer(x, mask)\n        return x",
            "            layer(x, mask)\n        return torch.zeros_like(x)",
            "source-ignored",
        ),
    ],
    "encoder-decoder.source-padding": [
        Mutant(
            "encoder-attends-to-padding",
            "modular",
            "return self.encoder(self.embedding(source), source_real[:, None, None, :])",
            "return self.encoder(self.embedding(source), torch.ones_like(source_real)[:, None, None, :])",
            "encoder-padding",
        ),
        Mutant(
            "cross-attention-without-a-mask",
            "modular",
            "*of_source, source_mask)",
            "*of_source, torch.ones_like(source_mask))",
            "cross-padding",
        ),
    ],
    "encoder-decoder.encoder": [
        Mutant(
            "encoder-is-given-the-target",
            "modular",
            "memory = self.encode(source, source_real)\n        return self.decode(target, memory, source_real[",
            "memory = self.encode(target, real)\n        return self.decode(target, memory, real[",
            "encoder-reads-target",
        ),
        Mutant(
            "encoder-reads-source-and-target",
            "modular",
            "memory = self.encode(source, source_real)\n",
            "both, both_real = torch.cat([source, target], dim=1), torch.cat([source_real, real], dim=1)\n"
            "        memory = self.encode(both, both_real)[:, : source.shape[1]]\n",
            "encoder-reads-target",
        ),
    ],
}
