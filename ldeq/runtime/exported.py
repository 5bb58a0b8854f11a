"""Exported steps of checkpoints: the bundled one's, and those that are made when they are first asked for."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ldeq import pretrained
from ldeq.errors import InputError
from ldeq.files import sha256_of
from ldeq.onnx_session import SUFFIX
from ldeq.runtime.step_file import read_description
from ldeq.solve_settings import SolveSettings

#: Part of the names of files in the cache folder; a new one for each change of what is in the graph.
_FORMAT = 1


def kept_step(checkpoint: Path, settings: SolveSettings) -> Path | None:
    """The exported step of a checkpoint that solves as the settings say, where there is one already."""
    for path in _places(checkpoint, settings):
        # One in the cache that is damaged, or of another version, is as good as none.
        with suppress(InputError):
            if path.is_file() and read_description(path).lacks(settings) is None:
                return path
    return None


def exported_step(checkpoint: Path, settings: SolveSettings, trust_pickle: bool = False) -> Path:
    """The same, which is exported into the cache folder where it is not there.

    Raises:
        InputError: where it cannot be exported, or the cache folder not be written to.
    """
    kept = kept_step(checkpoint, settings)
    if kept is not None:
        return kept
    if settings.stop_criterion == "batch":
        raise InputError("--stop_criterion batch needs the runtime torch: an exported step solves faces by themselves")
    from ldeq.runtime.export import export

    path = _cached(checkpoint, settings)
    print(f"{checkpoint}: its step is exported to {path}, which takes a moment and is done once", file=sys.stderr)
    export(
        checkpoint,
        path,
        iterations=settings.max_iters if settings.rwr else 1,
        last_step=not (settings.rwr and settings.take_one_less_inference_step),
        trust_pickle=trust_pickle,
    )
    return path


def _places(checkpoint: Path, settings: SolveSettings) -> Iterator[Path]:
    """Where the step may be. The cache's names need the whole checkpoint to be read, so they come last."""
    if checkpoint.resolve() == pretrained.path_of(pretrained.BUNDLED):
        yield pretrained.bundled_step()
    yield _cached(checkpoint, settings)


def _cached(checkpoint: Path, settings: SolveSettings) -> Path:
    if not checkpoint.is_file():
        raise InputError(f"{checkpoint}: no such file, expected a checkpoint or an exported step ({SUFFIX})")
    steps = f"{settings.max_iters}{'-short' if settings.take_one_less_inference_step else ''}" if settings.rwr else "1"
    return pretrained.cache_folder() / "steps" / f"{sha256_of(checkpoint)[:32]}-{steps}-{_FORMAT}{SUFFIX}"
