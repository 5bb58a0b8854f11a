"""Expressions: strengths of facial actions, and where the eyes look."""

import numpy as np

#: Expressions that people have, as (action, strength) with L and R for both sides.
_PROTOTYPES: tuple[dict[str, float], ...] = (
    {},
    {"mouthSmile": 0.6, "cheekSquint": 0.4},
    {"mouthSmile": 0.9, "cheekSquint": 0.7, "eyeSquint": 0.4, "jawOpen": 0.12, "mouthUpperUp": 0.5},
    {"mouthSmile": 0.9, "cheekSquint": 0.8, "eyeSquint": 0.6, "jawOpen": 0.5, "mouthUpperUp": 0.4},
    {"jawOpen": 0.6, "browInnerUp": 0.8, "browOuterUp": 0.8, "eyeWide": 0.8},
    {"browDown": 0.9, "mouthFrown": 0.5, "noseSneer": 0.4, "eyeSquint": 0.3},
    {"mouthFrown": 0.9, "browInnerUp": 0.7, "mouthShrugLower": 0.4},
    {"mouthPucker": 0.9},
    {"mouthFunnel": 0.8, "jawOpen": 0.25},
    {"jawOpen": 0.95, "mouthStretch": 0.4, "eyeSquint": 0.4},
    {"mouthPress": 0.8, "mouthRollLower": 0.4, "mouthRollUpper": 0.3},
    {"noseSneer": 0.9, "mouthUpperUp": 0.8, "browDown": 0.6, "cheekSquint": 0.5},
    {"eyeBlink": 1.0},
    {"cheekPuff": 0.9, "mouthPress": 0.3},
    {"mouthDimple": 0.8, "mouthSmile": 0.2},
    {"mouthLowerDown": 0.8, "mouthStretch": 0.6, "jawOpen": 0.15},
    {"jawOpen": 0.3},
    {"jawOpen": 0.15, "mouthUpperUp": 0.3, "mouthLowerDown": 0.3},
    {"tongueOut": 0.8, "jawOpen": 0.5},
    # Laughing, shouting, singing, yawning; shut and narrowed eyes.
    {"mouthSmile": 1.0, "cheekSquint": 0.9, "eyeSquint": 0.9, "jawOpen": 0.75, "mouthUpperUp": 0.7},
    {"mouthSmile": 0.9, "cheekSquint": 0.8, "eyeBlink": 0.9, "jawOpen": 0.55, "mouthUpperUp": 0.6},
    {"jawOpen": 1.0, "mouthUpperUp": 0.6, "mouthLowerDown": 0.6, "browDown": 0.8, "noseSneer": 0.6, "eyeSquint": 0.6},
    {"jawOpen": 1.0, "mouthFunnel": 0.4, "browInnerUp": 0.4},
    {"jawOpen": 1.0, "eyeBlink": 0.9, "browInnerUp": 0.3, "mouthStretch": 0.2},
    {"mouthSmile": 0.9, "cheekSquint": 0.6, "mouthUpperUp": 0.7, "mouthLowerDown": 0.5, "jawOpen": 0.06},
    {"eyeBlink": 1.0, "mouthSmile": 0.4},
    {"eyeSquint": 1.0, "browDown": 0.7, "cheekSquint": 0.5},
    {"eyeSquint": 0.9, "eyeBlink": 0.45},
)  # fmt: skip
_WEIGHTS = np.array([5, 4, 4, 3, 1.5, 1.5, 1.2, 1, 1, 1, 0.8, 0.7, 2.2, 0.4, 0.6, 0.7, 2, 2, 0.3,
                     1.5, 1.0, 1.3, 1.3, 0.8, 3.5, 1.5, 1.3, 1.0])  # fmt: skip
_SIDED = frozenset(
    ("browDown", "browOuterUp", "cheekSquint", "eyeBlink", "eyeSquint", "eyeWide", "mouthDimple", "mouthFrown",
     "mouthLowerDown", "mouthPress", "mouthSmile", "mouthStretch", "mouthUpperUp", "noseSneer")
)  # fmt: skip
#: Actions that are a little active in every face.
_LOOSE = (
    "browDown", "browInnerUp", "browOuterUp", "cheekSquint", "eyeSquint", "eyeWide", "jawForward", "jawLeft",
    "jawRight", "jawOpen", "mouthDimple", "mouthFrown", "mouthFunnel", "mouthLeft", "mouthRight", "mouthLowerDown",
    "mouthPress", "mouthPucker", "mouthShrugLower", "mouthShrugUpper", "mouthSmile", "mouthStretch", "mouthUpperUp",
    "noseSneer", "eyeBlink", "mouthRollLower", "mouthRollUpper",
)  # fmt: skip

#: Strengths of facial actions by name, in [0, 1].
Actions = dict[str, float]


def random_expression(rng: np.random.Generator) -> Actions:
    """A face as people make it: one of the common expressions at some strength, uneven, with some looseness on top."""
    actions: Actions = {}
    prototype = _PROTOTYPES[rng.choice(len(_PROTOTYPES), p=_WEIGHTS / _WEIGHTS.sum())]
    strength = rng.uniform(0.4, 1.15)
    for name, value in prototype.items():
        _add(actions, rng, name, value * strength * rng.uniform(0.75, 1.2))
    for name in _LOOSE:
        if rng.random() < 0.22:
            _add(actions, rng, name, min(0.6, abs(rng.normal(0, 0.16))))
    if rng.random() < 0.06:
        actions["eyeBlinkLeft" if rng.random() < 0.5 else "eyeBlinkRight"] = rng.uniform(0.6, 1)
    return actions


def look(actions: Actions, right: float, down: float) -> Actions:
    """The expression with lids that follow the eyes.

    Args:
        actions: the expression.
        right, down: gaze relative to the head in degrees, to the right of the image and down.
    """
    out = dict(actions)
    strength = min(1.0, abs(right) / 35)
    out["eyeLookOutLeft" if right > 0 else "eyeLookInLeft"] = strength
    out["eyeLookInRight" if right > 0 else "eyeLookOutRight"] = strength
    name = "eyeLookDown" if down > 0 else "eyeLookUp"
    out[name + "Left"] = out[name + "Right"] = min(1.0, abs(down) / 30)
    return out


def _add(actions: Actions, rng: np.random.Generator, name: str, value: float) -> None:
    if name in _SIDED:
        uneven = rng.normal(0, 0.12) + (rng.normal(0, 0.5) if rng.random() < 0.08 else 0)
        sides = {"Left": value * (1 + uneven), "Right": value * (1 - uneven)}
    else:
        sides = {"": value}
    for side, strength in sides.items():
        actions[name + side] = float(np.clip(actions.get(name + side, 0) + strength, 0, 1))
