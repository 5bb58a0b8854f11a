"""Figures by the people in held-out synthetic faces: ``python -m benchmarks.people``.

Photographs do not say how dark somebody's skin is, how old they are and of which sex; the generator does. What differs
here between groups of people is the network's own, or how the generator draws them.
"""

from collections.abc import Sequence

import numpy as np

from benchmarks.common import add_batch_flags
from datasets.synthetic import SyntheticFaces
from datasets.synthetic.people.person import Person
from ldeq.command_line import ArgumentParser, add_network_flags, at_least, run
from ldeq.device import load_model, resolve_device
from ldeq.landmarks98 import CROP_SIZE
from ldeq.metrics import failure_rate_and_auc, image_nme
from ldeq.terminal import console, table
from utils.engine.evaluation import Sample, predict_images
from utils.engine.settings import HELD_OUT

#: Of each property of people the groups, and where they end.
GROUPS = {
    "skin": (("dark", 90.0), ("medium", 165.0), ("light", np.inf)),
    "age": (("child", 0.45), ("adult", 0.8), ("old", np.inf)),
    "sex": (("female", 0.5), ("male", np.inf)),
}


def make_parser() -> ArgumentParser:
    parser = ArgumentParser(__doc__)
    parser.add_argument(
        "--images", type=at_least(2, 100_000), default=500, metavar="N", help="faces, of as many people"
    )
    add_batch_flags(parser)
    add_network_flags(parser)
    return parser


def groups_of(person: Person) -> dict[str, str]:
    """The groups of :data:`GROUPS` that a person is in, by the mean of the skin's sRGB and by Anny's age and gender."""
    values = {"skin": float(person.skin.mean()), "age": person.phenotype.age, "sex": person.phenotype.gender}
    return {name: next(group for group, end in GROUPS[name] if value < end) for name, value in values.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws, measures and prints."""
    flags = make_parser().parse(arguments)
    model, weights = load_model(
        flags.landmark_model_weights, resolve_device(flags.device), flags.precision, flags.trust_pickle
    )
    faces = SyntheticFaces(HELD_OUT, CROP_SIZE, crop_jitter=0.0)
    people: list[dict[str, str]] = []
    samples: list[Sample] = []
    for index in range(flags.images):
        # Not the person, whose mesh and texture take megabytes.
        people.append(groups_of(faces.person(index)))
        face = faces.draw(index)
        samples.append((face.image, face.landmarks))
    found = predict_images(model, samples, batch_size=flags.batch_size, workers=flags.workers)
    nme = image_nme(found.predicted, found.truth)
    cells = []
    for name, groups in GROUPS.items():
        for group, _ in groups:
            chosen = nme[[person[name] == group for person in people]]
            if len(chosen):
                figures = 100 * chosen.mean(), 100 * np.median(chosen), 100 * failure_rate_and_auc(chosen)[0]
                cells.append([name, group, str(len(chosen)), *(f"{figure:.2f}" for figure in figures)])
    out = console()
    out.print(f"weights  {weights}", soft_wrap=True)
    out.print(table("Held-out synthetic faces", ["", "group", "faces", "NME %", "median", "FR %"], cells))


if __name__ == "__main__":
    run(main)
