"""Odd files through the conversion, each with what it must give.

Videos go through the real command in one call; directories, lists and names through the catalogs.
"""

import csv
import dataclasses
import itertools
import os
import subprocess
import sys
from collections.abc import Callable

from cvrl_tf.conversion import catalogs
from cvrl_tf.conversion.catalogs import Catalog
from cvrl_tf.data import records, tfrecords
from cvrl_tf.errors import InputError
from cvrl_tf.text import printable
from tools.pressure import odd_videos
from tools.pressure.odd_videos import draw, noise, write

SHOWN = 70  # characters of an outcome in the table
_GAP = [40 * index + (3_600_000 if index > 11 else 0) for index in range(25)]
_CENC = {
    "encryption_scheme": "cenc-aes-ctr",
    "encryption_key": "00112233445566778899aabbccddeeff",
    "encryption_kid": "0123456789abcdef0123456789abcdef",
}
_KINETICS = "label,youtube_id,time_start,time_end,split\n"


@dataclasses.dataclass(frozen=True)
class OddVideo:
    """A file that the command is given.

    Attributes:
      what: is odd about it.
      name: of the file.
      make: makes it at a path.
      gives: `N frames of WxH, R fps`, with `, damaged` if that must be listed; or the reason of its
        failure.
    """

    what: str
    name: str
    make: Callable[[str], object]
    gives: str


@dataclasses.dataclass(frozen=True)
class OddNames:
    """Directories, names and lists.

    Attributes:
      what: is odd about them.
      read: makes them in an empty directory and reads them.
      gives: how the outcome begins: `N videos of class, class; notes`, or `refused: sentence`.
    """

    what: str
    read: Callable[[str], Catalog]
    gives: str


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What something odd must give, and what it gave."""

    what: str
    gives: str
    gave: str
    right: bool


def _edited(edit: Callable[[bytes], bytes], codec: str = "libx264") -> Callable[[str], str]:
    def make(path: str) -> str:
        whole = write(f"{path}.whole{os.path.splitext(path)[1]}", noise(20), codec)
        return odd_videos.edit_packets(whole, path, edit)

    return make


def _repeats(path: str) -> str:
    numbers = itertools.count()
    return _edited(lambda data: b"" if next(numbers) % 4 == 3 else data, "mpeg4")(path)


def _write_text(text: str) -> Callable[[str], None]:
    def make(path: str) -> None:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    return make


VIDEOS = (
    OddVideo(
        "sound appears after 8 s, unannounced",
        "late_sound.flv",
        lambda path: odd_videos.write_with_sound(path, draw(90, 48, 64), 0, 8, streams=1),
        "90 frames of 64x48, 10 fps",
    ),
    OddVideo(
        "video appears after 20 s, unannounced",
        "late_video.flv",
        lambda path: odd_videos.write_with_sound(path, draw(12, 48, 64), 20, 0, streams=4),
        "12 frames of 64x48, 10 fps",
    ),
    OddVideo(
        "video begins 5 s after the sound",
        "begins_late.mkv",
        lambda path: odd_videos.write_with_sound(path, draw(30, 48, 64), 5, 0),
        "30 frames of 64x48, 10 fps",
    ),
    OddVideo(
        "a thumbnail is the first stream",
        "thumbnail.mkv",
        lambda path: odd_videos.write_thumbnail_first(path, draw(20, 48, 64)),
        "20 frames of 64x48, 10 fps",
    ),
    OddVideo(
        "the first stream cannot be decoded",
        "unknown_first.mkv",
        lambda path: odd_videos.write_thumbnail_first(path, draw(20, 48, 64), b"V_NONAM"),
        "20 frames of 64x48, 10 fps",
    ),
    OddVideo(
        "encrypted (CENC)",
        "encrypted.mp4",
        lambda path: write(path, noise(30), muxing=_CENC),
        "no frame that can be decoded",
    ),
    OddVideo(
        "every frame damaged",
        "garbled.mp4",
        _edited(odd_videos.garble),
        "no frame that can be decoded",
    ),
    OddVideo("packets without data", "repeats.nut", _repeats, "15 frames of 64x48, 10 fps"),
    OddVideo(
        "60000 fps announced, 25 shown",
        "rate.mkv",
        lambda path: write(path, draw(25, 48, 64), rate=60000, milliseconds=range(0, 1000, 40)),
        "25 frames of 64x48, 25 fps",
    ),
    OddVideo(
        "a gap of an hour",
        "gap.mp4",
        lambda path: write(path, draw(25, 48, 64), rate=25, milliseconds=_GAP),
        "25 frames of 64x48, 0.006943 fps",
    ),
    OddVideo(
        "16 columns and rows cut off by the file",
        "cut_off.mkv",
        lambda path: odd_videos.cut_off(write(f"{path}.mp4", draw(4, 240, 336)), path, 16, 16),
        "4 frames of 320x224, 10 fps",
    ),
    OddVideo(
        "the second half is missing",
        "half.mkv",
        lambda path: odd_videos.truncate(write(path, noise(60)), 0.5),
        "29 frames of 64x48, 10 fps, damaged",
    ),
    OddVideo("text", "text.mp4", _write_text("hello\n" * 999), "not a video that can be opened"),
    OddVideo("no bytes", "empty.mp4", _write_text(""), "empty file"),
    OddVideo("no file", "missing.mp4", lambda path: None, "missing"),
    OddVideo(
        "a link to nowhere",
        "nowhere.mp4",
        lambda path: os.symlink("gone.mp4", path),
        "link to nowhere",
    ),
    OddVideo(
        "a link to itself", "loop.mp4", lambda path: os.symlink("loop.mp4", path), "cannot be read"
    ),
    OddVideo("a directory", "directory.mp4", os.mkdir, "a directory"),
    OddVideo("a pipe", "pipe.mp4", os.mkfifo, "not a file"),
    OddVideo(
        "brackets in the name",
        "My clip [dQw4w9WgXcQ].mp4",
        lambda path: write(path, draw(5, 48, 64)),
        "5 frames of 64x48, 10 fps",
    ),
    OddVideo(
        "an escape sequence in the name",
        "red \x1b[31m.mp4",
        lambda path: write(path, draw(5, 48, 64)),
        "5 frames of 64x48, 10 fps",
    ),
)


def _folder(*names: str, **options: object) -> Callable[[str], Catalog]:
    """Empty videos of these names, read as class folders."""

    def read(directory: str) -> Catalog:
        for name in names:
            _write_text("")(os.path.join(directory, name))
        return catalogs.folder(directory, **options)

    return read


def _linked_back(directory: str) -> Catalog:
    _write_text("")(os.path.join(directory, "dive", "x.mp4"))
    os.symlink(directory, os.path.join(directory, "dive", "back"))
    os.symlink("loop", os.path.join(directory, "loop"))
    return catalogs.folder(directory)


def _output_inside(directory: str) -> Catalog:
    _write_text("")(os.path.join(directory, "dive", "x.mp4"))
    output = os.path.join(directory, "records")
    _write_text("")(os.path.join(output, "train-00000-of-00001"))
    return catalogs.folder(directory, output_dir=output)


def _files(pattern: str, *names: str) -> Callable[[str], Catalog]:
    def read(directory: str) -> Catalog:
        for name in names:
            _write_text("")(os.path.join(directory, name))
        return catalogs.files(os.path.join(directory, pattern))

    return read


def _utf16_list(directory: str) -> Catalog:
    path = os.path.join(directory, "list.txt")
    with open(path, "w", encoding="utf-16") as file:
        file.write("x.mp4\n")
    return catalogs.files(path)


def _ucf101(train: str, *names: str) -> Callable[[str], Catalog]:
    """Two classes whose lists name `train` and Jump/b.avi."""

    def read(directory: str) -> Catalog:
        for name in names:
            _write_text("")(os.path.join(directory, "videos", name))
        lists = {"classInd": "1 Dive\n2 Jump\n", "trainlist01": train, "testlist01": "Jump/b.avi\n"}
        for name, text in lists.items():
            _write_text(text)(os.path.join(directory, "lists", f"{name}.txt"))
        return catalogs.ucf101(f"{directory}/videos", f"{directory}/lists", 1)

    return read


def _kinetics(row: str, *names: str) -> Callable[[str], Catalog]:
    def read(directory: str) -> Catalog:
        for name in names:
            _write_text("")(os.path.join(directory, "k400", name))
        _write_text(f"{_KINETICS}{row}\n")(f"{directory}/train.csv")
        return catalogs.kinetics(f"{directory}/k400", {"train": f"{directory}/train.csv"})

    return read


NAMES = (
    OddNames(
        "a line break in a class name",
        _folder("ban\nana/x.mp4"),
        r"refused: The class name 'ban\nana' holds a line break",
    ),
    OddNames(
        "a line separator in a class name",
        _folder("ban\u2028ana/x.mp4"),
        r"refused: The class name 'ban\u2028ana' holds a line break",
    ),
    OddNames(
        "a line break in a quoted label",
        _kinetics('"ban\nana",ID_45678901,1,9,train', "ID_45678901_000001_000009.mp4"),
        r"refused: The class name 'ban\nana' holds a line break",
    ),
    OddNames(
        "one class in two spellings",
        _folder("eating cake/x.mp4", "Eating_cake/y.mp4"),
        "refused: Found the classes 'Eating_cake' and 'eating cake', which differ only in case",
    ),
    OddNames(
        "two classes that a label map has in two spellings",
        _folder("a/x.mp4", "A/y.mp4", label_map=["a", "A"]),
        "2 videos of a, A",
    ),
    OddNames("links that lead back", _linked_back, "1 videos of dive"),
    OddNames("records inside the directory of the videos", _output_inside, "1 videos of dive"),
    OddNames("brackets in a file", _files("clip [x].mp4", "clip [x].mp4"), "1 videos of no class"),
    OddNames("brackets in a directory", _files("v [1]/*.mp4", "v [1]/x.mp4"), "1 videos of no"),
    OddNames("a list in UTF-16", _utf16_list, "refused: {directory}/list.txt is not UTF-8 text"),
    OddNames(
        "UCF-101 as .mp4 and in other letter case",
        _ucf101("Dive/a.avi 1\n", "dive/A.mp4", "Jump/b.mp4"),
        "2 videos of Dive, Jump; 2 videos have another extension or other letter case",
    ),
    OddNames(
        "a list of UCF-101 that leads out of the directory",
        _ucf101("Dive/../../lists/x.avi 1\n", "Jump/b.avi"),
        "refused: {directory}/lists/trainlist01.txt, line 1: found 'Dive/../../lists/x.avi 1'",
    ),
    OddNames(
        "an id of Kinetics that leads out of the directory",
        _kinetics("dive,../abc/defg,1,9,train", "ID_45678901_000001_000009.mp4"),
        "refused: {directory}/train.csv, line 2: found 'dive,../abc/defg,1,9,train'",
    ),
    OddNames(
        "Kinetics with times of one digit",
        _kinetics("dive,ID_45678901,1,9,train", "ID_45678901_1_9.mp4"),
        "1 videos of dive",
    ),
)


def outcomes(directory: str) -> list[Outcome]:
    """Makes everything odd below an empty directory, and what comes of it.

    Raises:
      InputError: the command failed.
    """
    return [*_video_outcomes(os.path.join(directory, "videos")), *_name_outcomes(directory)]


def _video_outcomes(directory: str) -> list[Outcome]:
    os.makedirs(directory)
    for video in VIDEOS:
        video.make(os.path.join(directory, video.name))
    listed = os.path.join(directory, "list.txt")
    with open(listed, "w", encoding="utf-8") as file:
        file.writelines(f"{video.name}\n" for video in VIDEOS)
    output = os.path.join(directory, "records")
    flags = ["--dataset=files", f"--files={listed}", f"--output_dir={output}"]
    done = subprocess.run(
        [sys.executable, "-m", "cvrl_tf.make_tfrecords", *flags, "--max_failures=1.0"],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise InputError(f"The conversion ended with status {done.returncode}: {done.stderr}")
    gave = _converted(output)
    if "\x1b" in done.stdout + done.stderr:
        gave["red \x1b[31m.mp4"] += ", and its name reached the terminal"
    return [
        Outcome(video.what, video.gives, found, found == video.gives)
        for video in VIDEOS
        for found in [gave.get(video.name, "nothing")]
    ]


def _converted(output: str) -> dict[str, str]:
    """What the conversion made of each file, by name."""
    with open(os.path.join(output, "failures.csv"), newline="", encoding="utf-8") as file:
        rows = {os.path.basename(row["path"]): row for row in csv.DictReader(file)}
    gave = {name: row["reason"].partition(": ")[0] for name, row in rows.items()}
    for name in os.listdir(output):
        if "-of-" not in name:
            continue
        for stored in tfrecords.read_shard(os.path.join(output, name)):
            video, _ = records.deserialize(stored.serialized)
            file_name = os.path.basename(video.path)
            size = f"{video.width}x{video.height}, {video.frame_rate:.4g} fps"
            gave[file_name] = f"{len(video.frames)} frames of {size}"
            gave[file_name] += ", damaged" * (file_name in rows)
    return gave


def _name_outcomes(directory: str) -> list[Outcome]:
    found = []
    for number, names in enumerate(NAMES):
        place = os.path.join(directory, f"names{number}")
        os.makedirs(place)
        try:
            catalog = names.read(place)
            videos = sum(map(len, catalog.splits.values()))
            classes = ", ".join(catalog.classes) or "no class"
            gave = "; ".join([f"{videos} videos of {classes}", *catalog.notes])
        except InputError as error:
            gave = f"refused: {error}"
        except Exception as error:  # a defect, which the table is to show
            gave = f"{type(error).__name__}: {error}"
        gave = gave.replace(place, "{directory}")
        right = gave.startswith(names.gives)
        found.append(Outcome(names.what, names.gives, gave, right))
    return found


def table(found: list[Outcome]) -> list[list[str]]:
    """A header and one row for each outcome."""
    rows = [["odd", "must give", "gave"]]
    for outcome in found:
        texts = [printable(text) for text in (outcome.what, outcome.gives)]
        gave = "the same" if outcome.right else printable(outcome.gave)
        rows.append(
            [text if len(text) <= SHOWN else f"{text[:SHOWN]}..." for text in (*texts, gave)]
        )
    return rows
