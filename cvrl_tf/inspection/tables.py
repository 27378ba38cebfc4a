"""The contents of shards as rows of text."""

import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence

from cvrl_tf.inspection.dataset import Inspection, Split


def summary_table(inspection: Inspection) -> list[list[str]]:
    """Counts and lengths of each split: a header and one row for each."""
    rows = [
        ["split", "shards", "videos", "classes", "frames", "MB"]
        + ["frames a video", "seconds a video", "fps"]
    ]
    for split in inspection.splits:
        videos = split.videos
        rows.append(
            [
                split_title(split, inspection),
                f"{len(split.paths)}",
                f"{len(videos)}",
                f"{len({video.label for video in videos} - {None})}",
                f"{sum(video.num_frames for video in videos)}",
                f"{split.num_bytes / 1e6:.1f}",
                _range([video.num_frames for video in videos], "{:.0f}"),
                _range([video.seconds for video in videos], "{:.1f}"),
                _range([video.frame_rate for video in videos], "{:.4g}"),
            ]
        )
    return rows


def split_title(split: Split, inspection: Inspection) -> str:
    """The name of a split, with its directory where several are inspected."""
    several = len({other.directory for other in inspection.splits}) > 1
    return os.path.join(split.directory, split.name) if several else split.name


def _range(values: Sequence[float], form: str) -> str:
    """Smallest, median and largest."""
    if not values:
        return "-"
    figures = [
        form.format(value) for value in (min(values), statistics.median(values), max(values))
    ]
    return figures[0] if len(set(figures)) == 1 else " / ".join(figures)


def size_table(inspection: Inspection, rows_per_split: int) -> list[list[str]]:
    """The frame sizes of each split, the most frequent first: a header and the rows."""
    rows = [["split", "frame size", "videos", "share"]]
    for split in inspection.splits:
        sizes = Counter((video.width, video.height) for video in split.videos).most_common()
        shown = [(f"{width}x{height}", count) for (width, height), count in sizes[:rows_per_split]]
        others = sizes[rows_per_split:]
        if others:
            shown.append((f"{len(others)} others", sum(count for _, count in others)))
        for name, count in shown:
            share = f"{100 * count / len(split.videos):.1f} %"
            rows.append([split_title(split, inspection), name, f"{count}", share])
    return rows


def videos_per_class(inspection: Inspection) -> list[tuple[str, list[int]]]:
    """Each class with its number of videos in each split, the largest class first."""
    counts: dict[int, list[int]] = defaultdict(lambda: [0] * len(inspection.splits))
    for label in inspection.classes:
        counts[label]  # a class may be without videos
    for index, split in enumerate(inspection.splits):
        for video in split.videos:
            if video.label is not None:
                counts[video.label][index] += 1
    names = {label: inspection.classes.get(label) or f"label {label}" for label in counts}
    order = sorted(counts, key=lambda label: (-sum(counts[label]), names[label]))
    return [(names[label], counts[label]) for label in order]
