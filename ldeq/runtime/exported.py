"""Exported steps of checkpoints: the bundled one's, and those that are made when they are first asked for."""

from contextlib import suppress
from pathlib import Path

from ldeq import pretrained
from ldeq.command_line import complain
from ldeq.errors import InputError
from ldeq.files import sha256_of
from ldeq.onnx_session import SUFFIX
from ldeq.runtime.step_file import StepFile, read_description
from ldeq.solve_settings import SolveSettings

#: Part of the names of files in the cache folder; a new one for each change of what is in the graph.
_FORMAT = 2


def kept_step(checkpoint: Path, settings: SolveSettings, precision: str = "fp32") -> StepFile | None:
    """The exported step of a checkpoint that solves as the settings say, where there is one already.

    Args:
        precision: in which a runtime is to compute it.
    """
    return _look(checkpoint, settings, precision)[0]


def exported_step(
    checkpoint: Path, settings: SolveSettings, precision: str = "fp32", trust_pickle: bool = False
) -> StepFile:
    """The same, which is exported into the cache folder where it is not there.

    Raises:
        InputError: where it cannot be exported, or the cache folder not be written to.
    """
    kept, path = _look(checkpoint, settings, precision)
    if kept is not None:
        return kept
    if settings.stop_criterion == "batch":
        raise InputError("--stop_criterion batch needs the runtime torch: an exported step solves faces by themselves")
    from ldeq.runtime.export import export

    line = f"{checkpoint}: its step is exported to {path}, which takes a moment and is done once"
    description, _ = export(
        checkpoint,
        path,
        iterations=settings.max_iters if settings.rwr else 1,
        last_step=not (settings.rwr and settings.take_one_less_inference_step),
        winograd=precision == "fp32",
        trust_pickle=trust_pickle,
        on_begin=lambda: complain(line),
    )
    return StepFile(path, description)


def _look(checkpoint: Path, settings: SolveSettings, precision: str) -> tuple[StepFile | None, Path]:
    """The step where there is one already, and where it is, or is to be exported to."""
    if checkpoint.resolve() == pretrained.path_of(pretrained.BUNDLED):
        found = _kept(pretrained.bundled_step(), settings, precision)
        if found is not None:
            return found, found.path
    digest, places = _cached(checkpoint, settings, precision)
    for path in places:
        found = _kept(path, settings, precision, digest)
        if found is not None:
            return found, path
    return None, places[0]


def _kept(path: Path, settings: SolveSettings, precision: str, weights_sha256: str | None = None) -> StepFile | None:
    """A file if it is a step that solves as the settings say, of these weights if any are named."""
    # One in the cache that is damaged, cannot be read, or is of another version, is as good as none.
    with suppress(InputError, OSError):
        if path.is_file():
            description = read_description(path)
            lack = description.lacks(settings) or description.lacks_precision(precision)
            if lack is None and weights_sha256 in (None, description.weights_sha256):
                return StepFile(path, description)
    return None


def _cached(checkpoint: Path, settings: SolveSettings, precision: str) -> tuple[str, list[Path]]:
    """The SHA-256 of the checkpoint, which has to be read for it, and where the step may be in the cache: first where
    it is exported to."""
    if not checkpoint.is_file():
        raise InputError(f"{checkpoint}: no such file, expected a checkpoint or an exported step ({SUFFIX})")
    steps = f"{settings.max_iters}{'-short' if settings.take_one_less_inference_step else ''}" if settings.rwr else "1"
    digest = sha256_of(checkpoint)
    # Half precisions have a graph of plain convolutions, in float32 too: of networks without wide ones it is the same.
    graphs = [f"{_FORMAT}"] if precision == "fp32" else [f"{_FORMAT}-half", f"{_FORMAT}"]
    folder = pretrained.cache_folder() / "steps"
    return digest, [folder / f"{digest[:32]}-{steps}-{graph}{SUFFIX}" for graph in graphs]
