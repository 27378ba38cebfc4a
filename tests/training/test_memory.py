"""The estimate of the memory of a step, what fits instead, and errors of exhausted memory."""

import dataclasses
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from cvrl_tf.errors import InputError
from cvrl_tf.models import build_backbone, build_projection_head
from cvrl_tf.models.resnet3d import BACKBONES, num_weights, outputs_per_pixel
from cvrl_tf.training import memory
from cvrl_tf.training.config import PretrainConfig, SupervisedConfig
from cvrl_tf.training.memory import StepMemory

PAPER = PretrainConfig(train_data="", precision="bfloat16")  # 1024 videos, R3D-50
GPU = types.SimpleNamespace(
    extended=types.SimpleNamespace(worker_devices=("/replica:0/task:0/device:GPU:0",))
)


def test_the_outputs_of_all_convolutions_are_counted():
    backbone = build_backbone("r3d_small")
    outputs = [layer.output for layer in backbone.layers if layer.name.endswith("_conv")]
    clip = np.zeros((1, 8, 64, 64, 3), np.float32)
    values = sum(np.size(output) for output in keras.Model(backbone.input, outputs)(clip))
    expected = values / (8 * 64 * 64)
    assert outputs_per_pixel(BACKBONES["r3d_small"]) == pytest.approx(expected)
    assert outputs_per_pixel(BACKBONES["r3d_50"]) == pytest.approx(110.75)


def _count(network):
    return sum(np.prod(variable.shape) for variable in network.trainable_variables)


@pytest.mark.parametrize("width", [1, 3])
def test_the_weights_are_counted(width):
    backbone = build_backbone("r3d_small", width)
    assert num_weights(BACKBONES["r3d_small"], width) == _count(backbone)
    # Four bytes each of weights, momenta and gradients, two of kernels in bfloat16; the estimate
    # omits biases and normalisation of the head.
    count = _count(backbone) + _count(build_projection_head(backbone.output_shape[-1]))
    config = dataclasses.replace(PAPER, backbone="r3d_small", width_multiplier=width)
    assert StepMemory(config).fixed_bytes() == pytest.approx(14 * count, rel=0.02)
    moco = dataclasses.replace(config, momentum_encoder=0.9, accumulate=2)
    assert StepMemory(moco).fixed_bytes() == pytest.approx(22 * count, rel=0.02)


def test_activations_are_proportional_to_clips_and_width():
    narrow, wide = (dataclasses.replace(PAPER, width_multiplier=width) for width in (1, 2))
    one = StepMemory(narrow).clip_bytes()
    assert StepMemory(wide).clip_bytes() == pytest.approx(2 * one)
    exact = StepMemory(dataclasses.replace(narrow, precision="float32"))
    assert exact.clip_bytes() == pytest.approx(2 * one)
    for on_gpus in (False, True):
        kinds = [StepMemory(narrow, 1, kind, on_gpus).clip_bytes() for kind in memory.ACTIVATIONS]
        assert kinds == sorted(kinds, reverse=True) and len(set(kinds)) == 3
    # Measured on an H100: 357 to 363 MB a clip, 112 with remat=block.
    assert StepMemory(narrow, on_gpus=True).clip_bytes() == pytest.approx(360e6, rel=0.05)
    assert StepMemory(narrow, 1, "block", True).clip_bytes() == pytest.approx(112e6, rel=0.05)
    assert StepMemory(dataclasses.replace(narrow, momentum_encoder=0.9)).clip_bytes() > one
    four = dataclasses.replace(narrow, clips_per_video=4, accumulate=2)
    assert StepMemory(four, 8).num_clips == 4 * 1024 // 8 // 2
    step = StepMemory(four, 8)
    assert step.total_bytes() == step.fixed_bytes() + 256 * step.clip_bytes()
    supervised = SupervisedConfig(train_data="", num_classes=10, frozen=False)
    assert StepMemory(supervised, 2).num_clips == 64


@pytest.mark.parametrize(
    ("step", "gigabytes", "expected"),
    [
        (StepMemory(PAPER, 8), 80, "remat=norm is the smallest change that fits"),
        (StepMemory(PAPER, 8, "norm"), 40, "accumulate=2 with remat=norm is the smallest change"),
        (StepMemory(PAPER, 1, "block"), 16, "accumulate="),
        (
            StepMemory(dataclasses.replace(PAPER, batch_size=2, precision="float32"), 1, "block"),
            1.5,
            "lower batch_size (1 video fit), crop_size or num_frames, choose backbone=r3d_small,"
            " or precision=bfloat16, which takes half",
        ),
        (
            StepMemory(SupervisedConfig(train_data="", num_classes=9, frozen=False)),
            40,
            "lower batch_size (",
        ),
        (StepMemory(PAPER, 1024), 0.3, "lower batch_size, crop_size or num_frames, choose"),
    ],
)
def test_the_smallest_change_that_fits(step, gigabytes, expected):
    advice = step.advice(gigabytes * 1e9)
    assert advice.startswith(expected), advice
    changes = [words for _, words in step.smaller()]
    if "smallest change" in advice:
        at = changes.index(advice.removesuffix(" is the smallest change that fits"))
        fits = [smaller.total_bytes() <= gigabytes * 1e9 for smaller, _ in step.smaller()]
        assert not any(fits[:at]) and fits[at]


def test_what_does_not_fit_on_a_cpu_is_refused(monkeypatch, one_replica, capsys):
    monkeypatch.setattr(memory, "free_bytes", lambda: 20e9)
    config = dataclasses.replace(PAPER, batch_size=16)
    needed = StepMemory(config).total_bytes()
    with pytest.raises(
        InputError,
        match=r"^A step on 2048 clips of 16 frames of 224x224 pixels, r3d_50 in bfloat16, takes"
        r" about \d+\.\d GB of memory, and 20.0 GB are free: accumulate=\d+ with remat=\w+ is",
    ):
        memory.check(StepMemory(PAPER), one_replica)
    for free, note in ((1.01, False), (0.9, True)):  # the estimate is not exact
        monkeypatch.setattr(memory, "free_bytes", lambda part=free: part * needed)
        memory.check(StepMemory(config), one_replica)
        said = capsys.readouterr().err
        assert said.startswith("note: a step on 32 clips of") == note
        assert ("remat=norm is the smallest change that fits." in said) == note


def test_a_note_names_what_fits_on_gpus(monkeypatch, capsys):
    monkeypatch.setattr(memory, "gpu_bytes", lambda: 80e9)
    memory.check(StepMemory(PAPER, 8), GPU)
    said = capsys.readouterr().err
    assert said.startswith(
        "note: a step on 256 clips of 16 frames of 224x224 pixels on each device, r3d_50 in"
        " bfloat16, takes about "
    )
    assert said.endswith(
        "GB of memory, and a GPU has 80.0 GB: remat=norm is the smallest change that fits.\n"
    )
    memory.check(StepMemory(PAPER, 8, "norm"), GPU)
    monkeypatch.setattr(memory, "gpu_bytes", lambda: float("inf"))
    memory.check(StepMemory(PAPER), GPU)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (
            tf.errors.ResourceExhaustedError,
            "OOM when allocating tensor with shape[256,8,56,56,64] and type bfloat16 on"
            " /job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc",
        ),
        (tf.errors.InternalError, "Failed to allocate 8589934592 bytes for new constant"),
        (tf.errors.InternalError, "CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
        (tf.errors.UnknownError, "CUDNN_STATUS_ALLOC_FAILED in cudnnSetTensorNdDescriptor"),
        (tf.errors.NotFoundError, "No algorithm worked! Error messages: RESOURCE_EXHAUSTED: 5 GB"),
    ],
)
def test_exhausted_memory_is_one_sentence(monkeypatch, kind, text):
    monkeypatch.setattr(memory, "gpu_bytes", lambda: 200e9)  # the estimate was too low
    with (
        pytest.raises(InputError) as caught,
        memory.naming_exhaustion(StepMemory(PAPER, 8), GPU),
    ):
        raise kind(None, None, f"{{{{node x}}}} {text}\n\t [[{{{{node y}}}}]]\nmany pages")
    message = str(caught.value)
    assert message.startswith("The memory of a device does not suffice for a step on 256 clips of")
    assert message.endswith(f" ({text}): remat=norm is the smallest change that fits, by estimate.")


def test_other_errors_stay(one_replica):
    for error in (tf.errors.InternalError(None, None, "cuDNN launch failure"), KeyError("x")):
        with pytest.raises(type(error)), memory.naming_exhaustion(StepMemory(PAPER), one_replica):
            raise error


def test_the_memory_of_this_machine(one_replica, two_replicas):
    assert 2**20 < memory.free_bytes() < 2**50
    one, two = memory.device_bytes(one_replica), memory.device_bytes(two_replicas)
    assert two == pytest.approx(one / 2, rel=0.2)
    assert memory.gpu_bytes() > 2**30
