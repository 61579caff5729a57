"""The model's own ways in: two losses, and what else a class offers beside its forward pass."""

from planted.mutant import Mutant

PLANTED = {
    "loss.methods": [
        Mutant(
            "second-loss-counts-padding",
            "whole_class",
            "return (losses * real).sum() / real.sum()",
            "return losses.mean()",
            "padding-counted",
        ),
        Mutant(
            "loss-of-logits-in-training-step",
            "whole_class",
            'F.cross_entropy(self(inputs).transpose(1, 2), targets, reduction="none")',
            'F.cross_entropy(self(inputs).transpose(1, 2).softmax(1), targets, reduction="none")',
            "probabilities",
        ),
    ],
    "cache.methods": [
        Mutant(
            "second-step-drops-cache",
            "whole_class",
            "logits, extended = self.decode_step(token[:, None], cache)",
            "logits, extended = self.decode_step(token[:, None], None)",
            "past-forgotten",
        ),
    ],
    "order.position-ids": [
        Mutant(
            "positions-from-one-by-default",
            "whole_class",
            "torch.arange(start, start + ids.shape[1]) if",
            "torch.arange(start, start + ids.shape[1]).add(1).clamp(max=self.context - 1) if",
            "other-default",
        ),
    ],
    "inference.paths": [
        Mutant(
            "next-token-from-the-first",
            "whole_class",
            "self.causal_mask(ids.shape[1], ids.shape[1]), None)[0][:, -1])",
            "self.causal_mask(ids.shape[1], ids.shape[1]), None)[0][:, 0])",
            "other-position",
        ),
    ],
    "inference.mode": [
        Mutant(
            "no-mask-in-training",
            "whole_class",
            "weights = scores.masked_fill(~mask, -math.inf).softmax(-1)",
            "weights = scores.masked_fill(~mask, 0.0 if self.training else -math.inf).softmax(-1)",
            "other-path",
        ),
    ],
    "generation.greedy": [
        Mutant(
            "generate-takes-last-but-one",
            "whole_class",
            "logits = self(ids[:, -self.context :])[:, -1]",
            "logits = self(ids[:, -self.context :])[:, -2 if ids.shape[1] > 1 else -1]",
            "one-behind",
        ),
        Mutant(
            "generate-takes-unlikeliest",
            "whole_class",
            "logits.argmax(-1, keepdim=True)",
            "logits.argsort(-1)[:, :1]",
            "unlikeliest",
        ),
        Mutant(
            "generate-one-too-few",
            "whole_class",
            "for _ in range(max_new_tokens):",
            "for _ in range(1, max_new_tokens):",
            "count",
        ),
        Mutant(
            "sample-forgets-cache",
            "whole_class",
            "logits, cache = self.decode_step(new[-1], cache)",
            "logits, cache = self.decode_step(new[-1], None)",
            "last-token-only",
        ),
        Mutant(
            "sample-feeds-prompt-again",
            "whole_class",
            "logits, cache = self.decode_step(new[-1], cache)",
            "logits, cache = self.decode_step(ids, None)",
            "not-read-again",
        ),
    ],
    "generation.padded": [
        Mutant(
            "padding-read-as-text",
            "whole_class",
            "prompt[prompt != self.pad_idx][None]",
            "prompt[None]",
            "padding-read",
        ),
    ],
    "generation.filled": [
        Mutant(
            "known-tokens-filled",
            "functional",
            "torch.where(tokens == MASK, model(tokens, tokens != PAD).argmax(-1), tokens)",
            "torch.where(tokens != MASK, model(tokens, tokens != PAD).argmax(-1), tokens)",
            "all-replaced",
        ),
        Mutant(
            "masks-filled-with-the-place-before",
            "functional",
            "torch.where(tokens == MASK, model(tokens, tokens != PAD).argmax(-1), tokens)",
            "torch.where(tokens == MASK, model(tokens, tokens != PAD).argmax(-1).roll(1, 1), tokens)",
            "not-the-likeliest",
        ),
    ],
    "loss.trains": [
        Mutant(
            "training-step-returns-a-number",
            "whole_class",
            "return (losses * real).sum() / real.sum()",
            "return (losses * real).sum().item() / real.sum()",
            "no-gradient",
        ),
    ],
    "generation.sampling": [
        Mutant(
            "sample-multiplies-by-the-temperature",
            "whole_class",
            "(logits[:, -1] / temperature).softmax(-1)",
            "(logits[:, -1] * temperature).softmax(-1)",
            "sampling",
        ),
    ],
    "generation.past-context": [
        Mutant(
            "generate-keeps-the-oldest",
            "whole_class",
            "ids[:, -self.context :]",
            "ids[:, : self.context]",
            "keeps-the-oldest",
        ),
    ],
    "loss.classes": [
        Mutant(
            "classifier-softmax-twice",
            "textbook",
            "return nn.functional.cross_entropy(logits, labels)",
            "return nn.functional.cross_entropy(logits.softmax(-1), labels)",
            "probabilities",
        ),
        Mutant(
            "classifier-nll-of-logits",
            "textbook",
            "return nn.functional.cross_entropy(logits, labels)",
            "return nn.functional.nll_loss(logits, labels)",
            "log-of-logits",
        ),
    ],
    "loss.binary": [
        Mutant(
            "classifier-sigmoid-twice",
            "textbook",
            "    def forward(self, tokens: Tensor, real: Tensor) -> Tensor:\n",
            "    def forward(self, tokens: Tensor, real: Tensor | None = None, labels: Tensor | None = None):\n"
            "        logits = self.logits(tokens, torch.ones_like(tokens).bool() if real is None else real)\n"
            "        bce = nn.functional.binary_cross_entropy_with_logits\n"
            "        return logits if labels is None else (bce(logits.sigmoid(), labels), logits)\n\n"
            "    def logits(self, tokens: Tensor, real: Tensor) -> Tensor:\n",
            "two-sigmoids",
        ),
    ],
}
