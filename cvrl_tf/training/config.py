"""The configurations of runs: everything that decides what a run computes.

NetworkConfig            a backbone, and the clips that it is made for
  RunConfig              what all training has: data, batch, schedule
    PretrainConfig       contrastive pre-training
    SupervisedConfig     a linear classifier, or fine-tuning

The help text of each field says what it sets; the command line makes flags of the same fields.
Each class has a `kind`, which `config.json` holds beside the fields.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import keras

from cvrl_tf.data.augment import PRESETS, Augmentation, Geometry
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.data.pipeline import ViewsSpec
from cvrl_tf.data.sampling import INTERVALS, IntervalDistribution
from cvrl_tf.errors import InputError
from cvrl_tf.models import BACKBONES, build_backbone
from cvrl_tf.settings import setting
from cvrl_tf.training.optimizer import OPTIMIZERS
from cvrl_tf.training.precision import DTYPE_POLICIES

LOSSES = ("infonce", "byol")
REFERENCE_BATCH = 1024  # videos; that the default learning rate is made for
MAX_EPOCHS = 1_000_000
MAX_SEED = 2**31 - 1
# By the choices of `freeze`: how the names of the layers begin.
FROZEN_LAYERS: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "stem": ("conv1_",),
    "res4": ("conv1_", "res2_", "res3_", "res4_"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """A backbone, and the clips that it is made for.

    By itself it describes weights that do not come from a run: imported, inflated or random ones.
    """

    kind: ClassVar[str] = "network"

    num_frames: int = setting(16, "Frames of a clip.", lower=1)
    stride: int = setting(
        2, "Distance in video frames between consecutive frames of a clip.", lower=1
    )
    crop_size: int = setting(224, "Height and width of a clip in pixels.", lower=32)
    backbone: str = setting(
        "r3d_50", "Network architecture; r3d_small is meant for CPUs.", choices=BACKBONES
    )
    width_multiplier: int = setting(1, "Multiplies the number of filters of every layer.", lower=1)
    init_checkpoint: str = setting(
        "",
        "Initial weights instead of random ones: a directory of cvrl_tf.train or"
        " cvrl_tf.import_checkpoint, or a checkpoint in one, DIR/checkpoints/ckpt-500.",
    )
    seed: int = setting(
        0, "Seed of the initial weights and of all random draws.", lower=0, upper=MAX_SEED
    )

    @property
    def method(self) -> str:
        """Of training: runs of different methods have different networks."""
        return self.kind

    @property
    def clip(self) -> ClipSpec:
        """The clips that the network sees in training."""
        return ClipSpec(self.num_frames, self.stride, self.crop_size)

    def build_backbone(self, dtype: str = "float32", layers: str = "clip") -> keras.Model:
        """A freshly initialised backbone.

        Identical to the run's starting point unless it loads a checkpoint.
        """
        return build_backbone(self.backbone, self.width_multiplier, dtype, self.seed, layers)


@dataclasses.dataclass(frozen=True)
class RunConfig(NetworkConfig):
    """What the configurations of all runs have in common."""

    train_data: str = setting(help="Glob pattern of the TFRecord shards to train on.")
    _: dataclasses.KW_ONLY
    train_ids: str = setting(
        "",
        "Train on these videos only: a text file with one id per line, as python -m"
        " cvrl_tf.make_subset writes it for a share of the videos.",
    )
    precision: str = setting(
        "float32",
        "Data type of the computation; weights are always float32. bfloat16 takes less"
        " memory, and less time on processors that support it.",
        choices=DTYPE_POLICIES,
    )
    batch_size: int = setting(1024, "Videos per step over all devices.", lower=1)
    epochs: float = setting(200.0, "Passes over the data.", lower=0, upper=MAX_EPOCHS)
    learning_rate: float = setting(
        0.32, "Peak learning rate, reached after warm-up; cosine decay follows.", lower=0
    )
    warmup_epochs: float = setting(5.0, "Epochs of linear warm-up.", lower=0, upper=MAX_EPOCHS)
    weight_decay: float = setting(
        0.0,
        "Weight decay: this factor times half the sum of squared kernel weights is added to the"
        " loss.",
        lower=0,
    )

    _several_times: ClassVar[str] = ""  # what is wrong with a batch that holds a video twice

    @property
    def micro_batches(self) -> int:
        """The number of parts of a batch that are computed in sequence."""
        return 1

    def clips_at_once(self, num_replicas: int) -> int:
        """The number of clips that each of `num_replicas` devices computes at once."""
        return self.batch_size // (num_replicas * self.micro_batches)

    def steps_of(self, epochs: float, num_videos: int) -> int:
        """The number of steps nearest to `epochs` passes over `num_videos` videos."""
        return math.floor(epochs * num_videos / self.batch_size + 0.5)

    def total_steps(self, num_videos: int) -> int:
        """The steps of the run on `num_videos` videos."""
        return self.steps_of(self.epochs, num_videos)

    def check(self, num_videos: int, num_replicas: int) -> None:
        """Checks that batch, data and schedule fit each other.

        Args:
          num_videos: records of the training data.
          num_replicas: devices that share a batch.

        Raises:
          InputError: they do not.
        """
        if self.batch_size > num_videos:
            raise InputError(
                f"batch_size={self.batch_size} is more than the {num_videos} videos of"
                f" {self.train_data}{self._several_times}; lower batch_size."
            )
        parts = num_replicas * self.micro_batches
        if self.batch_size % parts:
            micro = f" and accumulate={self.micro_batches}" if self.micro_batches > 1 else ""
            raise InputError(
                f"batch_size={self.batch_size} does not divide evenly over {num_replicas}"
                f" devices{micro}: give a multiple of {parts}."
            )
        self.check_schedule(num_videos)

    def check_schedule(self, num_videos: int) -> None:
        """Checks that there are steps, and more of them than of the warm-up.

        Raises:
          InputError: there are not.
        """
        total_steps = self.total_steps(num_videos)
        if total_steps < 1:
            raise InputError(
                f"epochs={self.epochs} of {num_videos} videos is less than one step of"
                f" batch_size={self.batch_size}: raise epochs or lower batch_size."
            )
        warmup_steps = self.steps_of(self.warmup_epochs, num_videos)
        if warmup_steps >= total_steps:
            raise InputError(
                f"warmup_epochs={self.warmup_epochs} is {warmup_steps} steps, not fewer than the"
                f" {total_steps} steps of the run: the learning rate would never reach its peak;"
                " lower warmup_epochs."
            )


def fitting_batch_size(num_videos: int, parts: int = 1, largest: int = REFERENCE_BATCH) -> int:
    """The largest batch size that suits a number of videos.

    A power of two for each part, with four steps or more in an epoch unless that is less than eight
    videos: batch normalisation and negatives need some.

    Args:
      num_videos: of the training data.
      parts: that a batch is divided into: devices times micro-batches.
      largest: the maximum.
    """
    most = min(max(num_videos // 4, min(8, num_videos)), largest)
    size = parts
    while 2 * size <= most:
        size *= 2
    return size


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainConfig(RunConfig):
    """Everything that decides what a pre-training run computes.

    Attributes:
      augmentation: of the views; flags choose one of `augment.PRESETS` and change its values.
    """

    kind: ClassVar[str] = "pretrain"
    _several_times: ClassVar[str] = ": a batch would hold a video twice, as its own negative"

    batch_size: int = setting(
        1024,
        "Videos per step over all devices. The clips of each are contrasted with those of all"
        " others.",
        lower=2,
    )
    weight_decay: float = 1e-6
    accumulate: int = setting(
        1,
        "Number of micro-batches of a step; raise it when memory runs out. The loss is that of the"
        " whole batch; activations take the memory of one micro-batch, and a second forward pass"
        " takes time. Batch normalisation uses the statistics of each micro-batch.",
        lower=1,
    )
    steps: int = setting(0, "Steps of the run; 0 derives them from epochs.", lower=0)
    optimizer: str = setting(
        "sgd",
        "sgd: momentum 0.9. lars: the same with a learning rate scaled for each kernel by the ratio"
        " of norms, for large batches.",
        choices=OPTIMIZERS,
    )
    scale_learning_rate: bool = setting(
        False, "Multiply learning_rate by batch_size / 1024 (linear scaling rule)."
    )
    temperature: float = setting(
        0.1, "Temperature that divides the cosine similarities in the loss.", lower=1e-3
    )
    momentum_encoder: float = setting(
        0.0,
        "Momentum, at least 0 and below 1, of a moving average of backbone and projection head. A"
        " predictor learns to predict the embeddings that the average computes for the other clips"
        " of a video (MoCo v3). 0 trains without an average: CVRL. Published values for videos:"
        " 0.994 (MoCo), 0.996 (BYOL).",
    )
    anneal_momentum: bool = setting(
        False, "Raise momentum_encoder to 1 by a cosine over the steps of the run."
    )
    loss: str = setting(
        "infonce",
        "infonce: clips of other videos are negatives. byol: squared distance from the embeddings"
        " of the momentum encoder, without negatives; it requires momentum_encoder.",
        choices=LOSSES,
    )
    clips_per_video: int = setting(
        2,
        "Clips of each video in a batch, 2 or more. With 4, a step takes twice the time and memory"
        " of activations; later work (arXiv 2104.14558) gained 2.7 to 4.4 points of linear"
        " accuracy.",
        lower=2,
    )
    interval: str = setting(
        "decreasing",
        "Distribution of the time interval x between the first clip of a video and each other one,"
        " from 0 to the longest that fits: density 1 - x^power (decreasing), uniform, x^power"
        " (increasing), or always 0 (zero). zero with num_frames=1 is SimCLR on single images,"
        " whose network can be inflated to clips.",
        choices=INTERVALS,
    )
    interval_power: float = setting(
        1.0, "Power in the density of --interval; the paper compares 0.5, 1 and 2.", lower=0.01
    )
    augmentation: Augmentation = Augmentation()

    @property
    def micro_batches(self) -> int:
        """The number of parts of a batch that are computed in sequence."""
        return self.accumulate

    def clips_at_once(self, num_replicas: int) -> int:
        """See `RunConfig`."""
        return self.clips_per_video * super().clips_at_once(num_replicas)

    @property
    def views(self) -> ViewsSpec:
        """How the views of a video are made."""
        interval = IntervalDistribution(self.interval, self.interval_power)
        return ViewsSpec(self.clip, interval, self.augmentation, self.clips_per_video)

    @property
    def method(self) -> str:
        """ "cvrl", "moco" or "byol"."""
        if not self.momentum_encoder:
            return "cvrl"
        return "byol" if self.loss == "byol" else "moco"

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate after warm-up and before decay, scaled if `scale_learning_rate`."""
        scale = self.batch_size / REFERENCE_BATCH if self.scale_learning_rate else 1.0
        return self.learning_rate * scale

    def total_steps(self, num_videos: int) -> int:
        """The steps of the run on `num_videos` videos."""
        return self.steps or super().total_steps(num_videos)

    def check(self, num_videos: int, num_replicas: int) -> None:
        """Checks that batch, data and schedule fit each other; see `RunConfig.check`."""
        if self.batch_size < 2:
            raise InputError(
                f"batch_size={self.batch_size} has no negatives to contrast with: give 2 or more."
            )
        self._check_method()
        super().check(num_videos, num_replicas)

    def _check_method(self) -> None:
        if not 0.0 <= self.momentum_encoder < 1.0:
            raise InputError(
                f"momentum_encoder={self.momentum_encoder}, expected 0 <= momentum < 1: 0 trains"
                " without a momentum encoder, 0.994 is a published value."
            )
        if self.momentum_encoder:
            return
        if self.loss == "byol":
            raise InputError(
                "loss=byol without a momentum encoder, whose embeddings it predicts: give"
                " momentum_encoder too, such as 0.996."
            )
        if self.anneal_momentum:
            raise InputError(
                "anneal_momentum without a momentum encoder: give momentum_encoder too, such as"
                " 0.994."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Validation:
    """Labelled videos that are held out of training, and what is decided by their accuracy."""

    validation_data: str = setting(
        "",
        "Labelled shards on which the accuracy is measured after each epoch, named as in"
        " --train_data.",
    )
    validation_fraction: float = setting(
        0.0,
        "Instead of --validation_data, hold out this fraction of the training videos of each"
        " class.",
        lower=0,
        upper=0.9,
    )
    group_pattern: str = setting(
        "",
        "With --validation_fraction: regular expression whose group in parentheses finds the group"
        r" of a video in its id, such as '_g(\d+)_'. A group is held out as a whole. Set it if"
        " several videos are cut from one recording.",
    )
    select: str = setting(
        "best",
        "Weights that are tested and that other commands use: those of the epoch with the best"
        " validation accuracy (best), or of the last step (last). It applies only with validation"
        " videos.",
        choices=("best", "last"),
    )
    patience: int = setting(
        0,
        "Epochs in a row without a better validation accuracy after which training ends; 0 trains"
        " to the last step.",
        lower=0,
    )

    def __post_init__(self) -> None:
        if self.validation_data and self.validation_fraction:
            raise InputError(
                f"Found validation_data={self.validation_data} and"
                f" validation_fraction={self.validation_fraction}: give one of them."
            )
        if self.group_pattern and not self.validation_fraction:
            raise InputError(
                f"group_pattern={self.group_pattern} is given without validation_fraction, which"
                " holds out groups: give both, such as validation_fraction=0.2."
            )
        if self.patience and not self.validates:
            raise InputError(
                f"patience={self.patience} is given without validation videos: give"
                " validation_fraction, such as 0.2, or validation_data."
            )

    @property
    def validates(self) -> bool:
        """Whether there are validation videos."""
        return bool(self.validation_data or self.validation_fraction)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`.

        Raises:
          TypeError: a name that this version does not know.
        """
        return cls(**values)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SupervisedConfig(RunConfig):
    """Everything that decides what supervised training computes.

    Attributes:
      num_classes: outputs of the classifier.
      frozen: whether only the classifier is trained, on the L2-normalised features of the backbone
        in inference mode; otherwise all layers are.
      init: where the initial weights come from: `Origin.kind`.
      init_checkpoint: their file; empty when they do not come from one.
      geometry: how crop and flip of the training clips are drawn.
      validation: videos that are held out.
    """

    kind: ClassVar[str] = "supervised"

    num_classes: int
    frozen: bool
    num_frames: int = 32
    batch_size: int = setting(128, "Videos per step over all devices; one clip of each.", lower=1)
    epochs: float = 50.0
    learning_rate: float = setting(
        0.16,
        "Peak learning rate, reached after warm-up; cosine decay follows. A value that is given is"
        " not scaled by batch_size.",
        lower=0,
    )
    dropout: float = setting(
        0.0,
        "Fraction of the features before the classifier that is set to 0 in training.",
        lower=0,
        upper=0.99,
    )
    label_smoothing: float = setting(
        0.0,
        "Fraction of the target probability that is spread evenly over all classes.",
        lower=0,
        upper=0.99,
    )
    freeze: str = setting(
        "none",
        "Layers of the backbone that keep their weights and statistics: the first convolution"
        " (stem), all up to the stage res4, or none. Freeze more layers if there are few videos.",
        choices=FROZEN_LAYERS,
    )
    classifier_rate: float = setting(
        1.0,
        "Factor of the learning rate of the classifier, which starts from random weights; 10 is"
        " common with few videos.",
        lower=0,
    )
    init: str = "random"
    geometry: Geometry = Geometry()
    validation: Validation = Validation()


KINDS: Mapping[str, type[NetworkConfig]] = {
    config.kind: config for config in (NetworkConfig, PretrainConfig, SupervisedConfig)
}
# Settings that are dataclasses of settings.
NESTED: Mapping[str, type[Geometry] | type[Validation]] = {
    "augmentation": Augmentation,
    "geometry": Geometry,
    "validation": Validation,
}
RETIRED = ("shuffle_buffer",)  # settings of earlier versions that no network depends on


def to_json(config: NetworkConfig) -> dict[str, Any]:
    """The content of a `config.json`."""
    return {"kind": config.kind, **dataclasses.asdict(config)}


def values_by_name(config: NetworkConfig) -> dict[str, Any]:
    """All values by the names of their flags, those of nested settings among them."""
    values: dict[str, Any] = {}
    for name, value in dataclasses.asdict(config).items():
        values |= value if name in NESTED else {name: value}
    return values


def from_json(values: Mapping[str, Any]) -> NetworkConfig:
    """The configuration that a `config.json` holds.

    Earlier versions wrote no `kind`, the name of a preset instead of the values of an augmentation,
    and not all of today's settings; those had their defaults.

    Raises:
      InputError: a setting or kind that this version does not know, or a missing one.
    """
    kept = {name: value for name, value in values.items() if name not in RETIRED}
    kind = kept.pop("kind", "supervised" if "num_classes" in kept else "pretrain")
    if kind not in KINDS:
        raise InputError(f"kind={kind}, expected {', '.join(KINDS)}")
    preset = kept.get("augmentation")
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise InputError(f"augmentation={preset}, expected {', '.join(PRESETS)}")
        kept["augmentation"] = dataclasses.asdict(PRESETS[preset])
    try:
        for name in NESTED.keys() & kept.keys():
            kept[name] = NESTED[name].from_json(kept[name])
        return KINDS[kind](**kept)
    except TypeError as error:
        raise InputError(str(error).partition("() ")[2]) from None
