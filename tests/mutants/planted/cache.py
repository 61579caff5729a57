"""Bugs in decoding with a cache."""

from planted.mutant import Mutant

PLANTED = {
    "cache.steps": [
        # as x-transformers #219
        Mutant(
            "position-restarts-with-cache",
            "hugging",
            "(attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, past_len:]",
            "(attention_mask[:, past_len:].long().cumsum(-1) - 1).clamp(min=0)",
            "position-restarts",
        ),
        Mutant(
            "decoder-positions-restart-with-cache",
            "modular",
            "self.embedding(target, start)",
            "self.embedding(target)",
            "position-restarts",
        ),
        Mutant("mask-aligned-to-the-first-key", "modular", ".triu(start + 1)", ".triu(1)", "mask-corner"),
        Mutant(
            "cache-keeps-only-the-newest",
            "modular",
            "(keys, values)\n\n\nclass Embedding",
            "(keys[:, :, -x.shape[1] :], values[:, :, -x.shape[1] :])\n\n\nclass Embedding",
            "past-cut",
        ),
        Mutant(
            "all-layers-read-the-first-ones-cache", "hugging", "past_key_values[index]", "past_key_values[0]", "differs"
        ),
        Mutant(
            "cached-keys-scaled-again",
            "hugging",
            "            key = torch.cat((past[0], key), dim=2)\n",
            "            key = torch.cat((past[0] / math.sqrt(self.head_dim), key), dim=2)\n",
            "keys-changed",
        ),
    ],
    "cache.chunks": [
        Mutant(
            "chunk-sees-its-own-future",
            "hugging",
            "mask = causal & ",
            "causal = causal if past_len == 0 else torch.ones_like(causal)\n        mask = causal & ",
            "chunk-mask",
        ),
        Mutant(
            "new-keys-before-the-cached",
            "hugging",
            "            key = torch.cat((past[0], key), dim=2)\n"
            "            value = torch.cat((past[1], value), dim=2)\n",
            "            key = torch.cat((key, past[0]), dim=2)\n"
            "            value = torch.cat((value, past[1]), dim=2)\n",
            "chunk-mask",
        ),
    ],
    "cache.unequal": [
        Mutant(
            "steps-see-the-padding",
            "hugging",
            "mask = torch.cat((past_mask, mask), dim=1)",
            "mask = torch.cat((torch.ones_like(past_mask), mask), dim=1)",
            "padding-attended",
        ),
        Mutant(
            "rows-go-on-at-one-position",
            "hugging",
            "        if position_ids is None:\n",
            "        if position_ids is None and past_len:\n"
            "            position_ids = torch.arange(past_len, total).expand(len(input_ids), -1)\n"
            "        if position_ids is None:\n",
            "unequal-positions",
        ),
    ],
    "cache.limit": [
        Mutant(
            "cache-drops-the-oldest-too-early",
            "modular",
            "(keys, values)\n\n\nclass Embedding",
            "(keys[:, :, -16:], values[:, :, -16:])\n\n\nclass Embedding",
            "at-the-limit",
        ),
        Mutant(
            "last-position-for-all-beyond",
            "modular",
            "        if stop > len(self.waves):\n"
            '            raise ValueError(f"at most {len(self.waves)} tokens were expected, found {stop}")\n',
            "        if stop > len(self.waves):\n"
            "            start, stop = len(self.waves) - tokens.shape[1], len(self.waves)\n",
            "position-clamped",
        ),
    ],
    "cache.separate": [
        Mutant(
            "memory-kept-on-the-module",
            "modular",
            "memory = self.encode(source, all_real(source)) if cache is None else cache.memory",
            "self.memory = self.encode(source, all_real(source)) if cache is None else self.memory\n"
            "        memory = self.memory",
            "shared-cache",
        ),
        Mutant(
            "cache-kept-in-the-module",
            "hugging",
            "            key = torch.cat((past[0], key), dim=2)\n"
            "            value = torch.cat((past[1], value), dim=2)\n"
            "        present = (key, value)\n",
            "            key = torch.cat((self.kept[0][:, :, : past[0].shape[2]], key), dim=2)\n"
            "            value = torch.cat((self.kept[1][:, :, : past[1].shape[2]], value), dim=2)\n"
            "        present = self.kept = (key, value)\n",
            "shared-cache",
            "cache.read-only:forward-changes-cache",
        ),
        Mutant(
            "memory-never-renewed",
            "modular",
            "memory = self.encode(source, all_real(source)) if cache is None else cache.memory",
            'if not hasattr(self, "memory"):\n            self.memory = self.encode(source, all_real(source))\n'
            "        memory = self.memory",
            "kept-between-texts",
        ),
    ],
    "cache.read-only": [
        Mutant(
            "position-kept-on-the-module",
            "modular",
            "x, present = self.embedding(target, start), []",
            "self.place = 0 if past is None else self.place\n"
            "        x, present = self.embedding(target, self.place), []\n"
            "        self.place += target.shape[1]",
            "forward-changes-cache",
        ),
        Mutant(
            "logits-in-a-kept-buffer",
            "hugging",
            "        loss = None if labels",
            '        if use_cache:\n            if self.__dict__.setdefault("kept", logits).shape != logits.shape:\n'
            "                self.kept = logits\n"
            "            logits = self.kept.copy_(logits)\n        loss = None if labels",
            "logits-rewritten",
        ),
    ],
}
