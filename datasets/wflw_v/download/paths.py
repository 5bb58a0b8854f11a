"""Files of the download in the data set's folder, beside the data set itself."""

from pathlib import Path

#: A table of all videos (:class:`datasets.wflw_v.download.report.Report`).
REPORT = "download_report.csv"
#: Unfinished files, in the data set's folder, so that finishing one is renaming it.
WORK = ".download"


#: What the name of a clip that failed its check ends in, before ``.mp4``.
REJECTED = ".rejected"


def archive_path(root: Path) -> Path:
    """The archive of the whole data set, until its clips are checked."""
    return root / WORK / "WFLW_V.archive"


def videos_path(root: Path) -> Path:
    """The parent of all :func:`work_folder`."""
    return root / WORK / "videos"


def work_folder(root: Path, id: str) -> Path:
    """The folder in which a video is downloaded."""
    return videos_path(root) / id


def rejected_path(clip: Path) -> Path:
    """The file to which a clip that fails its check is renamed, until there is one that passes."""
    return clip.with_suffix(f"{REJECTED}.mp4")
