"""Numbers of every command: what is beyond any use is refused at once, by its name, and not tried."""

import dataclasses
import importlib
import re
from pathlib import Path

import numpy as np
import pytest

import ldeq
from ldeq import GradientConfig, InputError, ModelConfig, SolverConfig
from ldeq.command_line import ArgumentParser, boolean
from ldeq.face.given import bboxes_from_array
from ldeq.face.settings import TrackingSettings
from ldeq.fields import in_words, kind, setting_of
from ldeq.files import read_archive, read_array
from tests.conftest import assert_refused
from utils.engine.settings import Settings

#: Commands with numbers among their flags, and how many.
COMMANDS = {
    "test_LDEQ_WFLW": 2,
    "test_LDEQ_WFLW_V": 3,
    "ldeq.predict": 8,
    "train_LDEQ": 61,
    "datasets.synthetic.__main__": 10,
    "datasets.crop_WFLW": 1,
    "datasets.wflw.__main__": 1,
    "datasets.wflw_v.__main__": 1,
    "utils.download_WFLW_V": 6,
    "utils.download_weights": 5,
    "benchmarks.speed": 3,
    "benchmarks.low_precision": 1,
    "ldeq.runtime.export": 1,
    "benchmarks.startup": 1,
    "benchmarks.street": 2,
    "benchmarks.detection": 2,
    "benchmarks.video": 2,
    "benchmarks.layout": 2,
    "benchmarks.gpu": 2,
    "benchmarks.bookkeeping": 2,
    "benchmarks.faces": 3,
    "benchmarks.memory": 4,
    "benchmarks.processes": 2,
    "benchmarks.faults.__main__": 4,
    "benchmarks.gradients": 4,
    "benchmarks.photographs": 3,
    "benchmarks.people": 3,
    "benchmarks.study_rwr": 3,
    "assets.make_assets": 1,
}
ABSURD = ("1e308", "-1e308", "nan", "inf", "-inf", str(10**19), str(-(10**19)), "9" * 5000)
ABSURD_RATES = [word for word in ABSURD if word != str(10**19)]
CONFIGS = (*(field.type for field in dataclasses.fields(Settings)), TrackingSettings)


@pytest.fixture
def parser_of(monkeypatch):
    """The parser that a command's main function makes."""

    def find(main):
        class Found(Exception):
            pass

        def parse(parser, arguments=None):
            raise Found(parser)

        monkeypatch.setattr(ArgumentParser, "parse", parse)
        with pytest.raises(Found) as found:
            main([])
        monkeypatch.undo()
        return found.value.args[0]

    return find


@pytest.mark.parametrize("command", COMMANDS)
def test_every_numeric_flag_has_bounds(command, run_script, parser_of):
    main = importlib.import_module(command).main
    parser = parser_of(main)
    # All whose words are read as something else than words.
    numeric = [action for action in parser._actions if action.type not in (None, str, boolean, Path)]
    assert len(numeric) >= COMMANDS[command]
    for action in numeric:
        flag = action.option_strings[0]
        # A learning rate may be so large that training diverges, which the run itself says.
        for word in ABSURD if flag != "--lr" else ABSURD_RATES:
            err = assert_refused(run_script(main, f"{flag}={word}"), f"argument {flag}")
            assert len(err) < 500
        if action.help and flag not in ("--limit-rate", "--points"):  # whose words are of another form
            described = parser._get_formatter()._expand_help(action)
            assert re.search(r"from -?[\d,.e]+ to [\d,.e+]+|more than \S+ and at most [\d,.e+]+", described), described


@pytest.mark.parametrize("cls", CONFIGS)
def test_every_number_of_a_configuration_has_bounds(cls):
    for field in dataclasses.fields(cls):
        if kind(field) not in ("int", "float"):
            continue
        about = setting_of(field)
        assert about.low is not None, field.name
        assert about.high is not None, field.name
        assert about.contains(field.default), field.name
        for bound in (about.low, about.high):  # a sentence says the number itself, and not one that is refused
            assert float(in_words(bound).replace(",", "")) == bound, field.name
        for value in (about.low - 1, 2 * about.high + 1, float("nan"), float("inf"), 10**400, "1", None):
            with pytest.raises(InputError, match=rf"{field.name} = .*, expected"):
                cls(**{**USEFUL.get(cls, {}), field.name: value})


USEFUL = {Settings.__dataclass_fields__["data"].type: {"synthetic": True}}


@pytest.mark.parametrize(
    ("cls", "changes"),
    [
        (SolverConfig, {"max_iters": 1000, "anderson_m": 32, "rel_diff_target": 0.0}),
        (ModelConfig, {"injection_width": 2048, "z_width": 512}),
        (GradientConfig, {"n_probes": 0, "backward_max_iters": 1}),
        (TrackingSettings, {"max_uncertainty": 1, "max_faces": 1000, "min_size": 0}),
    ],
)
def test_bounds_are_among_what_is_taken(cls, changes):
    config = cls(**changes)
    assert {name: getattr(config, name) for name in changes} == changes


@pytest.mark.parametrize(
    "options",
    [
        {"rwr_max_iters": 10**9},
        {"rwr_max_iters": 2.5},
        {"max_faces": 10**9},
        {"detect_every": 1e308},
        {"max_uncertainty": float("nan")},
        {"max_uncertainty": -1e308},
        {"fps": 1e308},
        {"fps": float("nan")},
        {"fps": "fast"},
    ],
)
def test_numbers_of_the_function_have_bounds(options):
    (name,) = options
    with pytest.raises(InputError, match=f"{name} = "):
        ldeq.landmarks(np.zeros((60, 80, 3), np.uint8), **options)


# -- arrays that a user brings -----------------------------------------------------------------------------------------

NO_NUMBERS = {
    "strings": np.full((3, 4), "9"),
    "bytes": np.full((3, 4), b"9"),
    "complex": np.full((3, 4), 9 + 0j),
    "booleans": np.ones((3, 4), bool),
    "dates": np.zeros((3, 4), "datetime64[s]"),
    "durations": np.zeros((3, 4), "timedelta64[s]"),
    "records": np.zeros((3, 4), [("x", "f4")]),
}


@pytest.mark.parametrize("name", NO_NUMBERS)
def test_arrays_of_no_numbers(name, run_script, tmp_path):
    import predict_video
    from utils import bundled

    array, path = NO_NUMBERS[name], tmp_path / "boxes.npy"
    with pytest.raises(InputError, match="bboxes: has elements of type"):
        bboxes_from_array(array, "bboxes")
    np.save(path, array)
    with pytest.raises(InputError, match=r"boxes\.npy: cannot be read \(elements of type .*\), expected a NumPy array"):
        read_array(path)
    np.savez(tmp_path / "boxes.npz", frame=[0, 1, 2], face_id=[1, 1, 1], bbox=array)
    with pytest.raises(InputError, match=r"boxes\.npz: cannot be read \(bbox with elements of type"):
        read_archive(tmp_path / "boxes.npz", ("frame", "bbox"), "boxes")
    if name in ("strings", "complex"):
        clip = bundled.WFLW_V / "videos" / "portrait-pan.mp4"
        for file in (path, tmp_path / "boxes.npz"):
            outcome = run_script(predict_video.main, clip, f"--bboxes={file}", f"--output_dir={tmp_path / 'out'}")
            assert_refused(outcome, file)


@pytest.mark.parametrize("values", [[[1, 2, 3, 4], [1, 2]], [[None] * 4], [["1", "2", "3", "4"]], [[1, 2, 3j, 4]]])
def test_lists_of_no_boxes(values):
    with pytest.raises(InputError, match=r"bboxes: .*expected numbers"):
        ldeq.landmarks(np.zeros((60, 80, 3), np.uint8), bboxes=values)


def test_an_array_that_promises_more_than_its_file_holds(tmp_path):
    path = tmp_path / "boxes.npy"
    with path.open("wb") as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": (10**12, 4)}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(64))
    with pytest.raises(InputError, match=r"boxes\.npy: cannot be read"):
        read_array(path)
    np.save(path, np.zeros((0, 4)))
    assert read_array(path).shape == (0, 4)
