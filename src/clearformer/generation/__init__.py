"""From a trained model to text: sampling, beam search, filling and classification."""
