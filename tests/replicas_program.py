"""InfoNCE on a number of replicas; one process cannot have MirroredStrategies of several sizes.

python replicas_program.py REPLICAS TEMPERATURE EMBEDDINGS.npy RESULT.npz
"""

import sys

import numpy as np
import tensorflow as tf

from cvrl_tf.training.methods.cvrl import info_nce


def main(replicas: int, temperature: float, source: str, target: str) -> None:
    """Writes loss, gradient (2N, D) and figures of the joint batch in `source`."""
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * replicas,
    )
    strategy = tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(replicas)])
    assert strategy.num_replicas_in_sync == replicas
    # (2, N, D): first views, second views.
    views = np.stack(np.split(np.load(source), 2))
    parts = np.split(views, replicas, axis=1)
    inputs = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(parts[context.replica_id_in_sync_group])
    )

    @tf.function
    def run():
        def step(part):
            with tf.GradientTape() as tape:
                tape.watch(part)
                loss, figures = info_nce(tf.unstack(part), temperature)
                objective = loss / replicas  # as the training step divides it
            return loss, figures, tape.gradient(objective, part)

        return strategy.run(step, args=(inputs,))

    loss, figures, gradient = tf.nest.map_structure(strategy.experimental_local_results, run())
    np.savez(
        target,
        loss=np.mean(loss),
        gradient=np.concatenate(np.concatenate(gradient, axis=1)),
        accuracy=np.mean(figures["contrast_accuracy"]),
        entropy=np.mean(figures["contrast_entropy"]),
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4])
