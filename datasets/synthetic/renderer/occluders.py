"""What comes before a face: hands, microphones, cups, glasses, masks, hair, other people's heads.

Each function draws one of them on an image (height, width, 3) of linear RGB, in place, where the 98 landmarks say that
the face is. The same random numbers are the same occluder, wherever the landmarks are.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.renderer.arrays import Bytes, Doubles, Floats, f32
from datasets.synthetic.renderer.colour import palette_colour, random_colour, to_linear
from datasets.synthetic.renderer.compositing import composite, coverage
from datasets.synthetic.renderer.hands import add_hand
from datasets.synthetic.renderer.relief import Frame, Relief
from datasets.synthetic.renderer.shapes import SKIN, draw_line, fill, random_shape, shaded, superellipse

#: Centimetres of a face's size, which is the geometric mean of width and height of its landmarks.
_FACE = 13.5


def _face_frame(points: NDArray[np.floating]) -> Frame:
    """From the middle of the mouth down and, as the image shows a face that is upright, to the left."""
    down = points[16] - points[51]
    down = down / max(float(np.hypot(*down)), 1e-6) * _span(points) / _FACE
    return Frame(points[76:96].mean(0).astype(np.float64), down, np.array([-down[1], down[0]]))


def hand(image: Floats, rng: np.random.Generator, points: NDArray[np.floating], brightness: float) -> None:
    """A hand before the face: open, a fist under the chin, or a finger at the mouth, mostly from below."""
    face = _face_frame(points)
    pose = str(rng.choice(["open", "fist", "pointing"], p=[0.5, 0.35, 0.15]))
    angle = np.pi + (rng.normal(0, 0.55) if rng.random() < 0.8 else rng.uniform(-np.pi, np.pi))
    if rng.random() < 0.7:  # on the lower half of the face
        target = points[int(rng.choice([*range(8, 25), 76, 79, 82, 85, 54]))]
    else:
        target = points[rng.integers(0, 98)]
    target = target + _span(points) * rng.normal(0, 0.06, 2)
    skin = to_linear(palette_colour(SKIN, rng.random()))
    relief = Relief(*image.shape[:2])
    reach = {"open": rng.uniform(8, 16), "fist": 8.0, "pointing": 14.0}[pose]
    _add_hand_at(relief, rng, face.turned(target, angle), reach, pose, skin)
    relief.draw(image, rng, brightness)


def _add_hand_at(relief: Relief, rng: np.random.Generator, frame: Frame, reach: float, pose: str, skin: Floats) -> None:
    """Adds a hand that reaches to the frame's origin along its first axis.

    Args:
        reach: centimetres from the wrist to there.
        pose, skin: as of :func:`datasets.synthetic.renderer.hands.add_hand`.
    """
    add_hand(relief, rng, frame.turned(frame(-reach, 0), 0.0), pose, skin)


def _add_grip(relief: Relief, rng: np.random.Generator, frame: Frame, at: Doubles, angle: float, skin: Floats) -> None:
    """Adds a fist that holds what is at a place (2,) in pixels, from about this angle of the frame."""
    _add_hand_at(relief, rng, frame.turned(at, angle + rng.normal(0, 0.4)), 7, "fist", skin)


def microphone(image: Floats, rng: np.random.Generator, points: NDArray[np.floating], brightness: float) -> None:
    """A microphone before the mouth, in a hand or on a stand, or a headset's."""
    face = _face_frame(points)
    relief = Relief(*image.shape[:2])
    cm = face.unit
    metal = to_linear(random_colour(rng, 0.3) * rng.uniform(0.05, 0.9))
    body = to_linear(random_colour(rng, 0.4) * rng.uniform(0.05, 0.6))
    radius = rng.uniform(1.6, 3.0)
    below, aside = rng.uniform(-0.5, 4.5), rng.normal(0, 1.8)
    frame = face.turned(face(below, aside), rng.normal(0, 0.6))
    held, headset = rng.random() < 0.5, rng.random() < 0.15
    skin = to_linear(palette_colour(SKIN, rng.random()))
    if headset:
        side = float(rng.choice((-1, 1)))
        tip, bend, end = face(1.5, side * 2.5), face(2.5, side * 5), points[2 if side > 0 else 30]
        for a, b in ((tip, bend), (bend, end)):
            relief.limb(a, b, 0.22 * cm, 0.22 * cm, body, 0.5 * cm)
        relief.limb(tip, tip, 0.6 * cm, 0.6 * cm, metal, 1.0 * cm)
    else:
        relief.limb(frame(1.5, 0), frame(20, 0), 0.65 * radius * cm, 0.4 * radius * cm, body, 0.2 * cm)
        relief.limb(frame(1.2, -0.2 * radius), frame(1.2, 0.2 * radius), 0.85 * radius * cm, 0.85 * radius * cm, body,
                    0.3 * cm)  # fmt: skip
        relief.limb(frame(0, 0), frame(0.8, 0), radius * cm, 0.9 * radius * cm, metal, 0.6 * cm)
        if held:
            _add_grip(relief, rng, frame, frame(10, 0), np.pi / 2, skin)
    relief.draw(image, rng, brightness, grain=0.25)


def held(image: Floats, rng: np.random.Generator, points: NDArray[np.floating], brightness: float) -> None:
    """A cup, a bottle, a telephone, a flute or another instrument at the face, some in a hand."""
    face = _face_frame(points)
    relief = Relief(*image.shape[:2])
    colour, second = to_linear(random_colour(rng)), to_linear(random_colour(rng))
    skin = to_linear(palette_colour(SKIN, rng.random()))
    kind = str(rng.choice(["cup", "bottle", "telephone", "flute", "horn"]))
    lean = rng.normal(0, 0.35)
    side = float(rng.choice((-1, 1)))
    has_hand = rng.random() < 0.6 or kind == "telephone"
    flat = np.zeros(image.shape[:2], np.uint8)
    if kind == "cup":
        at, angle = _draw_cup(flat, rng, face, lean, side), np.pi / 2
    elif kind == "bottle":
        at, angle = _add_bottle(relief, rng, face, lean, side, colour, second), np.pi / 2
    elif kind == "telephone":
        ear = np.asarray(points[4 if side > 0 else 28], dtype=np.float64)
        at, angle = _draw_telephone(flat, face.turned(ear, lean)), np.pi
    else:
        at, angle = _add_instrument(relief, face, kind, lean, side, colour), np.pi / 2
    # The drawn shape is behind the hand that holds it.
    height, width = image.shape[:2]
    composite(image, coverage(flat), shaded(rng, height, width, colour, brightness))
    if has_hand:
        _add_grip(relief, rng, face, at, angle, skin)
    relief.draw(image, rng, brightness)


# What is held, each drawn on a mask or added to a relief, gives where a hand holds it, (2,) in pixels. Cups and the
# like lean by an angle in radians, and the hand is on the side −1 or 1.


def _draw_cup(flat: Bytes, rng: np.random.Generator, face: Frame, lean: float, side: float) -> Doubles:
    frame = face.turned(face(rng.uniform(-0.5, 2), rng.normal(0, 1)), lean)
    width, height = rng.uniform(3.0, 4.5), rng.uniform(6, 12)
    corners = [frame(0, -width), frame(0, width), frame(height, 0.8 * width), frame(height, -0.8 * width)]
    fill(flat, np.stack(corners))
    axes = (max(1, int(width * face.unit)), max(1, int(0.25 * width * face.unit)))
    turn = float(np.degrees(np.arctan2(frame.second[1], frame.second[0])))
    cv2.ellipse(flat, _pixel(frame(0, 0)), axes, turn, 0, 360, 255, -1, cv2.LINE_AA)
    return frame(height * 0.6, -side * 5)


def _add_bottle(
    relief: Relief, rng: np.random.Generator, face: Frame, lean: float, side: float, colour: Floats, neck: Floats
) -> Doubles:
    cm = face.unit
    frame = face.turned(face(rng.uniform(-0.3, 1), rng.normal(0, 0.6)), lean)
    relief.limb(frame(0, 0), frame(5, 0), 1.3 * cm, 1.5 * cm, neck, 0.5 * cm)
    relief.limb(frame(8, 0), frame(22, 0), 3.2 * cm, 3.4 * cm, colour, 0.0)
    return frame(10, -side * 5)


def _draw_telephone(flat: Bytes, frame: Frame) -> Doubles:
    fill(flat, np.stack([frame(-7, -2), frame(-7, 2), frame(7, 2), frame(7, -2)]))
    return frame(2, 0)


def _add_instrument(relief: Relief, face: Frame, kind: str, lean: float, side: float, colour: Floats) -> Doubles:
    cm = face.unit
    frame = face.turned(face(0.8, 0), (side * np.pi / 2 if kind == "flute" else 0.0) + lean)
    relief.limb(frame(-1 if kind == "horn" else -6, 0), frame(30, 0), 0.9 * cm, 1.1 * cm, colour, 0.8 * cm)
    if kind == "horn":
        relief.limb(frame(9, -3), frame(9, 3), 2.2 * cm, 2.2 * cm, colour, 0.5 * cm)
    return frame(9, -side * 4)


def other_head(image: Floats, rng: np.random.Generator, points: NDArray[np.floating], brightness: float) -> None:
    """Somebody else's head that covers a border of the face, seen from behind or from any side."""
    face = _face_frame(points)
    relief = Relief(*image.shape[:2])
    cm = face.unit * rng.uniform(0.8, 1.4)
    skin = to_linear(palette_colour(SKIN, rng.random()))
    hair = to_linear(palette_colour(((15, 12, 10), (60, 40, 25), (140, 100, 60), (190, 185, 180)), rng.random()))
    angle = rng.uniform(-0.45 * np.pi, 0.45 * np.pi)
    # The first axis points down, where others stand before one most often.
    away = rng.uniform(11.0, 16.5)
    centre = face(-3, 0) + away * (np.cos(angle) * face.first * 1.25 + np.sin(angle) * face.second)
    upright = Frame(centre, np.array([0, cm]), np.array([-cm, 0])).turned(centre, rng.normal(0, 0.3))
    behind = rng.random() < 0.5
    sideways = rng.uniform(-3, 3)
    shoulders = to_linear(random_colour(rng))
    relief.limb(upright(16, -9), upright(16, 9), 6 * cm, 6 * cm, shoulders, 0, 0.5)
    if behind:
        relief.limb(upright(-2, 0), upright(4, 0), 8 * cm, 7 * cm, hair, cm, 0.7)
    else:
        relief.limb(upright(4, 0), upright(12, 0), 4.5 * cm, 4.5 * cm, skin, 0, 0.5)
        relief.limb(upright(-3, -sideways * 0.6), upright(1, -sideways * 0.4), 8 * cm, 7.6 * cm, hair, 0.2 * cm, 0.6)
        relief.limb(upright(0, sideways * 0.3), upright(5, sideways * 0.3), 6.6 * cm, 5 * cm, skin, 2 * cm, 0.7)
        for across in (-3, 3):
            relief.limb(upright(0.5, across + sideways), upright(0.5, across * 1.3 + sideways), 0.6 * cm, 0.6 * cm,
                        hair * 0.5, 6 * cm, 0.3)  # fmt: skip
        relief.limb(upright(6.5, sideways - 1.8), upright(6.5, sideways + 1.8), 0.6 * cm, 0.6 * cm,
                    skin * f32([0.8, 0.4, 0.4]), 7 * cm, 0.3)  # fmt: skip
    relief.draw(image, rng, brightness, grain=0.3 if behind else 0.12)


def eyewear(image: Floats, rng: np.random.Generator, points: NDArray[np.floating], brightness: float) -> None:
    """Sunglasses or goggles, dark or mirrored."""
    face = _face_frame(points)
    goggles = rng.random() < 0.3
    wide = rng.uniform(1.5, 2.1) if goggles else rng.uniform(1.25, 1.85)
    tall = rng.uniform(2.2, 3.2) if goggles else rng.uniform(1.4, 2.4)
    power = rng.uniform(2, 4)
    first, second = random_colour(rng, 0.5) * 0.4, random_colour(rng) * rng.uniform(0.2, 1)
    mirrored = rng.random() < 0.4
    opacity = rng.uniform(0.75, 1)
    frame_colour = to_linear(random_colour(rng) * rng.uniform(0.05, 1))
    thickness = rng.uniform(0.5, 1.4) if goggles else rng.uniform(0.1, 0.5)
    lean = rng.uniform(-0.5, 0.5)
    slope = rng.choice((1.0, 3.0)) if mirrored else 0.3
    corners = points[[60, 64, 68, 72]]
    lenses: list[NDArray[np.floating]] = [*_lenses(corners, face, wide, tall, power)]
    if goggles:
        lenses = [f32(cv2.convexHull(np.concatenate(lenses).astype(np.float32))[:, 0])]
    mask, rims = np.zeros(image.shape[:2], np.uint8), np.zeros(image.shape[:2], np.uint8)
    line = max(1, round(thickness * face.unit))
    for lens in lenses:
        fill(mask, lens)
        draw_line(rims, lens, width=line, closed=True)
    if len(lenses) == 2:
        bridge = [lens[int(np.argmin(np.linalg.norm(lens - points[51], axis=1)))] for lens in lenses]
        cv2.line(rims, _pixel(bridge[0]), _pixel(bridge[1]), 255, line, cv2.LINE_AA)
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    middle = corners.mean(0)
    share = 0.5 + ((rows - middle[1]) + lean * (columns - middle[0])) / np.float32(5 * face.unit)
    share = (slope * share).clip(0, 1)
    colours = to_linear(first) + (to_linear(second) - to_linear(first)) * share[..., None]
    composite(image, coverage(mask) * np.float32(opacity), f32(colours * brightness))
    composite(image, coverage(rims), frame_colour * brightness)


def _lenses(corners: NDArray[np.floating], face: Frame, wide: float, tall: float, power: float) -> list[Doubles]:
    """Outlines (28, 2) in pixels of a lens before each eye that is seen well enough.

    Args:
        corners: of the eyes (4, 2), from the left of the image of an upright face to its right.
        wide: a lens's width over its eye's.
        tall: half its height in centimetres.
        power: of its outline, a superellipse.
    """
    x, y = superellipse(28, power)
    spans = np.linalg.norm(corners[[1, 3]] - corners[[0, 2]], axis=1)
    lenses: list[Doubles] = []
    for eye in (0, 1):
        # An eye of a face seen from a side that the nose hides has no lens either.
        if spans[eye] < 0.3 * spans.max():
            continue
        left, right = corners[2 * eye], corners[2 * eye + 1]
        along = (right - left) / 2 * wide
        down = face.first * tall
        middle = (left + right) / 2 + face.first * 0.4
        lenses.append(middle + x[:, None] * along + y[:, None] * down)
    return lenses


def _pixel(place: NDArray[np.floating]) -> tuple[int, int]:
    return int(place[0]), int(place[1])


def face_mask(image: Floats, rng: np.random.Generator, points: NDArray[np.floating], brightness: float) -> None:
    """A mask over mouth and nose."""
    height, width = image.shape[:2]
    low = rng.uniform(0, 1)
    bridge = points[52] * (1 - low) + points[54] * low
    first = int(rng.integers(4, 8))
    outline = np.concatenate([points[first : 33 - first], bridge[None]])
    middle = outline.mean(0)
    outline = middle + (outline - middle) * rng.uniform(0.98, 1.08)
    mask = np.zeros((height, width), np.uint8)
    fill(mask, outline)
    colour = to_linear(
        palette_colour(((235, 240, 245), (130, 190, 220), (30, 30, 35)), rng.random())
        if rng.random() < 0.7
        else random_colour(rng)
    )
    shade = shaded(rng, height, width, colour, brightness)
    fold = (shade.mean(axis=(0, 1)) * 0.7).tolist()
    for t in np.linspace(0.25, 0.75, int(rng.integers(0, 4))):
        start, end = (((1 - t) * points[i] + t * points[16]).astype(int).tolist() for i in (first, 32 - first))
        cv2.line(shade, start, end, fold, 1, cv2.LINE_AA)
    composite(image, coverage(mask), shade)


def strands(image: Floats, rng: np.random.Generator, points: NDArray[np.floating], brightness: float) -> None:
    """Strands of hair across the face."""
    height, width = image.shape[:2]
    size = _span(points)
    mask = np.zeros((height, width), np.uint8)
    start = np.array([rng.uniform(points[:, 0].min(), points[:, 0].max()), points[:, 1].min() - 0.25 * size])
    end = start + np.array([rng.normal(0, 0.35), rng.uniform(0.4, 1.4)]) * size
    bend = rng.normal(0, 0.2 * size, 2)
    t = np.linspace(0, 1, 12)[:, None]
    for _ in range(int(rng.integers(4, 40))):
        jitter = rng.normal(0, 0.05 * size, 2)
        curve = (
            (1 - t) ** 2 * (start + jitter) + 2 * t * (1 - t) * ((start + end) / 2 + bend) + t**2 * (end + 2 * jitter)
        )
        draw_line(mask, curve, int(rng.uniform(60, 230)), int(rng.integers(1, 4)))
    colour = to_linear(random_colour(rng, 0.4) * rng.uniform(0.1, 0.8))
    composite(image, coverage(mask), colour * brightness)


def shape(image: Floats, rng: np.random.Generator, points: NDArray[np.floating], brightness: float) -> None:
    """A shape of no meaning."""
    height, width = image.shape[:2]
    size = _span(points)
    centre = points[rng.integers(0, 98)] + rng.normal(0, 0.2 * size, 2)
    mask = np.zeros((height, width), np.uint8)
    random_shape(mask, rng, f32([255, 255, 255]), centre, size * rng.uniform(0.08, 0.42))
    if rng.random() < 0.1:
        mask = (mask * rng.uniform(0.5, 0.9)).astype(np.uint8)
    composite(image, coverage(mask), shaded(rng, height, width, to_linear(random_colour(rng)), brightness))


def _span(points: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.prod(np.ptp(points, axis=0))))
