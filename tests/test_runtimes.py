"""Exported steps, the runtimes that run them, and the choice among runtimes."""

import json
import os
import shutil
import subprocess
import sys
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import ldeq
import test_LDEQ_WFLW_V
from ldeq import LDEQ, RecurrentLDEQ, SolverConfig, pretrained, save_checkpoint
from ldeq.config import ModelConfig
from ldeq.errors import InputError, NotFiniteError
from ldeq.face.crop import FaceCrop
from ldeq.face.landmarker import CropLandmarks
from ldeq.files import sha256_of
from ldeq.model.normalisation import normalise
from ldeq.model.step import RecurrentStep
from ldeq.runtime import choice, export, exported, measurement, winograd
from ldeq.runtime.choice import open_network
from ldeq.runtime.pytorch import TorchLandmarker
from ldeq.runtime.step_file import read_description
from ldeq.runtime.step_landmarker import StepLandmarker
from ldeq.runtime.steps import STEP_RUNTIMES, onnxruntime_step
from ldeq.solve_settings import SolveSettings
from tests.conftest import GOLDEN, SMALL, assert_refused
from tests.test_package import CLIP, REPOSITORY, WITHOUT_TORCH
from utils import bundled

IMAGES = np.stack(
    [
        FaceCrop.around(np.random.default_rng(k).integers(0, 256, (90, 120, 3), dtype=np.uint8), (20, 10, 90, 80)).image
        for k in range(3)
    ]
)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache folder of these tests' own: exports are made once."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LDEQ_HOME", str(folder))
        yield folder


def crops(images=IMAGES):
    return [FaceCrop(image, np.eye(2, 3)) for image in images]


def tiny(path, solver, **config):
    torch.manual_seed(3)
    model = LDEQ(ModelConfig(**SMALL, **config), solver).eval()
    with torch.no_grad():
        model.cell.head.conv.weight *= 0.02  # a contraction: else rounding grows with every frame
    save_checkpoint(path, model)
    return model


# -- exporting ---------------------------------------------------------------------------------------------------------


def test_the_bundled_step_is_of_the_bundled_checkpoint():
    description = read_description(pretrained.bundled_step())
    assert description.weights_sha256 == sha256_of(pretrained.path_of("synthetic"))
    assert (description.iterations, description.last_step, description.precision) == (1, True, "fp32")
    assert description.licence == "MIT"
    graph = onnx.load(pretrained.bundled_step())
    onnx.checker.check_model(graph, full_check=True)
    assert b"/site-packages/" not in pretrained.bundled_step().read_bytes(), "no paths of a machine"
    told = {entry.key: entry.value for entry in graph.metadata_props}
    assert "98" in told["scheme"]
    assert "1.2" in told["crop"]
    assert told["solver"] == "fpi"


def test_export_of_other_numbers_of_steps(run_script, tmp_path):
    """Two iterations and no last step, in a graph for any batch, as PyTorch makes them."""
    model = tiny(tmp_path / "net.pth.tar", SolverConfig(solver="fpi", max_iters=9, rel_diff_target=1e-9))
    output = tmp_path / "step.onnx"
    flags = [f"--landmark_model_weights={tmp_path / 'net.pth.tar'}", f"--output={output}"]
    status, out, err = run_script(export.main, *flags, "--iterations=2", "--last_step=false", "--licence=CC0")
    assert (status, err) == (0, "")
    assert "2 evaluations" in out
    description = read_description(output)
    assert description.model == model.config
    assert description.solver == model.solver_config
    assert (description.iterations, description.last_step, description.licence) == (2, False, "CC0")
    # As a program without this package would use it.
    session = onnxruntime.InferenceSession(str(output), providers=["CPUExecutionProvider"])
    network = RecurrentLDEQ(model, max_iters=2, take_one_less_inference_step=True)
    for batch in (3, 1):
        network.reset(0, 1, 2)
        z = np.zeros((batch, 98, 64, 64), np.float32)
        for _ in range(3):
            images = IMAGES[:batch]
            landmarks, uncertainty, z = session.run(None, {"image": images, "z": z})
            expected = network.step(normalise(images), range(batch))
            assert np.abs(landmarks - expected.keypoints.numpy()).max() < 1e-4
            assert np.abs(uncertainty - expected.uncertainty.numpy()).max() < 1e-4


@pytest.mark.slow
def test_export_in_half_precision(run_script, tmp_path):
    output = tmp_path / "half.onnx"
    assert run_script(export.main, f"--output={output}", "--precision=fp16")[0] == 0
    assert output.stat().st_size < 0.55 * pretrained.bundled_step().stat().st_size
    assert read_description(output).precision == "fp16"
    found = onnxruntime_step(output)(IMAGES, np.zeros((3, 98, 64, 64), np.float32))
    expected = onnxruntime_step(pretrained.bundled_step())(IMAGES, np.zeros((3, 98, 64, 64), np.float32))
    assert 0 < np.abs(found.landmarks - expected.landmarks).max() * 256 < 1


@pytest.mark.parametrize("kernel_size", winograd.POINTS)
@pytest.mark.parametrize("bias", [True, False])
def test_winograds_convolutions_are_convolutions(kernel_size, bias):
    """In float64 to its rounding, and in float32 to a few times that of a plain convolution."""
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(24, 40, kernel_size, padding=kernel_size // 2, bias=bias).requires_grad_(False)
    images = torch.randn(3, 24, 12, 20)
    fast = winograd.WinogradConvolution(convolution)
    exact = convolution.double()(images.double())
    assert (winograd.WinogradConvolution(convolution)(images.double()) - exact).abs().max() < 1e-12
    assert (fast(images) - exact).abs().max() < 1e-4 * exact.std()
    assert (fast(images)[1:2] - fast(images[1:2])).abs().max() < 1e-5


@pytest.mark.parametrize(
    "other",
    [{"stride": 2}, {"padding": 0}, {"kernel_size": 7, "padding": 3}, {"groups": 2}, {"padding_mode": "circular"}],
)
def test_other_convolutions_are_not_winograds(other):
    convolution = torch.nn.Conv2d(**{"in_channels": 8, "out_channels": 8, "kernel_size": 3, "padding": 1, **other})
    with pytest.raises(ValueError, match="expected stride 1"):
        winograd.WinogradConvolution(convolution)


def test_wide_convolutions_of_large_images_are_winograds():
    def convolution(n, kernel_size=5, **options):
        return torch.nn.Conv2d(n, n, kernel_size, padding=kernel_size // 2, **options)

    network = torch.nn.Sequential(
        convolution(96),
        convolution(96, 3),
        torch.nn.AvgPool2d(4),
        convolution(96),
        torch.nn.Conv2d(96, 8, 1),
        convolution(8),
    )
    images = torch.randn(1, 96, 32, 32)
    with torch.no_grad():
        expected = network(images)
        assert winograd.use_winograd(network, images) == 1
        assert [type(part).__name__ for part in network].index("WinogradConvolution") == 0
        assert (network(images) - expected).abs().max() < 1e-4
        assert winograd.use_winograd(network, images) == 0


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A checkpoint of a network with convolutions that are wide enough for Winograd's algorithm, and its step."""
    folder = tmp_path_factory.mktemp("wide")
    torch.manual_seed(0)
    sizes = {**SMALL, "cell_base_width": 96, "cell_width_increment": 0}
    model = LDEQ(ModelConfig(**sizes), SolverConfig(solver="fpi")).eval()
    with torch.no_grad():
        model.cell.head.conv.weight *= 0.02
    save_checkpoint(folder / "wide.pth.tar", model)
    export.main([f"--landmark_model_weights={folder / 'wide.pth.tar'}", f"--output={folder / 'wide.onnx'}"])
    return folder / "wide.pth.tar", folder / "wide.onnx"


@pytest.mark.slow
@pytest.mark.parametrize("runtime", STEP_RUNTIMES)
def test_a_step_by_winograds_algorithm(wide, runtime):
    """It gives PyTorch's landmarks, face by face and together, says what it is, and is refused in half precision."""
    checkpoint, step = wide
    assert read_description(step).winograd
    assert not read_description(pretrained.bundled_step()).winograd
    z = np.zeros((3, 98, 64, 64), np.float32)
    with torch.no_grad():
        expected = RecurrentStep(ldeq.load_checkpoint(checkpoint))(torch.from_numpy(IMAGES), torch.from_numpy(z))
    compute = STEP_RUNTIMES[runtime](step, "fp32")
    for rows in (slice(0, 3), slice(1, 2)):
        found = compute(IMAGES[rows], z[rows])
        assert np.abs(found.landmarks - expected[0][rows].numpy()).max() * 256 < 0.01
    with pytest.raises(InputError, match="expected"):
        open_network(step, runtime=runtime, precision="bf16")
    assert open_network(step, runtime=runtime, precision="auto").choice == (runtime, "fp32")


@pytest.mark.slow
def test_half_precisions_have_a_step_of_plain_convolutions(wide, run_script, monkeypatch, tmp_path):
    """Also where the one in float32 is there already. It is made once."""
    checkpoint, step = wide
    monkeypatch.setenv("LDEQ_HOME", str(tmp_path))
    settings = SolveSettings()
    digest = sha256_of(checkpoint)[:32]
    kept = tmp_path / "steps" / f"{digest}-1-2.onnx"
    kept.parent.mkdir()
    shutil.copy(step, kept)
    assert exported.exported_step(checkpoint, settings).path == kept
    assert exported.kept_step(checkpoint, settings, "bf16") is None
    half = exported.exported_step(checkpoint, settings, "bf16")
    assert half.path != kept
    assert not half.description.winograd
    assert exported.kept_step(checkpoint, settings, "fp16") == half
    # A network whose float32 step has plain convolutions needs no other, in the cache or as part of the package.
    shutil.copy(half.path, kept)
    half.path.unlink()
    for of, place in ((checkpoint, kept), (pretrained.path_of("synthetic"), pretrained.bundled_step())):
        found = exported.kept_step(of, settings, "bf16")
        assert found is not None
        assert found.path == place


@pytest.mark.slow
def test_winograds_algorithm_is_left_where_it_is_not_exact_enough(wide, run_script, monkeypatch, tmp_path):
    monkeypatch.setattr(winograd, "POINTS", {3: winograd.POINTS[3], 5: (0, 1, 2, 3, 4, 5, 6)})
    flags = [f"--landmark_model_weights={wide[0]}", f"--output={tmp_path / 'step.onnx'}"]
    status, out, err = run_script(export.main, *flags, "--last_step=false")
    assert status == 0
    assert "by Winograd's algorithm the exported step's landmarks differ" in err
    assert "Winograd" not in out
    assert not read_description(tmp_path / "step.onnx").winograd
    assert [path.name for path in tmp_path.iterdir()] == ["step.onnx"]


def test_winograds_algorithm_is_not_for_half_precision(run_script, tmp_path):
    flags = [f"--output={tmp_path / 'step.onnx'}", "--precision=fp16", "--winograd"]
    assert_refused(run_script(export.main, *flags), "--winograd true", "fp16", "expected")


def test_a_pytorch_that_cannot_export(run_script, monkeypatch, tmp_path):
    def fails(*_, **__):
        raise torch.onnx.OnnxExporterError("Failed to decompose the FX graph")

    monkeypatch.setattr(torch.onnx, "export", fails)
    output = tmp_path / "step.onnx"
    assert_refused(run_script(export.main, f"--output={output}"), "cannot write this as ONNX", "expected 2.8 or newer")
    assert not output.exists()


@pytest.mark.slow
def test_no_file_of_landmarks_that_are_not_finite(run_script, tmp_path, monkeypatch):
    """A weight beyond half precision. While the graph is made the folder has nothing that a kill would leave."""
    model = tiny(tmp_path / "net.pth.tar", SolverConfig(solver="fpi"))
    with torch.no_grad():
        model.cell.head.conv.weight.view(-1)[0] = 1e5
    save_checkpoint(tmp_path / "net.pth.tar", model)
    made, seen = torch.onnx.export, []

    def spied(*arguments, **options):
        seen.extend(path.name for path in (tmp_path / "out").iterdir())
        return made(*arguments, **options)

    monkeypatch.setattr(torch.onnx, "export", spied)
    flags = [f"--landmark_model_weights={tmp_path / 'net.pth.tar'}", f"--output={tmp_path / 'out' / 'step.onnx'}"]
    assert_refused(
        run_script(export.main, *flags, "--precision=fp16", "--last_step=false"),
        "net.pth.tar",
        "by nan pixels",
        "expected",
    )
    assert seen == list((tmp_path / "out").iterdir()) == []


def test_an_export_takes_the_place_of_no_checkpoint(run_script, weights, tmp_path):
    checkpoint = tmp_path / "small.pth.tar"
    before = checkpoint.read_bytes()
    os.link(checkpoint, tmp_path / "step.onnx")
    for given in (weights, f"--landmark_model_weights={tmp_path / 'step.onnx'}"):
        outcome = run_script(export.main, given, f"--output={tmp_path / 'step.onnx'}")
        assert_refused(outcome, "step.onnx: is the checkpoint itself")
    assert checkpoint.read_bytes() == before


def test_exports_that_cannot_be_written(run_script, weights, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: pytest.fail("before anything takes long"))
    outcome = run_script(export.main, weights, f"--output={tmp_path / 'file' / 'step.onnx'}")
    assert_refused(outcome, "step.onnx: cannot be written")
    monkeypatch.setattr(export, "MOST_BYTES", 1000)
    outcome = run_script(export.main, weights, f"--output={tmp_path / 'step.onnx'}")
    assert_refused(outcome, "small.pth.tar: has", "of weights, expected less than 2 GB")


@pytest.mark.parametrize(
    ("weights", "flags", "sentence"),
    [
        ("broyden", [], "Broyden's method updates a memory as the data say"),
        ("anderson", ["--iterations=2"], "Anderson acceleration stops, and chooses among its 2 iterates"),
        ("fpi", ["--iterations=0"], "--iterations"),
        ("fpi", ["--precision=bf16"], "--precision"),
        ("missing", [], "no such file"),
    ],
)
def test_what_cannot_be_exported_is_said_in_a_sentence(weights, flags, sentence, run_script, tmp_path):
    output = tmp_path / "step.onnx"
    output.write_text("as it was")
    words = [f"--landmark_model_weights={GOLDEN / weights}.pth.tar", f"--output={output}", *flags]
    status, _, err = run_script(export.main, *words)
    assert status == 2
    assert sentence in err
    assert err.count("\n") == 1
    assert output.read_text() == "as it was"
    assert [path.name for path in tmp_path.iterdir()] == ["step.onnx"]


def test_an_output_must_be_an_onnx_file(run_script, tmp_path):
    for output in (tmp_path / "step.pt", tmp_path):
        status, _, err = run_script(export.main, f"--output={output}")
        assert status == 2
        assert str(output) in err


def test_files_that_are_no_steps(tmp_path):
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")]
    other = onnx.helper.make_model(
        onnx.helper.make_graph([node], "g", values[:1], values[1:]), opset_imports=[onnx.helper.make_opsetid("", 18)]
    )
    other.ir_version = 8
    onnx.save(other, tmp_path / "other.onnx")
    unnamed = onnx.load(pretrained.bundled_step())
    del unnamed.metadata_props[:]
    onnx.save(unnamed, tmp_path / "unnamed.onnx")
    told = {entry.key: entry.value for entry in onnx.load(pretrained.bundled_step()).metadata_props}
    wider = json.dumps(json.loads(told["model_config"]) | {"z_width": 110})
    for key, value in (("model_config", wider), ("iterations", "-1"), ("iterations", "1" * 99), ("precision", "int4")):
        edited = onnx.load(pretrained.bundled_step())
        del edited.metadata_props[:]
        onnx.helper.set_model_props(edited, told | {key: value})
        onnx.save(edited, tmp_path / f"{key}{value[:2]}.onnx")
    for name, type, shape in (("type", onnx.TensorProto.FLOAT, ["batch", 256, 256, 3]), ("batch", 2, [1, 256, 256, 3])):
        edited = onnx.load(pretrained.bundled_step())
        edited.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("image", type, shape))
        onnx.save(edited, tmp_path / f"{name}.onnx")
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "cut.onnx").write_bytes(pretrained.bundled_step().read_bytes()[:100_000])
    shutil.copy(pretrained.path_of("synthetic"), tmp_path / "checkpoint.onnx")
    for path in [*tmp_path.iterdir(), tmp_path / "missing.onnx"]:
        with pytest.raises(InputError, match="expected") as caught:
            ldeq.landmarks(bundled.WFLW / "test" / "0.jpg", weights=path)
        assert path.name in str(caught.value)


# -- runtimes ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["anderson", "fpi", "explicit"])
def test_golden_figures_of_each_runtime(name, golden_cli, run_script, tmp_path):
    expected = golden_cli["wflw_v"][f"{name}/hard/rwr=1"]
    for runtime in STEP_RUNTIMES:
        flags = [
            f"--landmark_model_weights={GOLDEN / name}.pth.tar",
            f"--WFLW_V_dataset_path={GOLDEN / 'WFLW_V'}",
            "--rwr=true",
            f"--runtime={runtime}",
            f"--output_dir={tmp_path / runtime}",
        ]
        status, _, err = run_script(test_LDEQ_WFLW_V.main, *flags)
        assert status == 0
        # Once, for both.
        assert err.count("exported") == (runtime == next(iter(STEP_RUNTIMES)))
        found = json.loads((tmp_path / runtime / "results.json").read_text())
        assert found["environment"]["runtime"].lower().replace(" ", "").startswith(runtime)
        assert found["NME"] == pytest.approx(expected["NME"], rel=1e-4)
        assert found["NMF"] == pytest.approx(expected["NMF"], rel=1e-3)
        for id, figures in expected["videos"].items():
            assert found["videos"][id]["NMF"] == pytest.approx(figures["NMF"], rel=1e-3)


@pytest.mark.parametrize("runtime", STEP_RUNTIMES)
def test_streams_share_a_batch(runtime):
    """Faces come, go, change places and start anew; each has what it has by itself, and what PyTorch gives it."""
    settings = SolveSettings()
    network = open_network("synthetic", runtime=runtime, settings=settings).network
    torch_landmarker = TorchLandmarker(RecurrentLDEQ(LDEQ.from_pretrained()))
    together = network.landmarker(settings)
    alone = {face: network.landmarker(settings) for face in "abc"}
    steps = ["ab", "ba", "abc", "c", "ca", "bca"]
    for number, faces in enumerate(steps):
        if number == 4:
            for landmarker in (together, alone["c"], torch_landmarker):
                landmarker.restart("c", "nobody")
        shown = crops(IMAGES[["abc".index(face) for face in faces]])
        found, by_torch = together.locate(shown, faces), torch_landmarker.locate(shown, faces)
        for row, face in enumerate(faces):
            single = alone[face].locate([shown[row]], [face])
            assert np.abs(found.points[row] - single.points[0]).max() < 1e-5
        assert np.abs(found.points - by_torch.points).max() < 2e-5
        assert np.abs(found.uncertainty - by_torch.uncertainty).max() < 2e-5
        assert len(found.solves) == len(faces)
    assert together.tally.n_solved == torch_landmarker.tally.n_solved == sum(map(len, steps))


def test_own_solves_end_where_those_of_pytorch_do():
    """A first frame, and every one without RwR, by the network's own settings: within their tolerance."""
    image = np.asarray(ldeq.landmarks(bundled.WFLW / "test" / "0.jpg").bbox)  # a face is found
    assert len(image) == 1
    for settings in (SolveSettings(rwr=False), SolveSettings(full_first_solve=True)):
        found = {}
        for runtime in ("torch", "onnxruntime"):
            network = open_network("synthetic", runtime=runtime, settings=settings).network
            landmarker = network.landmarker(settings)
            shown = [FaceCrop(_face(), np.eye(2, 3)), *crops(IMAGES[:1])]
            found[runtime] = [landmarker.locate(shown[:1], ["a"]), landmarker.locate(shown, ["a", "b"])]
            assert landmarker.tally.n_not_finite == 0
        for ours, theirs in zip(found["onnxruntime"], found["torch"], strict=True):
            assert np.abs(ours.points[0] - theirs.points[0]).max() * 256 < 0.2
            assert np.median(np.abs(ours.points - theirs.points)) * 256 < 0.05


def _face():
    import cv2

    return cv2.cvtColor(cv2.imread(str(bundled.WFLW / "test" / "0.jpg")), cv2.COLOR_BGR2RGB)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"runtime": "tensorrt"}, "runtime = 'tensorrt', expected one of auto, torch, onnxruntime, openvino"),
        ({"runtime": "onnxruntime", "precision": "bf16"}, "float32"),
        ({"runtime": "onnxruntime", "device": "cuda"}, "runs on the CPU"),
        ({"runtime": "torch", "weights": pretrained.bundled_step()}, "is an exported step"),
        ({"runtime": "onnxruntime", "weights": GOLDEN / "broyden.pth.tar"}, "Broyden"),
        ({"precision": "int4"}, "precision = 'int4'"),
        ({"weights": None}, "weights = None"),
        ({"weights": b"synthetic"}, "weights = b'synthetic'"),
        ({"weights": pretrained.bundled_step(), "rwr_max_iters": 2}, "its graph makes 1 iteration with the last step"),
    ],
)
def test_what_does_not_go_together(arguments, sentence):
    with pytest.raises(InputError, match="expected") as caught:
        ldeq.landmarks(bundled.WFLW / "test" / "0.jpg", **arguments)
    assert sentence in str(caught.value)


def test_evaluation_of_frames_by_themselves_needs_pytorch(run_script, tmp_path):
    status, _, err = run_script(test_LDEQ_WFLW_V.main, "--runtime=onnxruntime", f"--output_dir={tmp_path / 'out'}")
    assert status == 2
    assert "--rwr" in err
    assert not (tmp_path / "out").exists()


def test_landmarks_that_are_not_finite_are_an_error():
    description = read_description(pretrained.bundled_step())

    def broken(images, z):
        result = onnxruntime_step(pretrained.bundled_step())(images, z)
        result.landmarks[0, 0] = np.nan
        result.z[0, 0] = np.inf
        return result

    for settings in (SolveSettings(), SolveSettings(rwr=False)):
        with warnings.catch_warnings(action="error"), pytest.raises(NotFiniteError):
            StepLandmarker(broken, description, settings).locate(crops(), "abc")


WORKS_WITHOUT = """
import ldeq
image, clip, step = {image!r}, {clip!r}, {step!r}
result = ldeq.landmarks(clip, smoothing=True)
assert result.landmarks.shape == (60, 98, 2), result
assert len(ldeq.landmarks(image, weights=step, rwr=False)) == 1
from ldeq.predict import main
main([image, clip, "--output_dir", {out!r}])
for arguments in ({{"runtime": "torch"}}, {{"weights": {checkpoint!r}}}, {{"rwr_max_iters": 3}}, {{"device": "cuda"}}):
    try:
        ldeq.landmarks(image, **arguments)
    except ldeq.InputError as error:
        assert 'pip install "ldeq[torch]"' in str(error), error
    else:
        raise AssertionError(arguments)
for name in ("LDEQ", "RecurrentLDEQ", "load_checkpoint"):
    try:
        getattr(ldeq, name)
    except ImportError as error:
        assert 'pip install "ldeq[torch]"' in str(error), error
    else:
        raise AssertionError(name)
print([name for name in ("torch", "onnx", "matplotlib", "pandas") if name in sys.modules])
"""


def test_video_works_without_pytorch(tmp_path):
    code = WITHOUT_TORCH + WORKS_WITHOUT.format(
        image=str(bundled.WFLW / "test" / "0.jpg"),
        clip=str(CLIP),
        step=str(pretrained.bundled_step()),
        checkpoint=str(GOLDEN / "broyden.pth.tar"),  # which nothing has exported
        out=str(tmp_path / "out"),
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    run = json.loads((tmp_path / "out" / CLIP.stem / "run.json").read_text())
    assert run["n_frames_with_faces"] == 60
    assert run["weights_sha256"] == sha256_of(pretrained.path_of("synthetic"))
    assert run["environment"]["runtime"].startswith(("ONNX Runtime", "OpenVINO"))
    assert "torch" not in run["environment"]


# -- the choice --------------------------------------------------------------------------------------------------------


class Made:
    """A network that takes so many milliseconds a frame, by a clock of its own, and is so many pixels off."""

    def __init__(self, clock, milliseconds, off):
        self.clock, self.milliseconds, self.off = clock, milliseconds, off

    def landmarker(self, settings, on_solve=None):
        return self

    def locate(self, crops, faces):
        self.clock.now += self.milliseconds / 1e3
        if np.isnan(self.off):
            raise NotFiniteError("the network's landmarks are not finite, expected weights that fit the precision")
        return CropLandmarks(np.full((1, 98, 2), self.off / 256), np.zeros((1, 98)))


class Clock:
    now = 0.0

    def perf_counter(self):
        return self.now


def test_the_fastest_that_is_exact_enough_is_chosen_and_remembered(monkeypatch, tmp_path):
    monkeypatch.setenv("LDEQ_HOME", str(tmp_path))
    clock, made = Clock(), []
    monkeypatch.setattr(measurement, "time", clock)

    def candidates(**figures):
        def make(name, milliseconds, off):
            made.append(name)
            if milliseconds is None:
                raise InputError("this CPU has no such arithmetic, expected fp32")
            return Made(clock, milliseconds, off)

        return [
            measurement.Candidate(name.partition("_")[0], name.partition("_")[2], lambda n=name, f=f: make(n, *f))
            for name, f in figures.items()
        ]

    def chosen(digest, device="cpu", **figures):
        return measurement.fastest(candidates(**figures), SolveSettings(), digest, device)[0].name

    assert chosen("1", onnxruntime_fp32=(20, 0), openvino_fp32=(15, 0)) == "openvino fp32"
    assert chosen("2", onnxruntime_fp32=(20, 0), openvino_fp32=(5, 0.1)) == "onnxruntime fp32", "not exact"
    assert chosen("3", onnxruntime_fp32=(20, 0), openvino_bf16=(10, 0.2)) == "openvino bf16"
    assert chosen("4", onnxruntime_fp32=(20, 0), openvino_bf16=(10, 0.7)) == "onnxruntime fp32", "half a pixel"
    assert chosen("5", onnxruntime_fp32=(20, 0), openvino_bf16=(19, 0.2)) == "onnxruntime fp32", "not worth it"
    assert chosen("6", openvino_bf16=(None, 0), torch_bf16=(30, 0)) == "torch bf16"
    n_made = len(made)
    assert chosen("1", onnxruntime_fp32=(1, 0), openvino_fp32=(15, 0)) == "openvino fp32"
    assert len(made) == n_made, "it was measured before"
    started = clock.now
    assert chosen("8", torch_fp32=(100, 0), torch_bf16=(9000, 0)) == "torch fp32"
    assert clock.now - started < 3 * 9, "emulated arithmetic is not waited for"
    with monkeypatch.context() as other_machine:
        other_machine.setattr(measurement, "cpu_features", lambda: ["avx2"])
        assert chosen("1", onnxruntime_fp32=(1, 0), openvino_fp32=(15, 0)) == "onnxruntime fp32", "measured again"
    with pytest.raises(InputError, match="arithmetic"):
        chosen("7", openvino_bf16=(None, 0), torch_bf16=(None, 0))
    assert chosen("9", torch_fp32=(20, 0), torch_bf16=(9, 0)) == "torch bf16"
    assert chosen("9", device="cuda:0", torch_fp32=(9, 0), torch_bf16=(20, 0)) == "torch fp32", (
        "measured on each device"
    )
    assert chosen("10", openvino_fp16=(5, np.nan), torch_fp16=(30, 0)) == "torch fp16", "landmarks that are not finite"
    entry = '{"onnxruntime fp32": %s, "openvino fp32": [1, 0]}'
    key = json.dumps(next(key for key in json.loads((tmp_path / measurement.RECORD).read_text()) if "| 1 |" in key))
    pairs = ("3", "[1]", "[NaN, 0]", "[true, 0]", '["1", 0]', "[-1, 0]", f"[{'9' * 400}, 0]", "[1, 0, 0]")
    wrong = [f'{{"a": NaN, {key}: {entry % pair}}}' for pair in pairs]
    for spoilt in ("", "[]", '{"a": 3}', "{", "\x00", f'{{"a": {"[" * 900}{"]" * 900}}}', *wrong):
        (tmp_path / measurement.RECORD).write_text(spoilt)
        assert chosen("1", onnxruntime_fp32=(1, 0), openvino_fp32=(15, 0)) == "onnxruntime fp32", "measured again"


def test_auto_takes_what_is_installed(monkeypatch):
    here = {"torch", "onnxruntime", "openvino"}
    monkeypatch.setattr(choice, "is_installed", lambda package: package in here)
    monkeypatch.setattr(choice, "fastest", lambda candidates, *_: pytest.fail([c.name for c in candidates]))
    here.remove("openvino")
    assert open_network("synthetic").network.runtime == "onnxruntime"
    opened = open_network(GOLDEN / "broyden.pth.tar")
    assert opened.network.runtime == "torch"
    assert "exports" not in opened.describe()
    opened = open_network("synthetic", settings=SolveSettings(max_iters=2))
    assert opened.network.runtime == "torch"
    # It has no exported step of two iterations yet, and can have one.
    assert "--runtime onnxruntime exports the network once" in opened.describe()
    assert "exports" not in open_network("synthetic", runtime="torch").describe()
    assert open_network("synthetic", settings=SolveSettings(stop_criterion="batch")).network.runtime == "torch"
    assert open_network("synthetic", precision="bf16").network.runtime == "torch"
    here.remove("torch")
    with pytest.raises(InputError, match="needs OpenVINO or PyTorch"):
        open_network("synthetic", precision="bf16")
    monkeypatch.setattr(pretrained, "download", lambda *_: pytest.fail("what cannot be used"))
    for runtime in ("auto", "onnxruntime"):
        with pytest.raises(InputError, match="PyTorch is not installed"):
            open_network("wflw", runtime=runtime)


def test_a_runtime_that_cannot_be_loaded(monkeypatch, tmp_path):
    (tmp_path / "openvino.py").write_text('raise ImportError("libtbb.so.12: cannot open shared object file")')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "openvino", raising=False)
    monkeypatch.setenv("LDEQ_HOME", str(tmp_path))
    assert open_network("synthetic").network.runtime == "onnxruntime"
    with pytest.raises(InputError, match=r"OpenVINO cannot be loaded \(libtbb.so.12"):
        open_network("synthetic", runtime="openvino")


def test_another_networks_step_in_the_cache_is_not_taken(quick_weights, monkeypatch, tmp_path):
    monkeypatch.setenv("LDEQ_HOME", str(tmp_path))
    kept = tmp_path / "steps" / f"{sha256_of(quick_weights)[:32]}-1-2.onnx"
    kept.parent.mkdir()
    shutil.copy(pretrained.bundled_step(), kept)
    assert open_network(quick_weights).network.runtime == "torch"
    kept.unlink()
    kept.symlink_to(kept)
    assert open_network(quick_weights).network.runtime == "torch"


def test_threads_are_those_of_the_environment(monkeypatch):
    from ldeq.torchrun import n_threads

    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert n_threads() == 3
    for word in ("", "0", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", word)
        assert n_threads() == len(os.sched_getaffinity(0))
