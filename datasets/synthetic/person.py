"""A person: the shape of a head, its skin, brows and eyes, and what it wears. Drawn once, then posed and lit."""

from dataclasses import dataclass

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from datasets.synthetic import parts
from datasets.synthetic.brows import Brow
from datasets.synthetic.colour import along, f32, linear, random_colour, smooth_noise, wave_noise
from datasets.synthetic.head import PLANE, TEXELS, Anchors, Floats, Head, Sphere, plane_to_texels
from datasets.synthetic.parts import Eye, Glasses, Part

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
_IRIS = ((38, 24, 16), (62, 40, 24), (96, 66, 36), (110, 100, 60), (84, 110, 90), (92, 120, 150), (130, 150, 170))

_PAINT_SHAPE = (round((PLANE[3] - PLANE[1]) * TEXELS), round((PLANE[2] - PLANE[0]) * TEXELS))


@dataclass(frozen=True)
class Person:
    """Everything about a synthetic face that does not change with pose, expression and light."""

    #: (V, 3), the head with a neutral face.
    neutral: Floats
    #: Left and right.
    eyeballs: tuple[Sphere, Sphere]
    eye: Eye
    #: (V, 3), linear RGB.
    colours: Floats
    #: (V, 2)
    gloss: Floats
    #: (H, W, 4), linear RGB and opacity, on the template's front view.
    paint: Floats
    #: Outlines of the left and the right brow: nine points each, in WFLW's order of the left one.
    brows: tuple[Anchors, Anchors]
    #: What is carried on the head and moves with it: hair, hat.
    worn: tuple[Part, ...]
    #: What the head stands on.
    torso: Part
    upper_teeth: Part
    lower_teeth: Part
    glasses: Glasses | None
    #: Whether it wears make-up on its eyes and cheeks.
    made_up: bool


@dataclass(frozen=True)
class Phenotype:
    """What sort of person: fields in [0, 1]."""

    gender: float
    age: float
    african: float
    #: (shapes,), as :meth:`Head.phenotypes` gives them.
    weights: Floats


def draw_phenotypes(head: Head, rng: np.random.Generator, n: int) -> list[Phenotype]:
    """All sorts of people."""
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
    skin = (along(_SKIN, melanin) * (1 + rng.normal(0, 0.03, 3)) + rng.normal(0, 3)).clip(8, 255)
    hair = _hair_colour(rng, age, melanin)
    colours, gloss = _skin(head, rng, skin, gender, age)
    brow_hair = (hair * rng.uniform(0.45, 1.05) + rng.normal(0, 4, 3)).clip(4, 250)
    paint = np.zeros((*_PAINT_SHAPE, 4), dtype=np.float32)
    _blemishes(paint, rng, skin, age)
    made_up = bool(rng.random() < 0.35 * (1 - gender) + 0.05)
    if made_up:
        _make_up(paint, rng)
    if gender > 0.5 and rng.random() < 0.6 and age > 0.45:
        _beard(paint, rng, (hair * rng.uniform(0.5, 1.0)).clip(4, 250))
    brows = Brow.random_pair(rng, gender)
    for brow in brows:
        _blend(paint, brow.paint(rng, *_PAINT_SHAPE), linear(brow_hair))
    worn = parts.random_headwear(rng, neutral, hair, gender, age)
    teeth = parts.teeth(rng, neutral, head)
    glasses = parts.random_glasses(rng, eyeballs) if rng.random() < 0.22 else None
    return Person(
        neutral=neutral,
        eyeballs=eyeballs,
        eye=Eye.random(rng, linear(along(_IRIS, rng.random() ** (1 + 2 * melanin)))),
        colours=colours,
        gloss=gloss,
        paint=paint,
        brows=(brows[0].anchors(head), brows[1].anchors(head)),
        worn=worn,
        torso=parts.torso(rng, neutral, linear(skin)),
        upper_teeth=teeth[0],
        lower_teeth=teeth[1],
        glasses=glasses,
        made_up=made_up,
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
        if rng.random() < 0.6:
            changes[name] = float(np.clip(rng.normal(0, scale), -1, 1))
    return changes


def _hair_colour(rng: np.random.Generator, age: float, melanin: float) -> NDArray[np.float32]:
    if rng.random() < 0.05:
        return random_colour(rng)
    if age > 0.75 and rng.random() < 0.6:
        return along(_GREY_HAIR, rng.random())
    if melanin < 0.3 and rng.random() < 0.08:
        return along(_RED_HAIR, rng.random())
    return along(_HAIR, rng.random() ** (0.9 + 2.5 * melanin))


def _skin(
    head: Head, rng: np.random.Generator, skin: NDArray[np.float32], gender: float, age: float
) -> tuple[Floats, Floats]:
    """Colour (V, 3) and gloss (V, 2) of every vertex of the head."""
    points = head.template
    base = linear(skin)
    tone = np.zeros((len(points), 1), dtype=np.float32)
    for wavelength, strength in ((9.0, 0.05), (3.0, 0.035), (1.2, 0.025)):
        tone += (strength * rng.uniform(0.3, 1.5) * wave_noise(rng, points, wavelength))[:, None]
    colours = base * np.exp(tone)

    def near(x: float, y: float, radius: float) -> Floats:
        d2 = (np.abs(points[:, 0]) - x) ** 2 + (points[:, 1] - y) ** 2
        return np.exp(-d2 / (2 * radius**2)).astype(np.float32)[:, None] * (points[:, 2:] < 6)

    flush = rng.uniform(0, 0.35)
    red = f32([1.15, 0.72, 0.74])
    for place in (near(4.5, 3.3, 1.6), near(0, 3.3, 1.1), head.ears[:, None] * 0.7):
        colours *= 1 + flush * place * (red - 1)
    colours *= 1 - rng.uniform(0, 0.35) * near(3.0, 1.0, 0.7) * f32([0.5, 0.6, 0.5])
    lids = head.lids[:, None]
    colours *= 1 - rng.uniform(0, 0.4) * lids * f32([0.5, 0.7, 0.7])
    if rng.random() < 0.25 * (1 - gender) + 0.03:
        lip = linear(along(((90, 20, 30), (170, 30, 45), (200, 70, 90), (120, 50, 60), (215, 110, 110)), rng.random()))
        opacity, shine = rng.uniform(0.4, 0.95), rng.uniform(0.05, 0.4)
    else:
        lip = (base * f32([0.92, 0.58, 0.60]) * rng.uniform(0.75, 1.15)).astype(np.float32)
        opacity, shine = rng.uniform(0.25, 0.95), rng.uniform(0.02, 0.15)
    lips = head.lips[:, None]
    colours += opacity * lips * (lip - colours)
    cavity = np.clip(head.mouth - head.lips, 0, 1)[:, None]
    colours += cavity * (f32([0.16, 0.03, 0.03]) * rng.uniform(0.3, 1.2) - colours)
    colours[head.is_tongue] = f32([0.45, 0.14, 0.14]) * rng.uniform(0.7, 1.2)
    # Lashes and, on some, a drawn line.
    edge = np.zeros(len(points), dtype=np.float32)
    for lids_edge, weight in (*((lid, 1.0) for lid in head.upper_lids), *((lid, 0.4) for lid in head.lower_lids)):
        edge[lids_edge.vertices[:, 0]] = weight * rng.uniform(0.3, 1)
    colours *= 1 - (edge * rng.uniform(0.3, 0.95))[:, None]
    gloss = np.empty((len(points), 2), dtype=np.float32)
    gloss[:, 0] = rng.uniform(0.0, 0.14) * (1 + 0.3 * wave_noise(rng, points, 4.0)).clip(0, 2)
    gloss[:, 1] = rng.uniform(6, 30)
    gloss[head.lips > 0.5, 0] = shine
    gloss[head.lips > 0.5, 1] = rng.uniform(15, 50)
    gloss[cavity[:, 0] > 0.5, 0] = 0.02
    return colours.clip(0.002, 0.95).astype(np.float32), gloss


def _blend(paint: Floats, opacity: NDArray[np.floating], colour: Floats) -> None:
    """Lays a colour (3,), linear, over the paint with an opacity (H, W)."""
    _lay_over(paint, np.asarray(opacity, dtype=np.float32), np.asarray(colour, dtype=np.float32))


@numba.njit(cache=True, nogil=True)
def _lay_over(paint: Floats, opacity: Floats, colour: Floats) -> None:
    for i in range(paint.shape[0]):
        for j in range(paint.shape[1]):
            over = opacity[i, j]
            if over > np.float32(0.004):
                below = paint[i, j, 3] * (np.float32(1) - over)
                total = below + over
                for channel in range(3):
                    paint[i, j, channel] = (paint[i, j, channel] * below + colour[channel] * over) / total
                paint[i, j, 3] = total


def _blemishes(paint: Floats, rng: np.random.Generator, skin: NDArray[np.float32], age: float) -> None:
    height, width = paint.shape[:2]
    fine = smooth_noise(rng, height, width, 90) * rng.uniform(0, 0.10)
    opacity = np.abs(fine).clip(0, 0.4)
    shade = linear(skin * 0.6) if rng.random() < 0.7 else linear(skin * f32([1.0, 0.75, 0.7]))
    _blend(paint, opacity, shade)
    marks = np.zeros((height, width), np.uint8)
    if rng.random() < 0.2:
        for _ in range(int(rng.integers(20, 160))):
            cv2.circle(marks, _point(rng, width, height), 1, int(rng.uniform(40, 160)), -1, cv2.LINE_AA)
    for _ in range(int(rng.integers(0, 5))):
        cv2.circle(
            marks, _point(rng, width, height), int(rng.integers(1, 4)), int(rng.uniform(90, 230)), -1, cv2.LINE_AA
        )
    if age > 0.6:
        # Folds from the nose to the mouth, and lines on the forehead.
        for side in (-1, 1):
            x, y = plane_to_texels(np.array([1.9, 2.8, 3.3]) * side, np.array([3.6, 5.2, 7.2]) + rng.normal(0, 0.3, 3))
            curve = np.stack([x, y], 1).round().astype(np.int32)
            cv2.polylines(marks, [curve], False, int(rng.uniform(0, 90) * age), 2, cv2.LINE_AA)
        for level in np.arange(-6.5, -3, rng.uniform(0.7, 1.4)):
            x, y = plane_to_texels(np.linspace(-4, 4, 9), level + rng.normal(0, 0.08, 9))
            strength = int(rng.uniform(0, 80) * max(0.0, age - 0.55) * 2)
            cv2.polylines(marks, [np.stack([x, y], 1).round().astype(np.int32)], False, strength, 1, cv2.LINE_AA)
    soft = cv2.GaussianBlur(marks, (0, 0), 0.9)
    _blend(paint, soft.astype(np.float32) / 255, linear(skin * 0.45))


def _make_up(paint: Floats, rng: np.random.Generator) -> None:
    height, width = paint.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    for side in (-1, 1):
        x, y = plane_to_texels(np.array(side * rng.uniform(2.9, 3.4)), np.array(rng.uniform(-0.9, -0.4)))
        axes = (int(TEXELS * rng.uniform(1.4, 2.0)), int(TEXELS * rng.uniform(0.6, 1.1)))
        cv2.ellipse(mask, (int(x), int(y)), axes, side * rng.uniform(-15, 5), 0, 360, 255, -1, cv2.LINE_AA)
    soft = cv2.GaussianBlur(mask, (0, 0), TEXELS * rng.uniform(0.15, 0.4))
    _blend(paint, soft.astype(np.float32) / 255 * np.float32(rng.uniform(0.1, 0.7)), linear(random_colour(rng) * 0.7))
    mask[:] = 0
    for side in (-1, 1):
        x, y = plane_to_texels(np.array(side * 5.0), np.array(3.6))
        cv2.ellipse(mask, (int(x), int(y)), (TEXELS * 2, TEXELS), -side * 25, 0, 360, 255, -1, cv2.LINE_AA)
    soft = cv2.GaussianBlur(mask, (0, 0), TEXELS * 0.6)
    _blend(paint, soft.astype(np.float32) / 255 * np.float32(rng.uniform(0, 0.4)), linear((200, 80, 90)))


def _beard(paint: Floats, rng: np.random.Generator, colour: NDArray[np.float32]) -> None:
    height, width = paint.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    kind = rng.choice(["full", "stubble", "moustache", "goatee", "chin strap"], p=[0.3, 0.35, 0.12, 0.15, 0.08])

    def polygon(points: list[tuple[float, float]], value: int = 255) -> None:
        both = np.array(points + [(-x, y) for x, y in reversed(points)])
        x, y = plane_to_texels(both[:, 0], both[:, 1])
        cv2.fillPoly(mask, [np.stack([x, y], 1).round().astype(np.int32)], value, cv2.LINE_AA)

    top = rng.uniform(-0.5, 0.8)
    if kind in ("full", "stubble", "chin strap"):
        cheek = rng.uniform(4.5, 6.8)
        polygon(
            [
                (0, 13.5),
                (9, 13.5),
                (9, top),
                (7.0, top),
                (6.2, cheek),
                (4.2, cheek + 0.6),
                (2.4, cheek - 0.3 if kind != "chin strap" else 9.6),
                (0, 5.0 if kind != "chin strap" else 9.4),
            ]
        )
    if kind == "goatee":
        polygon([(0, 13), (2.4, 13), (rng.uniform(2.2, 3.2), 9.5), (3.0, 6.8), (2.4, 5.6), (0, 5.0)])
    if kind == "moustache":
        polygon([(0, 6.3), (rng.uniform(2.2, 3.2), rng.uniform(6.4, 8)), (2.4, 5.8), (1.0, 5.0), (0, 5.1)])
    # The lips and what is under the lower one stay bare.
    x, y = plane_to_texels(np.array(0.0), np.array(7.1))
    cv2.ellipse(mask, (int(x), int(y)), (int(2.75 * TEXELS), int(1.05 * TEXELS)), 0, 0, 360, 0, -1, cv2.LINE_AA)
    soft = cv2.GaussianBlur(mask, (0, 0), TEXELS * rng.uniform(0.1, 0.35)).astype(np.float32) / 255
    hairs = 0.5 + 0.35 * smooth_noise(rng, height, width, 160) + 0.25 * smooth_noise(rng, height, width, 25)
    density = rng.uniform(0.15, 0.45) if kind == "stubble" else rng.uniform(0.5, 1.0)
    opacity = (soft * (density * (0.6 + 0.7 * hairs.clip(0, 1)))).clip(0, 0.97).astype(np.float32)
    _blend(paint, opacity, linear(colour) * rng.uniform(0.7, 1.1))


def _point(rng: np.random.Generator, width: int, height: int) -> tuple[int, int]:
    return int(rng.uniform(0.12, 0.88) * width), int(rng.uniform(0.2, 0.9) * height)
