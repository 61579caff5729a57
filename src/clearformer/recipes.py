"""What can be trained: named functions that return a whole configuration. A variant is `dataclasses.replace`."""

from clearformer.config import Config, CosineSchedule, TrainConfig, TransformerConfig


def dates() -> Config:
    """The paper's encoder-decoder, small, reads dates as people write them and writes ISO 8601."""
    return Config(
        dataset="dates",
        tokenizer="character",
        model=TransformerConfig(
            vocab_size=200, context=64, d_model=64, num_heads=4, num_layers=2, d_ff=256, dropout=0.0
        ),
        train=TrainConfig(
            steps=1000,
            batch_tokens=4096,
            schedule=CosineSchedule(peak=3e-3, final=0.0, warmup_steps=100),
            weight_decay=0.01,
            validate_every=100,
            checkpoint_every=250,
        ),
    )
