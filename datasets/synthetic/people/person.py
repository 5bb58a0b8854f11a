"""A person: the shape of a head, its skin, brows and eyes, and what it wears, before any pose and light."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.people.brows import Brow, BrowEdges
from datasets.synthetic.people.glasses import random_glasses
from datasets.synthetic.people.head import Head, Sphere
from datasets.synthetic.people.headwear import random_headwear
from datasets.synthetic.people.parts import Eye, Part, random_teeth, random_torso
from datasets.synthetic.people.skin import random_skin
from datasets.synthetic.people.texture import TEXTURE_SHAPE, add_beard, add_blemishes, add_face_paint, add_makeup
from datasets.synthetic.renderer.arrays import Floats
from datasets.synthetic.renderer.colour import palette_colour, random_colour, to_linear
from datasets.synthetic.renderer.compositing import composite_onto_texture
from datasets.synthetic.renderer.glasses import Glasses

_SKIN = (
    (252, 226, 210), (243, 207, 183), (232, 190, 160), (214, 166, 132), (187, 136, 100), (150, 101, 72),
    (112, 72, 50), (80, 50, 38), (54, 35, 29),
)  # fmt: skip
_HAIR = (
    (20, 17, 16), (30, 24, 20), (48, 33, 24), (74, 50, 34), (106, 74, 46), (146, 108, 66), (196, 160, 104),
    (226, 200, 150),
)  # fmt: skip
_GREY_HAIR = ((120, 118, 116), (170, 168, 165), (225, 223, 220))
_RED_HAIR = ((110, 46, 24), (150, 66, 32), (186, 96, 50))
#: How the heads differ on average from Anny's, so that the medians of near-frontal faces are those of WFLW's: a longer
#: chin, a higher mouth with a thinner upper lip, a shorter nose.
_USUAL_CHANGES = {
    "chin-height-incr": 0.15, "mouth-trans-up": 0.65, "mouth-upperlip-height-incr": -0.75, "mouth-angles-up": 0.25,
    "nose-scale-vert-incr": -0.25, "nose-point-up": -0.1,
}  # fmt: skip
_IRIS = ((38, 24, 16), (62, 40, 24), (96, 66, 36), (110, 100, 60), (84, 110, 90), (92, 120, 150), (130, 150, 170))


@dataclass(frozen=True)
class Phenotype:
    """A sort of person: fields in [0, 1]."""

    gender: float
    age: float
    african: float
    #: (shapes,), as :meth:`Head.phenotypes` gives them.
    weights: Floats


@dataclass(frozen=True)
class Person:
    """Everything about a synthetic face that does not change with pose, expression and light."""

    phenotype: Phenotype
    #: (3,), the skin's colour before all that varies over it: sRGB, 0 to 255.
    skin: NDArray[np.float32]
    #: (V, 3), the head with a neutral face.
    neutral: Floats
    #: Left and right.
    eyeballs: tuple[Sphere, Sphere]
    eye: Eye
    #: (V, 3), diffuse reflectance in linear RGB.
    colours: Floats
    #: (V, 2), strength and exponent of the specular highlight.
    specular: Floats
    #: (H, W, 4), linear RGB and opacity, on the template's front view.
    texture: Floats
    #: Of the left and the right brow.
    brows: tuple[BrowEdges, BrowEdges]
    #: Hair, hat and scarf, which move with the head.
    worn: tuple[Part, ...]
    #: Neck and shoulders.
    torso: Part
    upper_teeth: Part
    lower_teeth: Part
    glasses: Glasses | None
    #: Make-up on the eyes and cheeks, or none.
    wears_makeup: bool


def draw_phenotypes(head: Head, rng: np.random.Generator, n: int) -> list[Phenotype]:
    """``n`` sorts of people."""
    ancestry = rng.dirichlet((0.7, 0.7, 0.7), n)
    values = {
        "gender": rng.beta(0.5, 0.5, n),
        "age": np.where(rng.random(n) < 0.85, rng.uniform(0.5, 1, n), rng.uniform(0.25, 0.5, n)),
        "muscle": rng.uniform(0.2, 0.9, n),
        "weight": rng.beta(2, 2, n),
        "height": rng.uniform(0.2, 0.8, n),
        "proportions": rng.uniform(0.2, 1, n),
        "african": ancestry[:, 0],
        "asian": ancestry[:, 1],
        "caucasian": ancestry[:, 2],
    }
    weights = head.phenotypes(values)
    return [
        Phenotype(float(values["gender"][i]), float(values["age"][i]), float(values["african"][i]), weights[i])
        for i in range(n)
    ]


def draw_person(head: Head, phenotype: Phenotype, rng: np.random.Generator) -> Person:
    """A new person of some sort."""
    neutral = head.shape(phenotype.weights, _random_changes(head, rng))
    eyeballs = head.eyes(neutral)
    age, gender = phenotype.age, phenotype.gender
    likely = rng.normal(0.15 + 0.5 * phenotype.african, 0.2)
    melanin = float(np.clip(likely, 0, 1) if rng.random() < 0.6 else rng.random())
    skin = (palette_colour(_SKIN, melanin) * (1 + rng.normal(0, 0.03, 3)) + rng.normal(0, 3)).clip(8, 255)
    if rng.random() < 0.012:  # painted from head to neck
        skin = random_colour(rng, 1.5).clip(8, 255)
    hair = _hair_colour(rng, age, melanin)
    colours, specular = random_skin(head, rng, skin, gender)
    brow_hair = (hair * rng.uniform(0.45, 1.05) + rng.normal(0, 4, 3)).clip(4, 250)
    texture = np.zeros((*TEXTURE_SHAPE, 4), dtype=np.float32)
    add_blemishes(texture, rng, skin, age)
    wears_makeup = bool(rng.random() < 0.5 * (1 - gender) + 0.05)
    if wears_makeup:
        add_makeup(texture, rng)
    if gender > 0.5 and rng.random() < 0.6 and age > 0.45:
        beard = palette_colour(_GREY_HAIR, rng.random()) if rng.random() < 0.6 * max(0.0, age - 0.6) / 0.4 else hair
        add_beard(texture, rng, (beard * rng.uniform(0.5, 1.1)).clip(4, 250))
    if rng.random() < 0.035:
        add_face_paint(texture, rng)
    brows = Brow.random_pair(rng, gender)
    for brow in brows:
        composite_onto_texture(texture, brow.opacity(rng, *TEXTURE_SHAPE), to_linear(brow_hair))
    worn = random_headwear(rng, neutral, hair, gender, age)
    teeth = random_teeth(rng, neutral, head)
    glasses = random_glasses(rng, eyeballs) if rng.random() < 0.22 else None
    return Person(
        phenotype=phenotype,
        skin=skin,
        neutral=neutral,
        eyeballs=eyeballs,
        eye=Eye.random(rng, to_linear(palette_colour(_IRIS, rng.random() ** (1 + 2 * melanin)))),
        colours=colours,
        specular=specular,
        texture=texture,
        brows=(brows[0].edges(head), brows[1].edges(head)),
        worn=worn,
        torso=random_torso(rng, neutral, to_linear(skin)),
        upper_teeth=teeth[0],
        lower_teeth=teeth[1],
        glasses=glasses,
        wears_makeup=wears_makeup,
    )


def _random_changes(head: Head, rng: np.random.Generator) -> dict[str, float]:
    strength = rng.uniform(0.15, 0.5)
    changes: dict[str, float] = {}
    for name in head.changes:
        if name.startswith(("torso", "measure", "head-trans", "neck-trans")):
            continue
        if name.startswith("r-"):
            twin = changes.get("l-" + name[2:], 0.0)
            changes[name] = float(np.clip(twin + rng.normal(0, 0.06), -1, 1))
            continue
        scale = strength
        if "nubian" in name or "forehead-scale" in name or name.startswith("neck") or "back-scale" in name:
            scale *= 0.35
        elif "pointed" in name or "triangle" in name or name.startswith(("l-ear", "head-angle")):
            scale *= 0.6
        elif name.endswith(("trans-out", "septumangle-incr")) and not name.startswith("l-"):
            scale *= 0.35  # These are not symmetric.
        value = rng.normal(0, scale) if rng.random() < 0.6 else 0.0
        value += _USUAL_CHANGES.get(name, 0.0)
        if value:
            changes[name] = float(np.clip(value, -1, 1))
    return changes


def _hair_colour(rng: np.random.Generator, age: float, melanin: float) -> NDArray[np.float32]:
    if rng.random() < 0.05:
        return random_colour(rng)
    if age > 0.75 and rng.random() < 0.6:
        return palette_colour(_GREY_HAIR, rng.random())
    if melanin < 0.3 and rng.random() < 0.08:
        return palette_colour(_RED_HAIR, rng.random())
    return palette_colour(_HAIR, rng.random() ** (0.9 + 2.5 * melanin))
