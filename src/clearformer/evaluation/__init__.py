"""How good a model is: loss, perplexity, accuracy, F1, exact match, BLEU; always beside the untrained model."""
