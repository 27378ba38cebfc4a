"""A training step of the authors' implementation: its own task, model, loss and optimizer.

Equal to this package's step: the network (convolutions, batch normalisation, projection head), the
sizes, the precision, InfoNCE over both directions, the factor of the weight decay, and batch
normalisation without synchronisation. Different: weight decay is a sum over all kernels inside the
loss; the momentum is Nesterov's, with a warm-up of the learning rate; the norm of the gradients is
not computed; the step updates metrics of accuracy and entropy. The momenta are created in the first
step, so the memory before it does not include them.

Settings: see `tools.benchmark.step`.
"""

import measure
import tensorflow as tf
import tf_keras
from official.core import exp_factory
from official.projects.video_ssl.tasks import pretrain

EXPERIMENT = "video_ssl_pretrain_kinetics600"


def configure(settings):
    """The authors' experiment with the network of the paper's table 1 and sizes of `settings`."""
    stages = zip(settings["blocks"], settings["temporal_kernels"], strict=True)
    blocks = [
        {
            "temporal_strides": 1,
            "temporal_kernel_sizes": (kernel,) * count,
            "use_self_gating": False,
        }
        for count, kernel in stages
    ]
    backbone = {
        "model_id": settings["depth"],
        "stem_conv_temporal_kernel_size": 5,
        "stem_conv_temporal_stride": 2,
        "stem_pool_temporal_stride": 1,
        "block_specs": blocks,
    }
    data = {"feature_shape": (settings["frames"], settings["size"], settings["size"], 3)}
    config = exp_factory.get_exp_config(EXPERIMENT)
    config.override(
        {
            "task": {
                "model": {
                    "backbone": {"type": "resnet_3d", "resnet_3d": backbone},
                    "norm_activation": {
                        "use_sync_bn": False,
                        "norm_momentum": settings["backbone_bn_momentum"],
                        "norm_epsilon": settings["bn_epsilon"],
                    },
                },
                "losses": {
                    "l2_weight_decay": settings["weight_decay"],
                    "temperature": settings["temperature"],
                },
                "train_data": data,
                "validation_data": data,
            }
        }
    )
    return config


def main():
    """Measures the step and prints the figures."""
    settings = measure.settings()
    if settings["precision"] == "bfloat16":
        tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    config = configure(settings)
    task = pretrain.VideoSSLPretrainTask(config.task)
    model = task.build_model()
    optimizer = task.create_optimizer(config.trainer.optimizer_config)
    metrics = task.build_metrics()
    before = measure.peak_memory_mb()
    size = settings["size"]
    clips = tf.random.stateless_uniform(
        [2 * settings["batch_size"], settings["frames"], size, size, 3], [0, 0]
    )

    @tf.function
    def step(clips):
        return task.train_step(({"image": clips}, None), model, optimizer, metrics)

    figures = measure.steps(lambda: step(clips)["total_loss"].numpy(), settings["steps"])
    measure.print_figures(
        {
            **figures,
            "peak_memory_mb": measure.peak_memory_mb(),
            "memory_before_mb": before,
            "parameters": sum(
                variable.shape.num_elements() for variable in model.trainable_weights
            ),
        }
    )


if __name__ == "__main__":
    main()
