"""The shapes of the Phi models on the Hub, for use before they are downloaded."""

from pathlib import Path

from steadyphi.checkpoint import configs
from steadyphi.errors import SteadyPhiError
from steadyphi.model_config import PhiConfig

# From the models' config.json at the commits in conf/model.
KNOWN = {
    "microsoft/phi-1_5": PhiConfig(
        n_layer=24,
        n_head=32,
        n_embd=2048,
        intermediate_size=8192,
        padded_vocab_size=51200,
        block_size=2048,
        rotary_percentage=0.5,
        rope_base=10000.0,
        norm_eps=1e-5,
    ),
    "microsoft/phi-2": PhiConfig(
        n_layer=32,
        n_head=32,
        n_embd=2560,
        intermediate_size=10240,
        padded_vocab_size=51200,
        block_size=2048,
        rotary_percentage=0.4,
        rope_base=10000.0,
        norm_eps=1e-5,
        resid_pdrop=0.1,
    ),
}


def shape(source: str, root: Path) -> PhiConfig | None:
    """Return the shape of the model in a folder below `root`, or of a Hub id; None if it is not known."""
    if not (root / source).is_dir():
        return KNOWN.get(source)
    try:
        return configs.read(root / source)
    except SteadyPhiError:  # the code that loads the model reports the error
        return None
