"""Exported steps of checkpoints: the bundled one's, and those that are made when they are first asked for."""

from contextlib import suppress
from pathlib import Path

from ldeq import pretrained
from ldeq.command_line import complain
from ldeq.errors import InputError
from ldeq.files import sha256_of
from ldeq.onnx_session import SUFFIX
from ldeq.runtime.step_file import read_description
from ldeq.solve_settings import SolveSettings

#: Part of the names of files in the cache folder; a new one for each change of what is in the graph.
_FORMAT = 1


def kept_step(checkpoint: Path, settings: SolveSettings) -> Path | None:
    """The exported step of a checkpoint that solves as the settings say, where there is one already."""
    if checkpoint.resolve() == pretrained.path_of(pretrained.BUNDLED) and _is_kept(pretrained.bundled_step(), settings):
        return pretrained.bundled_step()
    path, digest = _cached(checkpoint, settings)
    return path if _is_kept(path, settings, digest) else None


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

    path, _ = _cached(checkpoint, settings)
    line = f"{checkpoint}: its step is exported to {path}, which takes a moment and is done once"
    export(
        checkpoint,
        path,
        iterations=settings.max_iters if settings.rwr else 1,
        last_step=not (settings.rwr and settings.take_one_less_inference_step),
        trust_pickle=trust_pickle,
        on_begin=lambda: complain(line),
    )
    return path


def _is_kept(path: Path, settings: SolveSettings, weights_sha256: str | None = None) -> bool:
    """Whether this is a step that solves as the settings say, of these weights if any are named."""
    # One in the cache that is damaged, cannot be read, or is of another version, is as good as none.
    with suppress(InputError, OSError):
        if path.is_file():
            description = read_description(path)
            return description.lacks(settings) is None and weights_sha256 in (None, description.weights_sha256)
    return False


def _cached(checkpoint: Path, settings: SolveSettings) -> tuple[Path, str]:
    """Where the step is in the cache, and the SHA-256 of the checkpoint, which has to be read for it."""
    if not checkpoint.is_file():
        raise InputError(f"{checkpoint}: no such file, expected a checkpoint or an exported step ({SUFFIX})")
    steps = f"{settings.max_iters}{'-short' if settings.take_one_less_inference_step else ''}" if settings.rwr else "1"
    digest = sha256_of(checkpoint)
    return pretrained.cache_folder() / "steps" / f"{digest[:32]}-{steps}-{_FORMAT}{SUFFIX}", digest
