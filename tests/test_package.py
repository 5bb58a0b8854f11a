"""The package as it is installed, and what its modules import."""

import ast
import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import ldeq
from utils import bundled

REPOSITORY = Path(__file__).resolve().parent.parent
CLIP = bundled.WFLW_V / "videos" / "portrait-pan.mp4"

#: From the bottom up: a module imports from its own layer and those below.
LAYERS = (
    ("errors", "lazy", "orphans", "processor"),
    ("torchrun", "files", "folder_lock", "fields", "config", "fetch", "first_use", "pretrained", "terminal"),
    ("interrupts", "streams", "onnx_session"),
    ("command_line",),
    ("landmarks98", "metrics", "smoothing", "solver_tally", "solve_settings", "transfer"),
    ("solvers",),
    ("model",),
    ("recurrence", "device", "graphs"),
    ("face", "video", "drawing", "landmark_table", "run_folder", "processes"),
    ("annotated_output",),
    ("runtime",),
    ("pipeline", "network_from_flags"),
    ("inference", "prediction"),
    ("predict",),
    ("__main__",),
)
LAYER_OF = {f"ldeq.{name}": number for number, names in enumerate(LAYERS) for name in names}
SCRIPTS = len(LAYERS) + 2


def files_of_the_repository():
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.splitlines()


def modules():
    """Path and dotted name of every Python file of the repository but its tests."""
    for name in files_of_the_repository():
        if not name.endswith(".py"):
            continue
        path = REPOSITORY / name
        if path.is_file() and not name.startswith("tests/"):
            yield path, name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imported_by(path):
    """Dotted names of what a file imports, also within functions, but not for type checking alone."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert [alias.name for alias in node.names] != ["*"], f"{path}: star import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer_of(name):
    parts = name.split(".")
    if parts[0] == "ldeq":
        return LAYER_OF.get(".".join(parts[:2]))
    if parts[0] == "utils" and (len(parts) < 2 or not parts[1].startswith("download_")):
        return len(LAYERS)
    if parts[0] == "datasets":
        return len(LAYERS) + 1
    known = ("utils", "benchmarks", "assets", "predict_video", "test_LDEQ_WFLW", "test_LDEQ_WFLW_V", "train_LDEQ")
    return SCRIPTS if parts[0] in known else None


def test_imports_run_one_way():
    wrong = []
    for path, name in modules():
        own = layer_of(name)
        if name == "ldeq":  # its names resolve on first use
            continue
        assert own is not None, f"{name} has no layer"
        for other in imported_by(path):
            theirs = layer_of(other)
            if theirs is not None and theirs > own:
                wrong.append(f"{name} -> {other}")
    assert not wrong


def test_only_the_visualization_imports_matplotlib():
    wrong = [
        name
        for path, name in modules()
        if not name.startswith("utils.visualization") and any(o.startswith("matplotlib") for o in imported_by(path))
    ]
    assert not wrong


def run_python(code, **options):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


#: As where PyTorch is not installed.
WITHOUT_TORCH = """
import importlib, pkgutil, sys
class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, NotInstalled())
"""
TORCH_FREE = (
    WITHOUT_TORCH
    + """
import ldeq
parts = "landmarks98 smoothing metrics landmark_table drawing predict runtime pretrained face video"
for name in (f"ldeq.{part}" for part in parts.split()):
    module = importlib.import_module(name)
    if name in ("ldeq.face", "ldeq.video"):
        for part in pkgutil.iter_modules(module.__path__):
            importlib.import_module(f"{name}.{part.name}")
"""
)


def test_what_needs_no_torch_works_without_it():
    code = (
        TORCH_FREE
        + f"""
import numpy as np
from ldeq.face.detectors import DlibDetector
from ldeq.face.landmarker import CropLandmarks
from ldeq.face.tracker import FaceTracker
from ldeq.smoothing import smooth
from ldeq.video.sources import open_source

class Middle:
    def locate(self, crops, faces):
        points = np.full((len(crops), 98, 2), 0.5) + np.linspace(-.3, .3, 98)[:, None]
        return CropLandmarks(points, np.full((len(crops), 98), 0.02))
    def restart(self, *faces): pass

tracker = FaceTracker(Middle(), DlibDetector())
with open_source({str(CLIP)!r}) as frames:
    found = [tracker.step(frame.image) for frame in frames]
print(len(found), sum(map(bool, found)), smooth(np.zeros((5, 98, 2))).shape)
"""
    )
    assert run_python(code).split()[0] == "60"


def test_import_ldeq_imports_little():
    heavy = ("torch", "cv2", "numpy", "scipy", "matplotlib", "av", "PIL", "rich")
    assert run_python(f"import sys, ldeq; print([name for name in {heavy} if name in sys.modules])") == "[]\n"


def test_names_resolve_on_first_use():
    for name in ldeq.__all__:
        assert getattr(ldeq, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = ldeq.nothing
    assert set(ldeq.__all__) <= set(dir(ldeq))


@pytest.mark.parametrize(
    "script",
    [
        "test_LDEQ_WFLW.py",
        "test_LDEQ_WFLW_V.py",
        "predict_video.py",
        "train_LDEQ.py",
        "utils/download_weights.py",
        "utils/download_WFLW_V.py",
        "datasets/crop_WFLW.py",
        "datasets/synthetic/__main__.py",
        "datasets/wflw/__main__.py",
        "datasets/wflw_v/__main__.py",
    ],
)
def test_help_imports_no_torch(script):
    """--help answers at once; importing PyTorch takes seconds."""
    code = (
        f"{WITHOUT_TORCH}\n"
        f"sys.argv = [{script!r}, '--help']\n"
        f"from {script.removesuffix('.py').replace('/', '.')} import main\n"
        "try: main()\nexcept SystemExit as ended: assert ended.code == 0\n"
    )
    assert "--output" in run_python(code) or "NAME" in run_python(code)


# -- a bare machine ----------------------------------------------------------------------------------------------------

GRAPHICS = ("libGL.so.1", "libEGL.so.1", "libX11.so.6", "libxcb.so.1", "libSM.so.6", "libXext.so.6", "libQt5Core.so.5")
EVERYTHING = """
import importlib, sys
for name in {names}:
    importlib.import_module(name)
import av, cv2, dlib, PIL.Image, scipy.signal
with open("/proc/self/maps") as maps:
    print(sorted({{line[line.index("/") :].strip() for line in maps if "/" in line}}))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="libGL is what Linux machines lack")
@pytest.mark.slow
def test_nothing_needs_libgl_x_or_qt(tmp_path):
    """Everything is imported where these libraries cannot be loaded: files of no bytes are found in their place."""
    for library in GRAPHICS:
        (tmp_path / library).touch()
    names = [
        name
        for _, name in modules()
        if not name.endswith("__main__") and not name.startswith(("utils.download_", "benchmarks", "assets"))
    ]
    code = EVERYTHING.format(names=names)
    loaded = run_python(code, env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)})
    graphics = ("libGL", "libEGL", "libX", "libQt", "libxcb")
    # Some wheels bring their own, which every machine has with them.
    system = [path for path in map(Path, ast.literal_eval(loaded)) if "site-packages" not in path.parts]
    assert not [path for path in system if path.name.startswith(graphics)]


# -- the wheel ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    # From a copy: a build leaves folders of its own beside what it builds.
    for name in files_of_the_repository():
        if name.startswith("ldeq/") or "/" not in name:
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((REPOSITORY / name).read_bytes())
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, folder / "source"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    assert len(list(folder.glob("*.tar.gz"))) == 1
    return path


@pytest.mark.slow
def test_the_wheel_holds_the_package_alone(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(f"ldeq-{ldeq.__version__}.dist-info/METADATA").decode()
    assert {name.split("/")[0] for name in names} == {"ldeq", f"ldeq-{ldeq.__version__}.dist-info"}
    assert {"ldeq/py.typed", "ldeq/weights/synthetic.pth.tar"} <= set(names)
    for extra in ("train", "synthetic", "download"):
        assert f"Provides-Extra: {extra}" in metadata


@pytest.mark.slow
def test_the_wheel_alone_works_from_any_folder(wheel, tmp_path):
    """In an environment of its own, which borrows from this one what the wheel depends on, and nothing of the clone."""
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    (site,) = (tmp_path / "env").glob("lib/python*/site-packages")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--quiet", wheel]
    subprocess.run(install, check=True)
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    # Hugging Face's package of this name lives beside it.
    (site / "datasets").mkdir()
    (site / "datasets" / "__init__.py").write_text("whose = 'hugging face'\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = (
        "import datasets, ldeq, numpy as np; assert datasets.whose == 'hugging face'\n"
        f"assert ldeq.__file__.startswith({str(site)!r}), ldeq.__file__\n"
        f"result = ldeq.landmarks({str(CLIP)!r}, smoothing=True)\n"
        "assert result.landmarks.shape == (60, 98, 2) and np.isfinite(result.landmarks).all()\n"
    )
    done = subprocess.run([python, "-c", code], cwd=elsewhere, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    command = [tmp_path / "env" / "bin" / "ldeq-video", CLIP, "--output_dir", "out"]
    done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads((elsewhere / "out" / "run.json").read_text())["n_frames_with_faces"] == 60
    assert sorted(path.name for path in (elsewhere / "out").iterdir()) == [
        "landmarks.csv",
        "landmarks.npz",
        "run.json",
        "video.mp4",
    ]


def test_no_module_puts_files_of_known_names_where_others_write():
    """In a shared temporary folder anyone could put a link, or a lock, of that name first."""
    names = ("gettempdir", "/tmp", "/var/tmp", "/dev/shm", "mktemp(", "TMPDIR")
    found = {str(path): [name for name in names if name in path.read_text()] for path, _ in modules()}
    assert not {path: used for path, used in found.items() if used}
