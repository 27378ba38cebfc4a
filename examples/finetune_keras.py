"""Fine-tunes an export of cvrl_tf on videos in class folders; needs only tensorflow, keras and av.

python finetune_keras.py EXPORT_DIR TRAIN_DIR TEST_DIR

TRAIN_DIR and TEST_DIR have one folder of videos for each class. All frames are held in memory.
"""

import argparse
import json
import pathlib

import av
import keras
import numpy as np

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
for name in ("export_dir", "train_dir", "test_dir"):
    parser.add_argument(name, type=pathlib.Path)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--scratch", action="store_true", help="random weights, to compare with")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
keras.utils.set_random_seed(args.seed)
about = json.loads((args.export_dir / "export.json").read_text())["input"]
length, stride, size = about["num_frames"], about["stride"], about["crop_size"]
classes = sorted(path.name for path in args.train_dir.iterdir() if path.is_dir())


def read(path):
    """Every stride-th frame, (L, H, W, 3) uint8, with the shorter side 9/8 of a clip's."""
    frames = []
    with av.open(str(path)) as container:
        for frame in list(container.decode(video=0))[::stride]:
            scale = size * 9 / 8 / min(frame.width, frame.height)
            width, height = round(frame.width * scale), round(frame.height * scale)
            frames.append(frame.reformat(width, height, "rgb24").to_ndarray())
    return np.stack(frames)


def cut(video, start, top, left):
    """A clip, float32 in [0, 1]; the frames of a short video are repeated cyclically."""
    frames = video[(start + np.arange(length)) % len(video)]
    return frames[:, top : top + size, left : left + size].astype("float32") / 255


def batches(videos, labels):
    """Endless batches of 16 random clips, each with a random crop, half of them flipped."""
    rng = np.random.default_rng(args.seed)
    while True:
        clips, chosen = [], rng.choice(len(videos), 16, replace=False)
        for video in (videos[index] for index in chosen):
            last = np.maximum(np.array(video.shape[:3]) - (length, size, size), 0)
            clips.append(cut(video, *rng.integers(0, last + 1))[:, :, :: rng.choice([-1, 1])])
        yield np.stack(clips), labels[chosen]


paths = sorted(args.train_dir.glob("*/*"))
steps, labels = len(paths) // 16, np.array([classes.index(path.parent.name) for path in paths])
backbone = keras.models.load_model(args.export_dir / "backbone.keras")
if args.scratch:
    backbone = keras.models.clone_model(backbone)
outputs = keras.layers.Dense(len(classes), activation="softmax")(backbone.output)
model = keras.Model(backbone.input, outputs)
rate = keras.optimizers.schedules.CosineDecay(0.02, args.epochs * steps)
optimizer = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True)
model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
data = batches([read(path) for path in paths], labels)
model.fit(data, epochs=args.epochs, steps_per_epoch=steps, shuffle=False, verbose=2)
model.save("fine_tuned.keras")
right = []
for path in sorted(args.test_dir.glob("*/*")):
    video = read(path)  # the mean probabilities of three evenly spaced clips of the centre
    top, left = (video.shape[1] - size) // 2, (video.shape[2] - size) // 2
    starts = np.linspace(0, max(len(video) - length, 0), 3, dtype=int)
    clips = np.stack([cut(video, start, top, left) for start in starts])
    best = np.argmax(np.mean(model.predict_on_batch(clips), axis=0))
    right.append(classes[best] == path.parent.name)
print(f"top-1 {np.mean(right):.3f} of {len(right)} test videos")
