"""Methods of self-supervised learning, one in a file; `cvrl` is the shortest example."""

from cvrl_tf.training.config import PretrainConfig
from cvrl_tf.training.methods.cvrl import CVRL
from cvrl_tf.training.methods.method import Method
from cvrl_tf.training.methods.momentum import MomentumEncoder


def build_method(config: PretrainConfig, layers: str = "clip") -> Method:
    """The method of a run, with freshly initialised networks.

    Args:
      config: of the run.
      layers: that the networks are built of, as of `build_backbone`.
    """
    return MomentumEncoder(config, layers) if config.momentum_encoder else CVRL(config, layers)
