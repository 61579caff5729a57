"""Models built of torch.nn's own Transformer parts."""

MODELS = {}
