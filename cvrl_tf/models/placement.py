"""Where the operations of a layer run, as far as that is known when they are created."""

import tensorflow as tf


def on_cpu() -> bool:
    """Returns whether operations created here run on a CPU.

    The first of these that is known decides:
    1. The requested device. Eagerly it is where operations run. In a traced function it is set by
       `tf.device` inside the function, and by `strategy.run`, which traces a function once for each
       replica in the scope of the replica's device.
    2. The device of the replica: a `tf.function` called inside `strategy.run` has its own graph
       without that scope.
    3. What TensorFlow chooses without a request: an accelerator if this process sees one.

    A traced function keeps its choice. TensorFlow does not trace a function again for another
    eager `tf.device`, so such a scope around it does not count: with an accelerator in the process,
    the function takes the accelerator's forms. These run everywhere; CPUs are slower with them.
    """
    kind = _device_type(tf.zeros([]).device)
    if not kind and tf.distribute.has_strategy():
        replica = tf.distribute.get_replica_context()
        kind = _device_type(tf.nest.flatten(replica.devices)[0]) if replica else None
    if kind:
        return kind == "CPU"
    return not any(tf.config.list_logical_devices(kind) for kind in ("GPU", "TPU"))


def _device_type(device: str) -> str | None:
    return tf.DeviceSpec.from_string(device or "").device_type
