"""A person with an expression and a pose: the geometry that a camera sees, and its landmarks."""

from dataclasses import dataclass, replace

import numpy as np

from datasets.synthetic.people.expression import Actions, look
from datasets.synthetic.people.head import Head, plane_to_texels
from datasets.synthetic.people.landmarks import LandmarkModel, pupil
from datasets.synthetic.people.person import Person
from datasets.synthetic.renderer.arrays import Doubles, Floats, f32
from datasets.synthetic.renderer.camera import Projection
from datasets.synthetic.renderer.mesh import Mesh, vertex_normals
from datasets.synthetic.renderer.scene import Scene

#: The furthest that heads turn to a side, in degrees.
_PROFILE = 80.0
#: The head turns about a point in the neck, below and behind the eyes.
_PIVOT = f32([0, 9, 8])


@dataclass(frozen=True)
class Pose:
    """Angles in degrees: yaw to the right of the image, pitch down, roll clockwise; distance in centimetres."""

    yaw: float
    pitch: float
    roll: float
    distance: float
    #: Turn of the shoulders.
    torso_yaw: float = 0.0
    #: Gaze relative to the head: right and down.
    gaze: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class PosedFace:
    """A person's geometry in the camera's coordinates."""

    person: Person
    pose: Pose
    #: (V, 3)
    skin: Floats
    #: (3, 3) and (3,), from the head's coordinates to the camera's.
    rotation: Floats
    shift: Floats
    #: (3,) each, gaze of the left and the right eye in the head's coordinates.
    gazes: tuple[Floats, Floats]
    #: (3,), how far the jaw has moved in the head's coordinates.
    jaw: Floats

    def landmarks(self, model: LandmarkModel, project: Projection) -> Doubles:
        """The landmarks (98, 2) in pixels."""
        pupils = np.stack(
            [
                self.rotation @ pupil(ball, gaze) + self.shift
                for ball, gaze in zip(self.person.eyeballs, self.gazes, strict=True)
            ]
        )
        return model.locate(self.skin, project, self.person.brows, pupils[::-1], np.radians(self.pose.roll))

    def scene(self, head: Head) -> Scene:
        """The face with all that the person wears, for the renderer."""
        person, glasses = self.person, self.person.glasses
        return Scene(
            self._mesh(head),
            person.texture,
            None if glasses is None else glasses.moved(self.rotation, self.shift),
            self.pose.distance,
        )

    def _mesh(self, head: Head) -> Mesh:
        person, rotation, shift = self.person, self.rotation, self.shift
        column, row = plane_to_texels(head.template[:, 0], head.template[:, 1])
        texels = np.stack([column, row], 1).astype(np.float32)
        texels[(head.template[:, 2] > 7) | (head.mouth > 0.5) | head.is_tongue] = np.nan
        normals = vertex_normals(self.skin, head.triangles)
        skin = Mesh(self.skin, head.triangles, normals, person.colours, person.specular, head.ambient_occlusion, texels)
        eyes = [
            person.eye.mesh(ball, gaze, rotation, shift) for ball, gaze in zip(person.eyeballs, self.gazes, strict=True)
        ]
        lowered = (self.jaw * np.float32(0.9)).astype(np.float32)
        torso_rotation = _rotation(self.pose.torso_yaw, 0, self.pose.roll * 0.15)
        return Mesh.join(
            [
                skin,
                *eyes,
                person.upper_teeth.mesh(rotation, shift),
                person.lower_teeth.mesh(rotation, (shift + rotation @ lowered).astype(np.float32)),
                *(part.mesh(rotation, shift) for part in person.worn),
                person.torso.mesh(torso_rotation, _shift(torso_rotation, self.pose.distance)),
            ]
        )


def pose_face(head: Head, person: Person, actions: Actions, pose: Pose) -> PosedFace:
    """Applies an expression and a pose to a person."""
    local = head.express(person.neutral, look(actions, *pose.gaze))
    rotation = _rotation(pose.yaw, pose.pitch, pose.roll)
    shift = _shift(rotation, pose.distance)
    direction = _rotation(pose.gaze[0], pose.gaze[1], 0.0) @ f32([0, 0, -1])
    # Eyes that look at something near squint a little.
    inward = f32([np.sin(np.radians(1.5)), 0, 0])
    gazes = tuple((direction + side * inward) / np.linalg.norm(direction + side * inward) for side in (-1, 1))
    jaw = head.chin(local) - head.chin(person.neutral)
    skin = (local @ rotation.T + shift).astype(np.float32)
    return PosedFace(person, pose, skin, rotation, shift, (gazes[0], gazes[1]), jaw)


def random_pose(rng: np.random.Generator) -> Pose:
    """A pose that is mostly towards the camera, and now and then as far as a profile, ±40° of pitch or ±60° of roll."""
    kind = rng.random()
    yaw = rng.normal(0, 18) if kind < 0.55 else rng.normal(0, 35)
    if kind > 0.78:
        yaw = rng.choice((-1, 1)) * (30 + (_PROFILE - 30) * rng.beta(1, 1.4))
    yaw = float(np.clip(yaw, -_PROFILE, _PROFILE))
    pitch = rng.normal(2, 11) if rng.random() < 0.82 else rng.uniform(-40, 40)
    # A head that is turned far aside and far up or down at once shows no face.
    limit = 40 - 0.25 * max(0.0, abs(yaw) - 20)
    pitch = float(np.clip(pitch, -limit, limit))
    kind = rng.random()
    roll = float(rng.normal(0, 9) if kind < 0.8 else rng.uniform(-40, 40) if kind < 0.94 else rng.uniform(-62, 62))
    return Pose(
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        distance=float(np.exp(rng.uniform(np.log(38), np.log(260)))),
        torso_yaw=yaw * float(rng.uniform(0.1, 0.9)),
        gaze=(float(np.clip(rng.normal(0, 13), -35, 35)), float(np.clip(rng.normal(0, 8), -22, 25))),
    )


def turned_aside(pose: Pose, rng: np.random.Generator) -> Pose:
    """The same pose but for a turn of 40° to 75° to a side."""
    yaw = float(rng.uniform(40, 75) * rng.choice((-1, 1)))
    return replace(pose, yaw=yaw, torso_yaw=yaw * float(rng.uniform(0.1, 0.9)))


def _rotation(yaw: float, pitch: float, roll: float) -> Floats:
    """The matrix (3, 3) that turns by yaw, then by pitch, then by roll, in degrees."""
    y, p, r = np.radians([yaw, pitch, roll])
    about_y = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    turn: Floats = (about_z @ about_x @ about_y).astype(np.float32)
    return turn


def _shift(rotation: Floats, distance: float) -> Floats:
    """The shift (3,) after a rotation that keeps the pivot in its place, ``distance`` from the camera."""
    shift: Floats = (_PIVOT - rotation @ _PIVOT + f32([0, 0, distance])).astype(np.float32)
    return shift
