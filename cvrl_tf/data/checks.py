"""Checks of shards before any long work: can clips be taken from them?"""

from collections.abc import Sequence

from cvrl_tf import progress
from cvrl_tf.data import records
from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.data.source import IndexedSource, Source
from cvrl_tf.errors import InputError

MULTIPLE = 32  # pixels, of the height and width of a clip: the networks halve them five times


def check_shards(
    source: Source, clip: ClipSpec, enlarge: bool = False, num_clips: int = 1
) -> IndexedSource:
    """Checks before any long work that clips can be taken from the shards.

    Checks all record lengths and the first record of each shard. Notes on stderr if some of these
    cannot be read; are shorter than a clip, so that their frames are taken cyclically; or are too
    short for `num_clips` different clips, so that some clips are the same frames.

    Args:
      source: what to read.
      clip: the clips to be taken.
      enlarge: whether smaller frames are enlarged, as in evaluations, or refused.
      num_clips: different clips to be taken from a video.

    Returns:
      The videos of all shards.

    Raises:
      InputError: a shard that is cut off, frames smaller than the clip unless `enlarge`, or none of
        the first videos can be read and is as long as a clip.
    """
    videos = source.indexed()
    lengths, smaller, problems = [], [], []
    for path in source.paths:
        try:
            summary = _first_summary(videos, path)
        except InputError as error:
            problems.append(error)
            continue
        if min(summary.height, summary.width) < clip.size:
            smaller.append(f"{summary.width}x{summary.height}")
        if smaller and not enlarge:
            raise InputError(
                f"{path} has frames of {summary.width}x{summary.height} pixels, smaller than"
                f" crop_size={clip.size}: lower crop_size, or convert again with a larger"
                " short_side if the videos allow it."
            )
        lengths.append(summary.num_frames)
    if not lengths:
        raise problems[0]
    if problems:
        progress.note(
            f"note: the first records of {len(problems)} of {len(source.paths)} shards cannot be"
            f" read. {problems[0]}"
        )
    if smaller:
        progress.note(
            f"note: the first videos of {len(smaller)} of {len(lengths)} shards have frames smaller"
            f" than {clip.size} pixels ({smaller[0]}): they are enlarged."
        )
    if max(lengths) < clip.span:
        raise InputError(
            f"The first videos of all {len(lengths)} shards are shorter than a clip: the longest"
            f" has {max(lengths)} frames, a clip of num_frames={clip.frames} at"
            f" stride={clip.stride} spans {clip.span}; lower num_frames or stride."
        )
    _note_short(lengths, clip, num_clips)
    return videos


def _first_summary(videos: IndexedSource, path: str) -> records.RecordSummary:
    """The summary of a shard's first record, from its index where that has one."""
    table = videos.index.tables.get(path) if videos.source.has_own_layout else None
    summary = table.summary(0) if table else None
    return summary or records.first_record(path, videos.source.summarize)


def _note_short(lengths: Sequence[int], clip: ClipSpec, num_clips: int) -> None:
    """Notes of `check_shards` on the lengths of the first videos of shards, in frames."""
    short = sum(length < clip.span for length in lengths)
    if short:
        progress.note(
            f"note: the first videos of {short} of {len(lengths)} shards are shorter than a clip"
            f" ({min(lengths)} of {clip.span} frames): their frames are taken cyclically."
        )
    starts = [length - clip.span + 1 for length in lengths if length >= clip.span]
    few = [number for number in starts if number < num_clips]
    if few:
        progress.note(
            f"note: the first videos of {len(few)} of {len(lengths)} shards have room for fewer"
            f" than {num_clips} different clips ({min(few)}): some of their clips are the same"
            " frames."
        )


def note_crops(*sizes: int) -> None:
    """Notes on stderr sizes of clips that the backbones do not divide evenly.

    Args:
      *sizes: pixels, the height and width of clips.
    """
    for size in sorted(set(sizes)):
        if size % MULTIPLE:
            lower = max(size // MULTIPLE, 1) * MULTIPLE
            progress.note(
                f"note: a crop of {size} pixels is not a multiple of {MULTIPLE}: the windows of"
                " the strided convolutions shift at its edges, and a test at another size than in"
                f" training is then less accurate; {lower} and {lower + MULTIPLE} are multiples."
            )


def note_repeated(videos: IndexedSource) -> None:
    """Says on stderr if records have the same content, as where a shard is present twice.

    A contrastive batch may then hold a video as its own negative.
    """
    repeated = videos.index.repeated()
    if len(repeated):
        progress.note(
            f"note: {len(repeated)} of {len(videos)} records of {videos.name} have the content of"
            f" another one, the first is {videos.index.origin(repeated[0])}: a batch may hold a"
            " video as its own negative; remove the copies."
        )
