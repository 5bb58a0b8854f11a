"""What prints, screens, editors and cameras of old do to a finished image: its look."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from datasets.degradations import jpeg_compressed_rgb
from datasets.synthetic.renderer.arrays import Bytes, Floats, f32
from datasets.synthetic.renderer.colour import grey_levels, palette_colour, random_colour, smooth_noise


@dataclass(frozen=True)
class Look:
    """One effect on an image. The same look is the same effect in every frame of a video."""

    #: A key of :data:`KINDS`.
    kind: str
    #: What the effect's random numbers start from.
    seed: int
    #: Pixels of the image that an effect counts as one: 1 in crops of 256 pixels.
    unit: float = 1.0

    @staticmethod
    def random(rng: np.random.Generator) -> "Look":
        """A look of any kind."""
        return Look(str(rng.choice(list(KINDS))), int(rng.integers(2**31)))

    def scaled(self, factor: float) -> "Look":
        """The same look of an image of another size."""
        return replace(self, unit=self.unit * factor)

    def apply(self, image: Bytes) -> Bytes:
        """An image (height, width, 3) in sRGB → the same with this look."""
        out = KINDS[self.kind](image.astype(np.float32), np.random.default_rng(self.seed), self.unit)
        finished: Bytes = np.clip(out + 0.5, 0, 255).astype(np.uint8)
        return finished


def _stretched(grey: Floats, low: float = 2.0, high: float = 98.0) -> Floats:
    """Grey levels with their percentiles ``low`` and ``high`` at 0 and 255."""
    # Every ninth pixel tells the percentiles as well.
    start, end = np.percentile(grey[::3, ::3], [low, high])
    return f32(((grey - start) * (255 / max(float(end - start), 1.0))).clip(0, 255))


def _duotone(image: Floats, rng: np.random.Generator, unit: float) -> Floats:
    """A print in two inks: sepia, blue, red or any."""
    inks = (
        ((40, 22, 10), (250, 232, 200)), ((25, 15, 10), (225, 190, 140)), ((5, 12, 50), (220, 235, 255)),
        ((0, 5, 60), (70, 130, 255)), ((35, 0, 0), (255, 120, 90)), ((40, 0, 5), (255, 235, 225)),
        ((5, 30, 10), (210, 250, 190)), ((30, 0, 40), (255, 200, 245)),
    )  # fmt: skip
    dark, light = (f32(ink) for ink in inks[rng.integers(len(inks))])
    if rng.random() < 0.2:
        dark, light = random_colour(rng) * 0.3, 255 - random_colour(rng) * 0.4
    share = (_stretched(grey_levels(image)) if rng.random() < 0.5 else grey_levels(image))[..., None] / 255
    toned = dark + (light - dark) * share
    kept = np.float32(rng.uniform(0, 0.35) if rng.random() < 0.4 else 0)
    return f32(toned + (image - toned) * kept)


def _tinted(image: Floats, rng: np.random.Generator, unit: float) -> Floats:
    """A strong cast of colour: faded film, light of one colour, a filter of an editor."""
    tint = palette_colour(((255, 140, 60), (255, 210, 150), (150, 255, 190), (120, 170, 255), (230, 130, 255)),
                          rng.random())  # fmt: skip
    toned = image * (tint / tint.mean()) ** np.float32(rng.uniform(0.4, 1.0))
    if rng.random() < 0.4:  # faded: no black is left
        toned = toned * np.float32(0.7) + np.float32(rng.uniform(30, 70))
    return f32(toned)


def _greyscale(image: Floats, rng: np.random.Generator, unit: float) -> Floats:
    """Black and white, soft or hard."""
    grey = grey_levels(image)
    if rng.random() < 0.5:
        grey = _stretched(grey, rng.uniform(0, 12), rng.uniform(85, 100))
    return np.repeat(grey[..., None], 3, axis=2)


def _posterised(image: Floats, rng: np.random.Generator, unit: float) -> Floats:
    """Few levels, in colour or in inks."""
    levels = int(rng.integers(2, 7))
    smooth = f32(cv2.GaussianBlur(image, (0, 0), max(0.3, rng.uniform(0.5, 1.6) * unit)))
    if rng.random() < 0.6:
        step = np.float32(255 / (levels - 1))
        return f32(np.round(smooth.clip(0, 255) / step) * step)
    inks = np.stack([random_colour(rng) for _ in range(levels)])
    inks = inks[np.argsort(grey_levels(inks))]
    inks[0] *= 0.3
    return f32(inks[(_stretched(grey_levels(smooth)) / 256 * levels).astype(int)])


def _photocopy(image: Floats, rng: np.random.Generator, unit: float) -> Floats:
    """Nearly black and white, in one ink, with dirt."""
    grey = grey_levels(image)
    local = cv2.GaussianBlur(grey, (0, 0), max(2.0, rng.uniform(12, 60) * unit))
    contrast = np.float32(rng.uniform(2, 6))
    share = (0.5 + (grey - local + rng.uniform(-8, 12)) * contrast / 255).clip(0, 1)
    share = share + np.float32(rng.uniform(0, 0.1)) * rng.standard_normal(grey.shape, dtype=np.float32)
    ink, paper = random_colour(rng) * 0.25, 255 - random_colour(rng, 0.5) * 0.2
    return f32(ink + (paper - ink) * share[..., None])


def _halftone(image: Floats, rng: np.random.Generator, unit: float) -> Floats:
    """Dots of a newspaper's or a poster's print."""
    height, width = image.shape[:2]
    period = rng.uniform(2.5, 5.5) * unit
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    colour = rng.random() < 0.5
    source = image if colour else grey_levels(image)[..., None]
    source = f32(cv2.GaussianBlur(source, (0, 0), period / 4)).reshape(height, width, -1)
    out = np.empty_like(source)
    for channel in range(source.shape[2]):
        angle = np.radians(rng.uniform(0, 90))
        u = (columns * np.cos(angle) + rows * np.sin(angle)) * np.float32(2 * np.pi / period)
        v = (rows * np.cos(angle) - columns * np.sin(angle)) * np.float32(2 * np.pi / period)
        screen = 127.5 + 60 * (np.cos(u) + np.cos(v))
        out[..., channel] = 127.5 + (source[..., channel] - screen) * np.float32(rng.uniform(1.5, 4))
    out = out.clip(0, 255)
    mixed = out + (source - out) * np.float32(rng.uniform(0, 0.5))
    return f32(np.broadcast_to(mixed, image.shape))


def _screen(image: Floats, rng: np.random.Generator, unit: float) -> Floats:
    """A screen that was photographed: lines, moiré, a cool cast and bright blacks."""
    height, width = image.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    factor = np.ones((height, width), np.float32)
    for _ in range(int(rng.integers(1, 4))):
        angle = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
        period = rng.uniform(2, 5) * unit if rng.random() < 0.6 else rng.uniform(6, 40) * unit
        bend = rng.uniform(0, 0.02) * (rows - height / 2) * (columns - width / 2) / width
        wave = np.cos((columns * np.sin(angle) + rows * np.cos(angle) + bend) * np.float32(2 * np.pi / period))
        factor *= 1 + np.float32(rng.uniform(0.04, 0.22)) * wave
    cast = f32(rng.uniform(0.8, 1.15, 3))
    return f32(image * factor[..., None] * cast + rng.uniform(0, 25))


def _vignetted(image: Floats, rng: np.random.Generator, unit: float) -> Floats:
    """Dark corners, or light ones."""
    height, width = image.shape[:2]
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    r2 = (rows - rng.normal(0, 0.2)) ** 2 + (columns - rng.normal(0, 0.2)) ** 2
    share = (np.float32(rng.uniform(0.15, 0.5)) * r2).clip(0, 0.9)[..., None]
    edge = 0.0 if rng.random() < 0.85 else 255.0
    return f32(image + (edge - image) * share)


def _grainy(image: Floats, rng: np.random.Generator, unit: float) -> Floats:
    """The grain of film, in grey, and scratches."""
    height, width = image.shape[:2]
    grain = smooth_noise(rng, height, width, max(height, width) / (rng.uniform(1.0, 2.5) * max(unit, 0.5)))
    out = image + (grain * np.float32(rng.uniform(6, 22)))[..., None]
    for _ in range(int(rng.integers(0, 4))):
        x, lean = rng.uniform(0, width), rng.normal(0, 0.05 * width)
        cv2.line(out, (int(x), 0), (int(x + lean), height), [float(rng.choice([20, 235]))] * 3, 1, cv2.LINE_AA)
    return out


def _sharpened(image: Floats, rng: np.random.Generator, unit: float) -> Floats:
    """Halos along edges."""
    soft = cv2.GaussianBlur(image, (0, 0), max(0.5, rng.uniform(0.8, 4) * unit))
    return f32(image + (image - soft) * np.float32(rng.uniform(0.6, 2.5)))


def _local_contrast(image: Floats, rng: np.random.Generator, unit: float) -> Floats:
    """The local contrast that editors give (CLAHE), strong colours included."""
    lab = cv2.cvtColor(image.clip(0, 255).astype(np.uint8), cv2.COLOR_RGB2LAB)
    tiles = int(rng.integers(3, 9))
    lab[..., 0] = cv2.createCLAHE(rng.uniform(2, 6), (tiles, tiles)).apply(lab[..., 0])
    out = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB).astype(np.float32)
    grey = grey_levels(out)[..., None]
    return f32(grey + (out - grey) * np.float32(rng.uniform(0.6, 1.9)))


def _chroma_noise(image: Floats, rng: np.random.Generator, unit: float) -> Floats:
    """Blotches of colour, as small sensors make them in the dark."""
    height, width = image.shape[:2]
    cells = max(height, width) / (rng.uniform(1.5, 6) * max(unit, 0.4))
    strength = rng.uniform(8, 30)
    noise = np.stack([smooth_noise(rng, height, width, cells) for _ in range(3)], axis=2)
    noise -= grey_levels(noise)[..., None]
    return f32(image + noise * np.float32(strength))


def _twice_compressed(image: Floats, rng: np.random.Generator, unit: float) -> Floats:
    """A JPEG file at another size, and another one of it."""
    height, width = image.shape[:2]
    share = rng.uniform(0.35, 1)
    small = cv2.resize(image.clip(0, 255), (max(16, round(width * share)), max(16, round(height * share))),
                       interpolation=cv2.INTER_AREA).astype(np.uint8)  # fmt: skip
    small = jpeg_compressed_rgb(small, int(rng.uniform(5, 35)))
    back = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return f32(jpeg_compressed_rgb(np.asarray(back, dtype=np.uint8), int(rng.uniform(20, 70))))


def _bordered(image: Floats, rng: np.random.Generator, unit: float) -> Floats:
    """A border on some sides, or a caption."""
    out = image.clip(0, 255).astype(np.uint8)  # OpenCV writes on bytes alone
    height, width = out.shape[:2]
    colour = [float(rng.choice([0, 255, rng.uniform(0, 255)]))] * 3
    if rng.random() < 0.6:
        for view in (out, out[::-1], out.transpose(1, 0, 2), out.transpose(1, 0, 2)[::-1]):
            if rng.random() < 0.45:
                view[: int(rng.uniform(0.02, 0.14) * len(view))] = colour
    else:
        text = "".join(chr(rng.integers(97, 123)) if rng.random() < 0.85 else " " for _ in range(rng.integers(4, 30)))
        size = rng.uniform(0.4, 1.3) * max(unit, 0.3)
        # Over or under the face: an image's caption hides none of it.
        row = int(height * (rng.uniform(0.03, 0.1) if rng.random() < 0.4 else rng.uniform(0.93, 0.99)))
        cv2.putText(out, text, (int(rng.uniform(-0.1, 0.4) * width), row), int(rng.integers(0, 8)), size, colour,
                    max(1, round(size * rng.uniform(1, 3))), cv2.LINE_AA)  # fmt: skip
    return f32(out)


#: Effects by name: an image (height, width, 3) of 0 to 255, random numbers, pixels of a unit → the same with it.
KINDS: dict[str, Callable[[Floats, np.random.Generator, float], Floats]] = {
    "duotone": _duotone,
    "tinted": _tinted,
    "grey": _greyscale,
    "posterised": _posterised,
    "photocopy": _photocopy,
    "halftone": _halftone,
    "screen": _screen,
    "vignette": _vignetted,
    "grain": _grainy,
    "sharpened": _sharpened,
    "local contrast": _local_contrast,
    "chroma noise": _chroma_noise,
    "compressed twice": _twice_compressed,
    "border": _bordered,
}
