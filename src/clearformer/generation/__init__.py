"""From a trained model to text: a sampler chooses each token, decoding feeds it back through the cache."""
