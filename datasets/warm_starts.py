"""Where a face's iterations start in training: at nothing, or at a guess such as a video's frame before would give.

A network that has only met z0 = 0 learns nothing about what a frame before could tell it: within an iteration it is
back at what the picture alone shows. Guesses that know the truth, but for errors like those of a frame that moved on,
teach it how far to rely on them where the picture is clear, blurred or hidden. They need still pictures only.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ldeq.fields import check, check_types

#: Spread of the guessed heatmaps, as a fraction of the crop's side.
_NARROWEST, _WIDEST = 0.012, 0.04
#: Share of the guesses that are far off, as when a face was lost, and how many times farther than the others.
_LOST, _FARTHER = 0.05, 5.0
#: Errors relative to the shift's. The smooth displacement has to be as large as what a network gets wrong on bad frames
#: and what a turning head moves by from one frame to the next: networks that met better guesses rely on their own, and
#: lag.
_ZOOM, _TURN, _WAVE, _POINT = 1.5, 0.7, 0.9, 0.2
#: Waves of the smooth displacement, and the most of them across a crop.
_N_WAVES, _HIGHEST = 3, 3.0


@dataclass(frozen=True)
class WarmStartConfig:
    """Guesses that iterations start at in training, as RwR's do on video.

    Raises:
        InputError: where a field has the wrong type or value; the message names the field.
    """

    #: Share of the faces whose iterations start at a guess of the landmarks instead of zeros.
    warm_starts: float = 0.0
    #: Typical shift of a guess, as a fraction of the crop's side; other errors are in proportion.
    warm_start_error: float = 0.015

    def __post_init__(self) -> None:
        check_types(self)
        check(self, "warm_starts", 0 <= self.warm_starts <= 1, "from 0 to 1")
        check(self, "warm_start_error", self.warm_start_error >= 0, "at least 0")


def draw_start(
    landmarks: NDArray[np.float32], config: WarmStartConfig, rng: np.random.Generator
) -> NDArray[np.float32]:
    """A guess (K, 3) of landmarks (K, 2): x, y and the spread of its heatmap, all fractions of the crop's side.

    NaN throughout where iterations are to start at zeros. The guess is off by a shift, turn and zoom of the whole face,
    by a smooth displacement (another expression, another pose) and by a little at each point.
    """
    if rng.random() >= config.warm_starts:
        return np.full((len(landmarks), 3), np.nan, dtype=np.float32)
    error = config.warm_start_error * np.exp(rng.normal(0, 0.6)) * (_FARTHER if rng.random() < _LOST else 1.0)
    points = landmarks.astype(np.float64)
    centre = points.mean(axis=0)
    zoom, turn = np.exp(rng.normal(0, _ZOOM * error)), rng.normal(0, _TURN * error)
    rotation = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    guess = (points - centre) @ rotation.T + centre + rng.normal(0, error, 2)
    for _ in range(_N_WAVES):
        angle, cycles, phase = rng.uniform(0, 2 * np.pi), rng.uniform(0, _HIGHEST), rng.uniform(0, 2 * np.pi)
        across = points @ [np.cos(angle), np.sin(angle)]
        guess += rng.normal(0, _WAVE * error, 2) * np.cos(2 * np.pi * cycles * across + phase)[:, None]
    guess += rng.normal(0, _POINT * error, guess.shape)
    spread = np.exp(rng.uniform(np.log(_NARROWEST), np.log(_WIDEST)))
    return np.column_stack([guess, np.full(len(guess), spread)]).astype(np.float32)
