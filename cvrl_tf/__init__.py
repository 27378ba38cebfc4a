"""CVRL: Spatiotemporal Contrastive Video Representation Learning in TensorFlow and Keras.

Reproduces Qian et al., CVPR 2021 (arXiv 2008.03800). Entry points: `cvrl_tf.train`,
`cvrl_tf.knn_eval`, `cvrl_tf.extract_features`, `cvrl_tf.export`.
"""

import os

# TensorFlow's C++ start-up prints errors about CUDA plug-ins even where there is no GPU. What
# matters reaches the user as a Python exception. Set TF_CPP_MIN_LOG_LEVEL=0 to see everything.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
__version__ = "0.1.0"
