"""Measures a training step: seconds, CPU time, memory and arithmetic.

  python -m tools.benchmark step --backbone=r3d_50 --batch_size=2 --crop_size=112 --json=step.json

It measures the whole step, with projection head, InfoNCE, weight decay and SGD with momentum, on
the devices that training would use. It measures this package, and the same network with Keras's own
layers and optimizer (without weight decay), each in a process of its own. Figures are medians of
the runs; ratios compare consecutive runs. Arithmetic counts two operations for each multiplication
of the convolutions and Dense layers, three times for forward and backward pass. It is compared with
the speed of a large matrix product on the same device.

With another method than CVRL, or more clips of a video, it measures CVRL with two clips beside it
instead of Keras's own layers:

  python -m tools.benchmark step --backbone=r3d_small --momentum_encoder=0.994 --clips_per_video=4

Where a flag names the Python of an environment with the authors' implementation (TensorFlow Model
Garden) or with PyTorch, it also measures their step in alternating runs: the authors' on the CPU,
PyTorch's where this package runs, so on a GPU if there is one. authors_step.py and pytorch_step.py
in tools/benchmark/others state what is equal and what is not. To make the environments:

  python -m venv authors && authors/bin/python -m pip install \\
      tf-models-official==2.20.0 tensorflow-cpu==2.20.0 tf_keras==2.20.1
  python -m venv pytorch && pytorch/bin/python -m pip install torch==2.13.0
"""

import concurrent.futures
import dataclasses
import math
import multiprocessing
import time
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cvrl_tf.cli.application import Command
from cvrl_tf.cli.flag import Flag, Value, Values, flags_of
from cvrl_tf.data.pipeline import ViewBatch
from cvrl_tf.errors import InputError
from cvrl_tf.models import BACKBONES, heads, resnet3d
from cvrl_tf.progress import Progress
from cvrl_tf.training.config import PretrainConfig
from cvrl_tf.training.contrastive_trainer import ContrastiveTrainer
from cvrl_tf.training.precision import DTYPE_POLICIES
from cvrl_tf.training.pretrain import Execution
from tools.benchmark import comparison, report
from tools.benchmark.others import measure

FLAGS = {
    "Work": (
        *flags_of(PretrainConfig, "backbone", "batch_size"),
        Flag("frames", 16, "Frames of a clip.", lower=1),
        *flags_of(PretrainConfig, "crop_size", "precision"),
        *flags_of(Execution, "remat"),
    ),
    "Method": flags_of(PretrainConfig, "clips_per_video", "momentum_encoder", "loss"),
    "Measurement": (
        Flag("steps", 5, "Steps of a run, after two that are not counted.", lower=1),
        report.RUNS,
    ),
    "Comparison": (
        Flag(
            "authors_python",
            "",
            "Python interpreter of an environment with the authors' implementation: measures its"
            " step too.",
        ),
        Flag(
            "pytorch_python",
            "",
            "Python interpreter of an environment with PyTorch: measures the same step there too.",
        ),
    ),
    "Output": (report.JSON,),
}
DEFAULTS: Mapping[str, Value] = {"batch_size": 2, "crop_size": 112, "precision": "bfloat16"}
NETWORKS = {"ours": "this package", "keras": "Keras's own layers", "cvrl": "CVRL, 2 clips"}
OTHERS = {"authors": comparison.AUTHORS, "pytorch": comparison.PYTORCH}
AUTHORS_DEPTHS = {"r3d_50": 50, "r3d_101": 101, "r3d_152": 152}
COLUMNS = [
    ("s/step", "step_seconds", ".3f"),
    ("x ours", "times_ours", ".2f"),
    ("CPU-s/step", "cpu_seconds_per_step", ".3f"),
    ("clips/s", "clips_per_second", ".2f"),
    ("GFLOP/s", "gigaflops", ".0f"),
    ("of a product", "share_of_matrix_product", ".0%"),
    ("peak MB", "peak_memory_mb", ".0f"),
    ("before it", "memory_before_mb", ".0f"),
]
MATRIX_SIZE = {"CPU": 2048, "GPU": 8192}
Figures = dict[str, float]


def main(flags: Values) -> None:
    """Measures, prints the table and writes the JSON."""
    config = flags.make(PretrainConfig, train_data="", num_frames=flags.frames, steps=0)
    paths = {"authors": flags.authors_python, "pytorch": flags.pytorch_python}
    config.check(max(config.batch_size, 2), 1)
    _check_comparison(config, paths)
    environments = comparison.find_environments(OTHERS, paths)
    networks = _networks(config)
    runs: dict[str, list[Figures]] = {which: [] for which in [*networks, *environments]}
    on_gpu = bool(tf.config.list_physical_devices("GPU"))  # the authors' are refused there
    context = multiprocessing.get_context("spawn")
    with Progress("measuring", flags.runs * len(runs), "run") as progress:
        for _ in range(flags.runs):
            for which in networks:
                with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
                    runs[which].append(
                        pool.submit(_measure, which, config, flags.remat, flags.steps).result()
                    )
                progress.update()
            for which, environment in environments.items():
                settings = _settings(config, flags.steps)
                figures = environment.measure(f"{which}_step", settings, on_gpu)
                comparison.check_parameters(environment, runs["ours"][-1], figures)
                runs[which].append(_complete(figures, runs["ours"][-1], config.batch_size))
                progress.update()
    _print(flags, runs, environments)


def _cvrl(config: PretrainConfig) -> PretrainConfig:
    """The same with CVRL and two clips."""
    return dataclasses.replace(config, clips_per_video=2, momentum_encoder=0.0, loss="infonce")


def _networks(config: PretrainConfig) -> list[str]:
    """What is measured in this environment, of `NETWORKS`."""
    if config != _cvrl(config):
        return ["ours", "cvrl"]
    return ["ours", *(["keras"] if _keras_computes(config.precision) else [])]


def _keras_computes(precision: str) -> bool:
    """Whether Keras's own layers compute in this precision on the devices of this machine."""
    if precision != "float16" or tf.config.list_physical_devices("GPU"):
        return True
    print("Keras's own layers are not measured: MaxPooling3D has no float16 on CPUs.")
    return False


def _check_comparison(config: PretrainConfig, paths: Mapping[str, str | None]) -> None:
    """Raises InputError if another implementation cannot do the same work."""
    if not any(paths.values()):
        return
    if config != _cvrl(config):
        raise InputError(
            f"The method {config.method} with {config.clips_per_video} clips of a video is not"
            " measured for other implementations: expected CVRL with two clips, or neither"
            " --authors_python nor --pytorch_python."
        )
    if paths["authors"] and config.backbone not in AUTHORS_DEPTHS:
        raise InputError(
            f"--backbone={config.backbone} is not among the networks of the authors'"
            f" implementation: expected {', '.join(AUTHORS_DEPTHS)}, or no --authors_python."
        )
    if config.precision == "float16":
        raise InputError(
            "--precision=float16 is not measured for other implementations: expected float32 or"
            " bfloat16, or neither --authors_python nor --pytorch_python."
        )
    if paths["authors"] and tf.config.list_physical_devices("GPU"):
        raise InputError(
            "The authors' implementation is measured on the CPU, but this package would run on a"
            " GPU: set CUDA_VISIBLE_DEVICES=-1 to compare all on the CPU."
        )


def _settings(config: PretrainConfig, num_steps: int) -> dict[str, Any]:
    """The settings of the programs of `others`: the same network and step as ours."""
    architecture = BACKBONES[config.backbone]
    features = architecture.filters * 2**3 * resnet3d.BOTTLENECK_EXPANSION
    return {
        "depth": AUTHORS_DEPTHS.get(config.backbone),
        "blocks": architecture.blocks,
        "filters": architecture.filters,
        "temporal_kernels": resnet3d.STAGE_TEMPORAL_KERNELS,
        "hidden_units": [min(features, heads.MAX_HIDDEN_UNITS)] * heads.HIDDEN_LAYERS,
        "embedding_size": heads.EMBEDDING_SIZE,
        "backbone_bn_momentum": resnet3d.BN_MOMENTUM,
        "head_bn_momentum": heads.BN_MOMENTUM,
        "bn_epsilon": resnet3d.BN_EPSILON,
        "batch_size": config.batch_size,
        "frames": config.num_frames,
        "size": config.crop_size,
        "precision": config.precision,
        "weight_decay": config.weight_decay,
        "temperature": config.temperature,
        "steps": num_steps,
    }


def _complete(figures: Figures, ours: Figures, batch_size: int) -> Figures:
    """The figures of another implementation, with those derived from its times."""
    faster = ours["step_seconds"] / figures["step_seconds"]
    same_work = ("videos_per_second", "clips_per_second", "gigaflops")
    return {
        **figures,
        "cpu_seconds_per_video": figures["cpu_seconds_per_step"] / batch_size,
        **{name: faster * ours[name] for name in same_work},
    }


def _print(
    flags: Values,
    runs: Mapping[str, list[Figures]],
    environments: Mapping[str, comparison.Environment],
) -> None:
    titles = {which: title for which, title in NETWORKS.items() if which in runs}
    titles |= {which: OTHERS[which].title for which in environments}
    results: dict[str, Any] = {}
    for which in runs:
        results[which] = report.medians(runs[which]) | {
            "times_ours": report.ratio(runs[which], runs["ours"], "step_seconds"),
            "parameters": runs[which][0]["parameters"],
        }
    print("\n" + report.table(COLUMNS, {titles[which]: results[which] for which in titles}))
    print()
    for which in [name for name in titles if name != "ours"]:
        times = report.ratio(runs[which], runs["ours"], "step_seconds")
        cpu_times = report.ratio(runs[which], runs["ours"], "cpu_seconds_per_step")
        results |= {f"times_{which}": times, f"cpu_times_{which}": cpu_times}
        if which == "cvrl":
            print(f"The step takes {1 / times:.2f} times as long as that of CVRL with 2 clips.")
            continue
        print(
            f"This package is {times:.2f} times as fast as {titles[which]}, run by run;"
            f" {cpu_times:.2f} times by CPU seconds."
        )
    for environment in environments.values():
        print(environment.describe())
    if flags.json:
        settings = report.settings(flags, FLAGS)
        versions = {which: environment.versions for which, environment in environments.items()}
        report.write_json(flags.json, "step", settings, results, versions)
        print(f"written to {flags.json}")


def _measure(which: str, config: PretrainConfig, remat: str, num_steps: int) -> Figures:
    strategy = tf.distribute.MirroredStrategy()
    with strategy.scope():
        if which == "cvrl":
            config = _cvrl(config)
        if which != "keras":
            trainer = ContrastiveTrainer(config, 10, 1000, remat)
            trainer.method.start()
        else:
            trainer = ContrastiveTrainer(config, 10, 1000, layers="stock")
            trainer.optimizer = _KerasOptimizer(trainer)  # type: ignore[assignment]
    before = peak_memory_mb()
    batch = make_batch(config, strategy)
    times = measure.steps(lambda: trainer.step(batch)["loss"].numpy(), num_steps)
    step = times["step_seconds"]
    clips = config.clips_per_video * config.batch_size
    passes = 4 if config.momentum_encoder else 3  # the momentum encoder has a forward pass only
    gigaflops = passes * clips * _clip_operations(trainer, config) / step / 1e9
    return {
        **times,
        "cpu_seconds_per_video": times["cpu_seconds_per_step"] / config.batch_size,
        "videos_per_second": config.batch_size / step,
        "clips_per_second": clips / step,
        "gigaflops": gigaflops,
        "share_of_matrix_product": gigaflops
        / (strategy.num_replicas_in_sync * _matrix_gigaflops(config.precision)),
        "peak_memory_mb": peak_memory_mb(),
        "memory_before_mb": before,
        "parameters": sum(math.prod(variable.shape) for variable in trainer.variables),
    }


def make_batch(config: PretrainConfig, strategy: tf.distribute.Strategy) -> ViewBatch:
    """A batch of random clips on the devices of `strategy`."""
    rng = np.random.default_rng(0)
    shape = (config.batch_size, config.num_frames, config.crop_size, config.crop_size, 3)
    count = config.clips_per_video
    views = tuple(rng.uniform(0, 1, shape).astype("float32") for _ in range(count))
    numbers = np.arange(config.batch_size)
    whole = ViewBatch(views, intervals=numbers.astype("int32"), positions=numbers)
    dataset = tf.data.Dataset.from_tensor_slices(whole)
    dataset = dataset.batch(config.batch_size, drop_remainder=True)
    return next(iter(strategy.experimental_distribute_dataset(dataset)))


class _KerasOptimizer:
    """Keras's SGD instead of ours, which also computes the norm of the gradients."""

    def __init__(self, trainer: ContrastiveTrainer):
        self._variables = trainer.variables
        self._sgd = keras.optimizers.SGD(trainer.schedule, momentum=0.9)
        self._sgd.build(self._variables)

    def apply(self, gradients: list[tf.Tensor], step: tf.Tensor) -> dict[str, tf.Tensor]:
        self._sgd.apply(gradients, self._variables)
        return {"skipped": tf.constant(0.0)}


def peak_memory_mb() -> float:
    """Peak memory of this process; with a GPU, that of the GPU."""
    if tf.config.list_logical_devices("GPU"):
        return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e6
    return measure.peak_memory_mb()


def _clip_operations(trainer: ContrastiveTrainer, config: PretrainConfig) -> float:
    """Floating-point operations of the forward pass of one clip."""
    clip = keras.KerasTensor((1, config.num_frames, config.crop_size, config.crop_size, 3))
    convolutions = [
        layer for layer in trainer.backbone.layers if isinstance(layer, keras.layers.Conv3D)
    ]
    probe = keras.Model(trainer.backbone.input, [layer.output for layer in convolutions])
    total = 0.0
    for layer, output in zip(convolutions, probe.compute_output_spec(clip), strict=True):
        total += 2 * math.prod(layer.kernel.shape) * math.prod(output.shape[1:4])
    heads = [network for name, network in trainer.method.trained.items() if name != "backbone"]
    for layer in (layer for head in heads for layer in head.layers):
        if isinstance(layer, keras.layers.Dense):
            total += 2 * math.prod(layer.kernel.shape)
    return total


def _matrix_gigaflops(precision: str) -> float:
    """GFLOP/s of one device in a large matrix product of this precision."""
    size = MATRIX_SIZE["GPU" if tf.config.list_logical_devices("GPU") else "CPU"]
    dtype = keras.DTypePolicy(DTYPE_POLICIES[precision]).compute_dtype
    matrix = tf.cast(tf.random.stateless_normal([size, size], [0, 0]), dtype)
    product = tf.function(lambda x: tf.reduce_max(tf.matmul(x, x)))
    product(matrix)
    seconds = []
    for _ in range(5):
        start = time.monotonic()
        product(matrix).numpy()
        seconds.append(time.monotonic() - start)
    return 2 * size**3 / min(seconds) / 1e9


COMMAND = Command(main, __doc__, FLAGS, defaults=DEFAULTS)
