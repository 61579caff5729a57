"""What an engine does not do is refused by name before anything is computed, never left out in silence."""

from collections.abc import Iterable

from clearformer.config import EngineName, ModelConfig
from clearformer.errors import ConfigError


def require_known(engine: EngineName, config: ModelConfig, **known: Iterable[str]) -> None:
    """Raise ConfigError where a setting of the model is none of those that the engine knows, by the setting's name."""
    for setting, values in known.items():
        if (found := getattr(config, setting)) not in values:
            raise ConfigError(
                f"--model.{setting.replace('_', '-')} must be one of {', '.join(values)} with --engine {engine}, found "
                f"{found}; change it, or compute with --engine torch"
            )
