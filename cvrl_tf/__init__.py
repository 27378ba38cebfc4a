"""CVRL: Spatiotemporal Contrastive Video Representation Learning in TensorFlow and Keras.

Reproduces Qian et al., CVPR 2021 (arXiv 2008.03800). Entry points: `cvrl_tf.train`,
`cvrl_tf.knn_eval`, `cvrl_tf.linear_eval`, `cvrl_tf.finetune`, `cvrl_tf.extract_features`,
`cvrl_tf.export`.
"""

from cvrl_tf import environment

__version__ = "0.1.0"

environment.prepare()
