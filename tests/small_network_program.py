"""An entry point with a backbone of two filters beside the others, `r3d_mini`: its first argument.

The files in `stored` were made with it, so that checkpoints take some hundred KB.
"""

import importlib
import sys

from cvrl_tf.models import resnet3d

resnet3d.BACKBONES["r3d_mini"] = resnet3d.Architecture((1, 1, 1, 1), 2)

if __name__ == "__main__":
    module = importlib.import_module(sys.argv.pop(1))
    sys.argv[0] = module.__file__
    module.COMMAND.run()
