"""How good a model is: loss, perplexity, exact match, BLEU; always beside the untrained model."""
