"""The same training step in PyTorch, written for speed.

Equal to this package's step: the network, the sizes, InfoNCE over both directions, SGD with
momentum, and weight decay for kernels only. The clips are channels_last_3d. In bfloat16 the network
runs under autocast, including its last layer; the loss is in float32. Different: even sizes are
padded on both sides instead of at the end; the norm of the gradients is not computed; the learning
rate is constant. The momenta are created in the first step, so the memory before it does not
include them. Gradients are cleared right before the backward pass: before the forward pass, a step
on a CPU takes an eighth more time, because malloc returns their memory to the system.

The step is measured as it is and with the network compiled by `torch.compile`. The figures are
those of the faster one; `compiled` is 1 for the second, whose peak memory includes that of the
first. `fused` and `foreach` of the optimizer made no difference.

On a GPU cuDNN chooses the fastest algorithm of each convolution (`cudnn.benchmark`), and the clips
are there before the step. Products and convolutions in float32 may use TF32, as in TensorFlow.

Settings: see `tools.benchmark.step`.
"""

import sys

import measure
import torch
from torch import nn
from torch.nn import functional

LEARNING_RATE = 0.001
EXPANSION = 4


class ConvolutionNormalization(nn.Module):
    """A convolution with batch normalisation, and ReLU if `relu`."""

    def __init__(self, inputs, outputs, kernel, settings, strides=(1, 1, 1), relu=True):
        super().__init__()
        padding = tuple((size - 1) // 2 for size in kernel)
        self.convolution = nn.Conv3d(inputs, outputs, kernel, strides, padding, bias=False)
        self.normalization = nn.BatchNorm3d(
            outputs, settings["bn_epsilon"], momentum=1 - settings["backbone_bn_momentum"]
        )
        self.activation = nn.ReLU(inplace=True) if relu else nn.Identity()

    def forward(self, x):
        return self.activation(self.normalization(self.convolution(x)))


class Bottleneck(nn.Module):
    """Convolutions Tx1x1, 1x3x3 and 1x1x1 beside a shortcut."""

    def __init__(self, inputs, filters, temporal_kernel, stride, project, settings):
        super().__init__()
        outputs, strides = EXPANSION * filters, (1, stride, stride)
        self.shortcut = nn.Identity()
        if project:
            self.shortcut = ConvolutionNormalization(
                inputs, outputs, (1, 1, 1), settings, strides, relu=False
            )
        kernel = (temporal_kernel, 1, 1)
        self.layers = nn.Sequential(
            ConvolutionNormalization(inputs, filters, kernel, settings),
            ConvolutionNormalization(filters, filters, (1, 3, 3), settings, strides),
            ConvolutionNormalization(filters, outputs, (1, 1, 1), settings, relu=False),
        )

    def forward(self, x):
        return functional.relu(self.layers(x) + self.shortcut(x), inplace=True)


class Network(nn.Module):
    """R3D with projection head: clips (N, 3, T, H, W) -> embeddings (N, D)."""

    def __init__(self, settings):
        super().__init__()
        filters = settings["filters"]
        layers = [
            ConvolutionNormalization(3, filters, (5, 7, 7), settings, (2, 2, 2)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        ]
        features = filters
        stages = zip(settings["blocks"], settings["temporal_kernels"], strict=True)
        for stage, (count, kernel) in enumerate(stages):
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(
                    Bottleneck(features, filters * 2**stage, kernel, stride, block == 0, settings)
                )
                features = EXPANSION * filters * 2**stage
        self.backbone = nn.Sequential(*layers)
        head = []
        for units in settings["hidden_units"]:
            norm = nn.BatchNorm1d(
                units, settings["bn_epsilon"], momentum=1 - settings["head_bn_momentum"]
            )
            head += [nn.Linear(features, units), norm, nn.ReLU(inplace=True)]
            features = units
        self.head = nn.Sequential(*head, nn.Linear(features, settings["embedding_size"]))

    def forward(self, clips):
        return self.head(self.backbone(clips).mean((2, 3, 4)))


def info_nce(embeddings, temperature):
    """The sum of both directions. The first half of the embeddings belongs to the first views."""
    first, second = functional.normalize(embeddings.float(), dim=1).chunk(2)
    twins = torch.arange(len(first), device=first.device)
    itself = 1e9 * torch.eye(len(first), device=first.device)
    loss = 0.0
    for views, others in ((first, second), (second, first)):
        to_others = views @ others.T / temperature
        to_views = views @ views.T / temperature - itself
        loss = loss + functional.cross_entropy(torch.cat([to_others, to_views], dim=1), twins)
    return loss


def build_optimizer(network, weight_decay):
    """SGD with momentum, weight decay for kernels only."""
    kernels = [weight for weight in network.parameters() if weight.dim() > 1]
    rest = [weight for weight in network.parameters() if weight.dim() == 1]
    groups = [
        {"params": kernels, "weight_decay": weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=LEARNING_RATE, momentum=0.9)


def peak_memory_mb(device):
    """Peak memory of this process; with a GPU, that of the GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    return measure.peak_memory_mb()


def main():
    """Measures the step and prints the figures."""
    settings = measure.settings()
    torch.manual_seed(0)
    torch.set_num_threads(measure.cores())  # all, like TensorFlow; the default may be half
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    network = Network(settings).to(device, memory_format=torch.channels_last_3d).train()
    optimizer = build_optimizer(network, settings["weight_decay"])
    before = peak_memory_mb(device)
    size = settings["size"]
    clips = torch.rand(2 * settings["batch_size"], 3, settings["frames"], size, size)
    clips = clips.to(device, memory_format=torch.channels_last_3d)
    bfloat16 = settings["precision"] == "bfloat16"

    def step(forward):
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
            embeddings = forward(clips)
        loss = info_nce(embeddings, settings["temperature"])
        optimizer.zero_grad(set_to_none=True)  # earlier, malloc returns their memory to the system
        loss.backward()
        optimizer.step()
        return loss.item()

    forms = []
    for compiled, forward in enumerate((network, torch.compile(network))):
        try:
            figures = measure.steps(lambda forward=forward: step(forward), settings["steps"])
        except torch._dynamo.exc.TorchDynamoException as error:
            print(f"torch.compile: {error}", file=sys.stderr)
            continue
        forms.append(figures | {"peak_memory_mb": peak_memory_mb(device), "compiled": compiled})
    measure.print_figures(
        {
            **min(forms, key=lambda figures: figures["step_seconds"]),
            "memory_before_mb": before,
            "parameters": sum(weight.numel() for weight in network.parameters()),
        }
    )


if __name__ == "__main__":
    main()
