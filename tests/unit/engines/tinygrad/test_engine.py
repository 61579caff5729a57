"""The device of the engine is named, and unsupported settings are refused by name."""

import pytest

from clearformer.config import Config, GPTConfig, TrainConfig
from clearformer.engine import open_engine
from clearformer.engines.tinygrad import adapter
from clearformer.errors import ConfigError

pytestmark = [
    pytest.mark.slow,  # each shape is compiled
    pytest.mark.skipif(bool(reason := adapter.reason_to_skip()), reason=reason),
]


def test_the_device_is_named():
    assert open_engine("tinygrad").describe(Config("none", GPTConfig())) == f"tinygrad on {adapter.start()}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "bfloat16"}, r"float32, but --train\.precision is bfloat16; leave it at auto"),
        ({"device": "mps"}, r"but --train\.device is mps; leave it at auto, and choose another device with .* DEV"),
    ],
)
def test_unsupported_settings_are_refused_by_name(settings: dict[str, str], message: str):
    with pytest.raises(ConfigError, match=message):
        open_engine("tinygrad").describe(Config("none", GPTConfig(), train=TrainConfig(**settings)))
