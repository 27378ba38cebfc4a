"""The contents and problems of shards as one HTML file."""

import base64
import math
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import simplejpeg

from cvrl_tf import pages
from cvrl_tf.data import records, sampling, tfrecords
from cvrl_tf.inspection import tables
from cvrl_tf.inspection.dataset import Inspection
from cvrl_tf.inspection.shards import InspectedVideo

VIDEOS = 24
FRAMES_PER_VIDEO = 8
THUMBNAIL_HEIGHT = 96
THUMBNAIL_QUALITY = 75
THUMBNAIL_BYTES = 3_000_000  # of all together
ROWS = 500  # of problems and of failures
BINS = 40


def render(inspection: Inspection, pattern: str, seed: int = 0) -> str:
    """Renders an inspection as one self-contained page of a few MB at most.

    Args:
      inspection: what was found.
      pattern: the shards, for the heading.
      seed: of the choice of videos whose frames are shown.
    """
    classes = tables.videos_per_class(inspection)
    videos = [video for split in inspection.splits for video in split.videos]
    return pages.render(
        "cvrl_tf.inspection",
        "page.html",
        pattern=pattern,
        summary=tables.summary_table(inspection),
        sizes=tables.size_table(inspection, rows_per_split=20),
        splits=[tables.split_title(split, inspection) for split in inspection.splits],
        classes=classes,
        largest_class=max((sum(counts) for _, counts in classes), default=0),
        unlabelled=sum(video.label is None for video in videos),
        histograms=[
            _histogram("Frames a video", [video.num_frames for video in videos], whole=True),
            _histogram("Seconds a video", [video.seconds for video in videos], whole=False),
        ],
        contact_sheet=_contact_sheet(inspection, seed),
        frames_per_video=FRAMES_PER_VIDEO,
        seed=seed,
        problems=inspection.problems[:ROWS],
        num_problems=len(inspection.problems),
        tables_of_failures=[
            _failures("Videos that failed to convert", "failures", inspection.failures),
            _failures("Damaged videos that were kept", "damaged", inspection.damaged),
        ],
    )


def _failures(title: str, anchor: str, rows: Sequence[dict[str, str]]) -> dict[str, Any]:
    reasons = Counter(row.get("reason", "").split(": ")[0] for row in rows)
    return {
        "title": title,
        "anchor": anchor,
        "number": len(rows),
        "columns": list(dict.fromkeys(name for row in rows for name in row)),
        "rows": rows[:ROWS],
        "reasons": reasons.most_common(10),
    }


def _histogram(title: str, values: Sequence[float], whole: bool) -> dict[str, Any]:
    """Bins of equal width from 0; the last one takes the half percent of longest videos too."""
    ordered = sorted(values)
    if not ordered:
        return {"title": title, "bins": []}
    end = ordered[min(len(ordered) - 1, math.ceil(0.995 * len(ordered)))]
    width = _round_up(max(end, 1e-9) / BINS, whole)
    last = math.floor(end / width)
    counts = Counter(min(math.floor(value / width), last) for value in ordered)
    bins = []
    for index in range(last + 1):
        low, high = index * width, (index + 1) * width
        if index == last and ordered[-1] >= high:
            name = f"{low:g} and more (longest: {ordered[-1]:g})"
        elif whole:
            name = f"{low:g}" if width == 1 else f"{low:g} to {high - 1:g}"
        else:
            name = f"{low:g} to {high:g}"
        bins.append({"name": name, "count": counts[index]})
    end = (last + 1) * width
    tick = _round_up(end / 6, whole)
    return {
        "title": title,
        "bins": bins,
        "top": max(counts.values()),
        "end": end,
        "ticks": [index * tick for index in range(math.floor(end / tick) + 1)],
    }


def _round_up(value: float, whole: bool) -> float:
    """The next of 1, 2, 5, 10, 20, ... (or their tenths and so on) that is not smaller."""
    power = 10.0 ** math.floor(math.log10(value))
    rounded = next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))
    return max(1.0, rounded) if whole else float(f"{rounded:.6g}")


def _contact_sheet(inspection: Inspection, seed: int) -> list[dict[str, Any]]:
    """Frames of random videos whose frames decode, as JPEG data for the page."""
    candidates = [
        (tables.split_title(split, inspection), video)
        for split in inspection.splits
        for video in split.videos
        if video.decodes
    ]
    chosen = random.Random(seed).sample(range(len(candidates)), min(VIDEOS, len(candidates)))
    rows: list[dict[str, Any]] = []
    room = THUMBNAIL_BYTES
    for index in sorted(chosen):
        split, video = candidates[index]
        thumbnails = _thumbnails(video)
        room -= sum(len(data) for _, data in thumbnails)
        if room < 0:
            break
        rows.append({"split": split, "video": video, "thumbnails": thumbnails})
    return rows


def _thumbnails(video: InspectedVideo) -> list[tuple[int, str]]:
    """Indices of frames and their small JPEGs in base64."""
    stored = next(tfrecords.read_shard(video.path, video.offset))
    frames = records.deserialize(stored.serialized or b"")[0].frames
    thumbnails = []
    for index in sampling.spaced(len(frames), FRAMES_PER_VIDEO):
        small = simplejpeg.decode_jpeg(frames[index], "RGB", min_height=THUMBNAIL_HEIGHT)
        data = simplejpeg.encode_jpeg(small, THUMBNAIL_QUALITY, "RGB", "420")
        thumbnails.append((index, base64.b64encode(data).decode()))
    return thumbnails
