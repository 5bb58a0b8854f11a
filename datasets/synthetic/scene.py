"""A person before a camera: pose, expression, gaze and light, and the picture that comes of it."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.colour import f32
from datasets.synthetic.expression import Actions, look
from datasets.synthetic.head import Floats, Head, plane_to_texels, vertex_normals
from datasets.synthetic.landmarks import LandmarkModel, Projection, pupil
from datasets.synthetic.person import Person
from datasets.synthetic.raster import rasterise
from datasets.synthetic.shading import Light, Mesh, shade

#: The head turns about a point in the neck, below and behind the eyes.
_PIVOT = f32([0, 9, 8])


@dataclass(frozen=True)
class Pose:
    """Angles in degrees: yaw to the right of the picture, pitch down, roll clockwise; distance in centimetres."""

    yaw: float
    pitch: float
    roll: float
    distance: float
    #: Turn of the shoulders.
    torso_yaw: float = 0.0
    #: Gaze against the head: right and down.
    gaze: tuple[float, float] = (0.0, 0.0)

    @property
    def rotation(self) -> Floats:
        """(3, 3)"""
        return _rotation(self.yaw, self.pitch, self.roll)


@dataclass(frozen=True)
class PosedFace:
    """A person's geometry in the camera's coordinates."""

    person: Person
    pose: Pose
    #: (V, 3)
    skin: Floats
    rotation: Floats
    shift: Floats
    #: Gaze of the left and the right eye in the head's coordinates.
    gazes: tuple[Floats, Floats]
    #: (3,), how far the jaw has moved in the head's coordinates.
    jaw: Floats


def pose_face(head: Head, person: Person, actions: Actions, pose: Pose) -> PosedFace:
    """Expression and pose applied."""
    local = head.express(person.neutral, look(actions, *pose.gaze))
    rotation = pose.rotation
    shift = (_PIVOT - rotation @ _PIVOT + f32([0, 0, pose.distance])).astype(np.float32)
    direction = _rotation(pose.gaze[0], pose.gaze[1], 0.0) @ f32([0, 0, -1])
    # Eyes that look at something near squint a little.
    inward = f32([np.sin(np.radians(1.5)), 0, 0])
    gazes = tuple((direction + side * inward) / np.linalg.norm(direction + side * inward) for side in (-1, 1))
    jaw = head.chin(local) - head.chin(person.neutral)
    skin = (local @ rotation.T + shift).astype(np.float32)
    return PosedFace(person, pose, skin, rotation, shift, (gazes[0], gazes[1]), jaw)


def landmarks(model: LandmarkModel, face: PosedFace, project: Projection) -> NDArray[np.float64]:
    """(98, 2), pixels."""
    pupils = np.stack(
        [
            face.rotation @ pupil(ball, gaze) + face.shift
            for ball, gaze in zip(face.person.eyeballs, face.gazes, strict=True)
        ]
    )
    return model.locate(face.skin, project, face.person.brows, pupils[::-1], np.radians(face.pose.roll))


def render(
    head: Head, face: PosedFace, light: Light, project: Projection, height: int, width: int
) -> tuple[Floats, NDArray[np.bool_], Floats]:
    """The picture of a face without its surroundings.

    Returns:
        Linear RGB (height, width, 3), where something is seen (height, width), and depths.
    """
    mesh = _whole_mesh(head, face)
    seen, weights, depths = rasterise(project.with_depth(mesh.vertices), mesh.triangles, height, width)
    picture = shade(mesh, face.person.paint, light, seen, weights)
    if face.person.glasses is not None:
        _draw_glasses(picture, depths, face, project, light)
    return picture, seen >= 0, depths


def _whole_mesh(head: Head, face: PosedFace) -> Mesh:
    person, rotation, shift = face.person, face.rotation, face.shift
    column, row = plane_to_texels(head.template[:, 0], head.template[:, 1])
    texels = np.stack([column, row], 1).astype(np.float32)
    texels[(head.template[:, 2] > 7) | (head.mouth > 0.5) | head.is_tongue] = np.nan
    skin = Mesh(
        face.skin, head.triangles, vertex_normals(face.skin, head.triangles), person.colours, person.gloss,
        head.openness, texels,
    )  # fmt: skip
    eyes = [
        person.eye.mesh(ball, gaze, shift, rotation) for ball, gaze in zip(person.eyeballs, face.gazes, strict=True)
    ]
    lowered = (face.jaw * np.float32(0.9)).astype(np.float32)
    torso_rotation = _rotation(face.pose.torso_yaw, 0, face.pose.roll * 0.15)
    torso_shift = (_PIVOT - torso_rotation @ _PIVOT + f32([0, 0, face.pose.distance])).astype(np.float32)
    return Mesh.join(
        [
            skin,
            *eyes,
            person.upper_teeth.mesh(rotation, shift),
            person.lower_teeth.mesh(rotation, (shift + rotation @ lowered).astype(np.float32)),
            *(part.mesh(rotation, shift) for part in person.worn),
            person.torso.mesh(torso_rotation, torso_shift),
        ]
    )


def _draw_glasses(picture: Floats, depths: Floats, face: PosedFace, project: Projection, light: Light) -> None:
    glasses = face.person.glasses
    assert glasses is not None
    brightness = light.brightness
    height, width = depths.shape

    def place(points: Floats) -> tuple[NDArray[np.float64], Floats]:
        moved = points @ face.rotation.T + face.shift
        return project(moved), moved[:, 2]

    def visible(pixels: NDArray[np.float64], z: Floats) -> NDArray[np.bool_]:
        column = pixels[:, 0].round().astype(int).clip(0, width - 1)
        row = pixels[:, 1].round().astype(int).clip(0, height - 1)
        return np.asarray(z < depths[row, column] + 0.8)

    for rim in glasses.rims:
        pixels, z = place(rim)
        if not visible(pixels, z).all() and visible(pixels, z).mean() < 0.4:
            continue
        mask = np.zeros((height, width), np.uint8)
        cv2.fillPoly(mask, [(pixels * 16).round().astype(np.int32)], 255, cv2.LINE_AA, 4)
        opacity = mask.astype(np.float32)[..., None] / 255
        if glasses.lens_opacity > 0.01:
            picture += opacity * glasses.lens_opacity * (glasses.lens_colour * brightness - picture)
        if glasses.glare > 0:
            rows, columns = np.mgrid[:height, :width].astype(np.float32)
            centre = pixels.mean(0)
            extent = max(4.0, float(np.ptp(pixels[:, 0])) * 0.25)
            band = np.exp(
                -(((columns - centre[0]) + 0.7 * (rows - centre[1]) + extent * 0.6) ** 2) / (2 * extent**2 * 0.3)
            )
            picture += opacity * glasses.glare * band[..., None] * light.colour * 0.8
    mask = np.zeros((height, width), np.uint8)
    thickness = max(1, round(glasses.thickness * project.scale / face.pose.distance))
    for closed, line in (*((True, rim) for rim in glasses.rims), *((False, bar) for bar in glasses.bars)):
        pixels, z = place(line)
        shown = visible(pixels, z)
        points = (pixels * 16).round().astype(np.int32)
        for i in range(len(points) if closed else len(points) - 1):
            j = (i + 1) % len(points)
            if shown[i] and shown[j]:
                cv2.line(mask, points[i].tolist(), points[j].tolist(), 255, thickness, cv2.LINE_AA, 4)
    opacity = mask.astype(np.float32)[..., None] / 255
    picture += opacity * (glasses.colour * brightness - picture)


def _rotation(yaw: float, pitch: float, roll: float) -> Floats:
    """Turns: first yaw, then pitch, then roll, in degrees."""
    y, p, r = np.radians([yaw, pitch, roll])
    about_y = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    turn: Floats = (about_z @ about_x @ about_y).astype(np.float32)
    return turn
