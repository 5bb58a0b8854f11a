"""The published checkpoint format, read and written."""

import argparse
import copy
import pickle
import subprocess
import sys
import warnings
import zipfile
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

import numpy as np
import pytest
import torch

from ldeq import LDEQ, InputError, ModelConfig, load_checkpoint, save_checkpoint
from tests.conftest import GOLDEN, make_small_model, random_images


@pytest.fixture
def content():
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(GOLDEN / "fpi.pth.tar", weights_only=True)


def save(content, tmp_path):
    torch.save(content, tmp_path / "final.pth.tar")
    return tmp_path / "final.pth.tar"


def test_settings_are_those_of_args(content):
    model = load_checkpoint(GOLDEN / "fpi.pth.tar")
    for config in (model.config, model.solver_config):
        for name in vars(content["args"]):
            if hasattr(config, name):
                assert getattr(config, name) == getattr(content["args"], name), name
    assert not model.training
    assert model.solver_config.stop_criterion == "sample"


@pytest.mark.parametrize("changes", [{}, {"model_mode": "explicit", "explicit_depth": 2}, {"cell_norm": "None"}])
@torch.no_grad()
def test_what_is_saved_loads_the_same(changes, tmp_path):
    model = make_small_model(**changes)
    save_checkpoint(tmp_path / "a" / "final.pth.tar", model, epoch=3)
    loaded = load_checkpoint(tmp_path / "a" / "final.pth.tar")
    assert (loaded.config, loaded.solver_config) == (model.config, model.solver_config)
    images = random_images(1)
    torch.testing.assert_close(loaded(images).keypoints, model(images).keypoints, rtol=0, atol=0)
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["final.pth.tar"]


def test_our_files_have_every_field_of_the_published_ones(content, tmp_path):
    save_checkpoint(tmp_path / "ours.pth.tar", make_small_model())
    with torch.serialization.safe_globals([argparse.Namespace]):
        ours = torch.load(tmp_path / "ours.pth.tar", weights_only=True)
    assert set(vars(content["args"])) <= set(vars(ours["args"]))
    assert set(content["state_dict"]) == set(ours["state_dict"])


def test_more_keys_are_ignored(content, tmp_path):
    content |= {"optimizer": {"state": [torch.zeros(2)]}, "best": 1.0}
    content["args"].something_else = "x"
    load_checkpoint(save(content, tmp_path))


def test_a_missing_z_width_is_made_of_the_latent_width(content, tmp_path):
    del content["args"].z_width
    load_checkpoint(save(content, tmp_path))
    content["args"].cell_extra_latent_width = 4
    with pytest.raises(InputError, match=r"\(16, 134, 1, 1\)"):
        load_checkpoint(save(content, tmp_path))


def test_explicit_checkpoints_need_no_solver(tmp_path):
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(GOLDEN / "explicit.pth.tar", weights_only=True)
    for name in ("solver", "max_iters", "stop_mode", "rel_diff_target", "abs_diff_target", "anderson_m"):
        delattr(content["args"], name)
    load_checkpoint(save(content, tmp_path))


def test_fpi_needs_none_of_andersons_settings(content, tmp_path):
    for name in ("anderson_m", "anderson_lam", "anderson_beta", "abs_diff_target", "explicit_depth"):
        delattr(content["args"], name)
    load_checkpoint(save(content, tmp_path))


def drop_weight(content):
    del content["state_dict"]["tail.0.conv.weight"]


def reshape_weight(content):
    content["state_dict"]["deq_layer.cell.head.conv.bias"] = torch.zeros(97)


def spoil_weight(content):
    content["state_dict"]["deq_layer.cell.head.conv.bias"] = "none"


def break_weight(content):
    content["state_dict"]["deq_layer.cell.head.conv.bias"][3] = torch.nan


def spoil_latent(content):
    del content["args"].z_width
    content["args"].cell_extra_latent_width = "4"


def drop_field(content):
    del content["args"].cell_norm


def spoil_field(content):
    content["args"].solver = "newton"


def drop_args(content):
    del content["args"]


def spoil_state(content):
    content["state_dict"] = [1, 2]


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (drop_weight, r"lacks tail\.0\.conv\.weight"),
        (reshape_weight, r"deq_layer\.cell\.head\.conv\.bias.*\(97,\).*\(98,\)"),
        (spoil_weight, r"deq_layer\.cell\.head\.conv\.bias.*str"),
        (break_weight, r"deq_layer\.cell\.head\.conv\.bias.*not finite"),
        (spoil_latent, "cell_extra_latent_width"),
        (drop_field, "lacks cell_norm"),
        (spoil_field, "solver = 'newton'.*one of fpi, anderson, broyden"),
        (drop_args, "no 'args'"),
        (spoil_state, "'state_dict' is a list"),
    ],
)
def test_what_does_not_fit_is_named(damage, named, content, tmp_path):
    damage(content)
    path = save(content, tmp_path)
    with pytest.raises(InputError, match=named) as refused:
        load_checkpoint(path)
    assert str(path) in str(refused.value)


def test_other_classes_are_refused_by_name_unless_trusted(content, tmp_path):
    content["where"] = PurePosixPath("/tmp")
    path = save(content, tmp_path)
    with pytest.raises(InputError, match=r"pathlib\.PurePosixPath.*trust_pickle"):
        load_checkpoint(path)
    load_checkpoint(path, trust_pickle=True)


def test_refused_code_does_not_run(tmp_path):
    marker = tmp_path / "ran"

    class Touch:
        def __reduce__(self):
            return (exec, (f"open({str(marker)!r}, 'w')",))

    path = save({"args": argparse.Namespace(), "state_dict": OrderedDict(), "evil": Touch()}, tmp_path)
    with pytest.raises(InputError, match="holds exec, which is not loaded"):
        load_checkpoint(path)
    assert not marker.exists()


@pytest.mark.parametrize("module", ["os", "subprocess"])
def test_a_call_of_the_system_is_named_and_not_made(module, tmp_path):
    import importlib

    class Call:
        def __reduce__(self):
            function = {"os": "system", "subprocess": "getoutput"}[module]
            return (getattr(importlib.import_module(module), function), (f"touch {tmp_path / 'ran'}",))

    path = save({"args": Call(), "state_dict": {}}, tmp_path)
    with pytest.raises(InputError, match=r"holds \w+\.(system|getoutput), which is not loaded"):
        load_checkpoint(path)
    assert not (tmp_path / "ran").exists()


def test_loading_leaves_pytorchs_list_of_safe_classes_alone(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    load_checkpoint(GOLDEN / "fpi.pth.tar")
    assert set(torch.serialization.get_safe_globals()) == before
    with torch.serialization.safe_globals([argparse.Namespace]):
        load_checkpoint(GOLDEN / "fpi.pth.tar")
        assert argparse.Namespace in torch.serialization.get_safe_globals()


def test_threads_may_load_at_once():
    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(load_checkpoint, [GOLDEN / "fpi.pth.tar"] * 12))) == 12


@pytest.mark.parametrize(
    "changes",
    [
        {"explicit_depth": None, "cell_use_bn_for_explicit": None},
        {"anderson_m": None, "anderson_lam": "x", "abs_diff_target": float("inf")},
        {"stop_criterion": "something of theirs"},
        {"max_iters": 12.0},
        {"model_mode": "explicit", "cell_use_bn_for_explicit": False, "solver": None, "max_iters": 0},
    ],
)
def test_fields_without_effect_may_hold_anything(changes, content, tmp_path):
    for name, value in changes.items():
        setattr(content["args"], name, value)
    load_checkpoint(save(content, tmp_path))


@pytest.mark.parametrize("damage", ["missing", "folder", "text", "empty", "truncated", "zip", "pickle", "tensor"])
def test_files_that_are_no_checkpoints(damage, tmp_path):
    path = tmp_path / "final.pth.tar"
    if damage == "folder":
        path.mkdir()
    elif damage == "text":
        path.write_text("<html>quota exceeded</html>")
    elif damage == "empty":
        path.touch()
    elif damage == "truncated":
        path.write_bytes((GOLDEN / "fpi.pth.tar").read_bytes()[:500_000])
    elif damage == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.txt", "a")
    elif damage == "pickle":
        path.write_bytes(pickle.dumps({"args": 1}))
    elif damage == "tensor":
        torch.save(torch.zeros(3), path)
    with pytest.raises(InputError, match=r"final\.pth\.tar: .*(expected|cannot be read)"):
        load_checkpoint(path)


def test_an_interrupted_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "final.pth.tar"
    save_checkpoint(path, make_small_model())
    before = path.read_bytes()

    def fail(content, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, make_small_model(seed=1))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


# -- a file asks for no more than it holds -----------------------------------------------------------------------------

HEAD = "deq_layer.cell.head.conv.bias"
#: Sizes and counts that a file of any size can ask for.
SIZES = (
    "injection_width", "cell_base_width", "cell_width_increment", "cell_gn_groups", "z_width", "n_keypoints",
    "heatmap_size", "im_size", "max_iters",
)  # fmt: skip


@pytest.mark.parametrize("size", [16384, 2**30, 2**31 - 1, 10**18])
@pytest.mark.parametrize("name", SIZES)
def test_a_size_beyond_any_use_is_refused(name, size, content, tmp_path):
    setattr(content["args"], name, size)
    with pytest.raises(InputError, match=rf"final\.pth\.tar: {name} = {size}, expected"):
        load_checkpoint(save(content, tmp_path))


@pytest.mark.parametrize(
    ("golden", "name", "size"),
    [
        ("explicit", "explicit_depth", 2**31 - 1),
        ("anderson", "anderson_m", 10**6),
        ("anderson", "max_iters", 10**6),
        ("broyden", "max_iters", 500),
    ],
)
def test_counts_are_bounded_where_they_have_an_effect(golden, name, size, tmp_path):
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(GOLDEN / f"{golden}.pth.tar", weights_only=True)
    setattr(content["args"], name, size)
    with pytest.raises(InputError, match=f"{name} = {size}"):
        load_checkpoint(save(content, tmp_path))


def large_args(content):
    """The args of a network of gigabytes, and its keys."""
    vars(content["args"]).update(injection_width=2048, cell_base_width=2048, cell_width_increment=0, cell_gn_groups=8)
    with torch.device("meta"):
        return LDEQ(ModelConfig.from_namespace(content["args"])).state_dict()


def ask_for_much(content):
    large_args(content)


def repeat_a_number(content):
    """A tensor of any shape on a storage of four bytes."""
    one = torch.ones(1)
    content["state_dict"] = {
        key: one.expand(value.shape) if value.ndim else torch.tensor(0) for key, value in large_args(content).items()
    }


def share_a_storage(content):
    """All tensors are views of the largest one's storage."""
    shapes = {key: value.shape for key, value in large_args(content).items()}
    shared = torch.zeros(1000)
    content["state_dict"] = {
        key: shared.as_strided(shape, [0] * len(shape)) if shape else torch.tensor(0) for key, shape in shapes.items()
    }


def pack(path, n_bytes):
    """The archive once more, compressed, its first record longer by ``n_bytes`` zeros."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, record in records.items():
            with archive.open(name, "w") as file:
                file.write(record)
                for _ in range(n_bytes // 2**20 if name.endswith("data/0") else 0):
                    file.write(bytes(2**20))


MEMORY = """
import resource, sys, torch
from ldeq import InputError, load_checkpoint
load_checkpoint(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[2:]:
    try:
        load_checkpoint(path)
    except InputError as error:
        print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if sys.platform == "darwin" else 1024))
"""


def test_a_refused_file_takes_no_memory(content, tmp_path):
    paths = []
    for change in (ask_for_much, repeat_a_number, share_a_storage, None):
        changed = {**content, "args": copy.copy(content["args"])}
        paths.append(tmp_path / f"{change.__name__ if change else 'pack'}.pth.tar")
        if change:
            change(changed)
        torch.save(changed, paths[-1])
    pack(paths[-1], 2**29)
    assert max(path.stat().st_size for path in paths) < 2**21
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, GOLDEN / "fpi.pth.tar", *paths], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    *sentences, peak = done.stdout.splitlines()
    for sentence, path, named in zip(
        sentences, paths, ["expected (512, 3, 7, 7)", "bytes", "bytes", "compressed"], strict=True
    ):
        assert sentence.startswith(f"{path}: ")
        assert named in sentence
    assert int(peak) < 2**26


# -- weights -----------------------------------------------------------------------------------------------------------


def quantised(tensor):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch moves it elsewhere
        return torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda tensor: tensor.to_sparse(), "sparse"),
        (lambda tensor: tensor[None].to_sparse_csr(), "sparse"),
        (quantised, "quantised"),
        (lambda tensor: tensor.to(torch.float8_e4m3fn), "float8_e4m3fn"),
        (lambda tensor: tensor.to(torch.complex64), "complex64"),
        (lambda tensor: tensor.to(torch.int64), "int64"),
        (lambda tensor: tensor > 0, "bool"),
        (lambda tensor: tensor.to("meta"), "without numbers"),
        (lambda tensor: tensor.double() + 1e300, "not finite"),
        (lambda tensor: [tensor], "list"),
    ],
)
def test_weights_that_are_none_are_named(change, named, content, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch, on the state of its sparse tensors
        content["state_dict"][HEAD] = change(content["state_dict"][HEAD])
    with pytest.raises(InputError, match=rf"{HEAD} in the state_dict is .*{named}"):
        load_checkpoint(save(content, tmp_path))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precisions_load(dtype, content, tmp_path):
    content["state_dict"] = {
        key: value.to(dtype) if value.is_floating_point() else value for key, value in content["state_dict"].items()
    }
    loaded = load_checkpoint(save(content, tmp_path)).state_dict()
    for key, value in content["state_dict"].items():
        torch.testing.assert_close(loaded[key], value.to(loaded[key].dtype), rtol=0, atol=0)
    assert loaded[HEAD].dtype == torch.float32


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.module."])
def test_prefixes_of_wrappers_are_left_out(prefix, content, tmp_path, capsys):
    before = content["state_dict"]
    content["state_dict"] = {prefix + key: value for key, value in before.items()}
    loaded = load_checkpoint(save(content, tmp_path)).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in before.items())
    assert capsys.readouterr().err == ""


def test_a_prefix_of_some_keys_is_an_error(content, tmp_path):
    weights = content["state_dict"]
    weights[f"module.{HEAD}"] = weights.pop(HEAD)
    with pytest.raises(InputError, match=rf"lacks {HEAD} and has unexpected module\.{HEAD}, expected"):
        load_checkpoint(save(content, tmp_path))


def test_keys_without_a_place_are_named_in_one_line(content, tmp_path, capsys):
    path = save(content, tmp_path)
    load_checkpoint(path)
    assert capsys.readouterr().err == ""
    content["state_dict"] |= {"tail.9.conv.weight": torch.zeros(1), 7: "x", b"bytes": 1, "\x1b]52;c;\x07": None}
    load_checkpoint(save(content, tmp_path))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{path}: ")
    assert "tail.9.conv.weight, 7, b'bytes'" in line
    assert line.isprintable()
    content["state_dict"] |= {f"head.{n}": torch.zeros(1) for n in range(40)}
    load_checkpoint(save(content, tmp_path))
    (line,) = capsys.readouterr().err.splitlines()
    assert "head.0 and 39 more" in line


def test_the_count_of_batches_may_be_missing_or_old(content, tmp_path):
    counts = [key for key in content["state_dict"] if key.endswith("num_batches_tracked")]
    content["state_dict"][counts[0]] = content["state_dict"][counts[0]][None]  # as PyTorch 0.3 had it
    for key in counts[1:]:
        del content["state_dict"][key]
    load_checkpoint(save(content, tmp_path))
    content["state_dict"][counts[0]] = torch.zeros(2)
    with pytest.raises(InputError, match=rf"{counts[0]} in the state_dict is \(2,\)"):
        load_checkpoint(save(content, tmp_path))


# -- args --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("take_one_less_inference_step", "True", True),
        ("take_one_less_inference_step", "False", False),
        ("take_one_less_inference_step", None, False),
        ("cell_learn_softargmax_beta", 2, True),
        ("max_iters", torch.tensor(12), 12),
        ("max_iters", True, 1),
        ("rel_diff_target", torch.tensor([0.5]), 0.5),
    ],
)
def test_fields_of_other_types_are_taken_with_a_note(name, value, taken, content, tmp_path, capsys):
    setattr(content["args"], name, value)
    model = load_checkpoint(save(content, tmp_path))
    config = model.config if hasattr(model.config, name) else model.solver_config
    assert getattr(config, name) == taken
    assert f"{name} = " in capsys.readouterr().err


def test_numpy_numbers_of_a_trusted_file(content, tmp_path, capsys):
    numbers = {"max_iters": np.int64(12), "take_one_less_inference_step": np.bool_(True), "n_keypoints": np.array([98])}
    vars(content["args"]).update(numbers)
    path = save(content, tmp_path)
    with pytest.raises(InputError, match=r"numpy\S+, which is not loaded .*trust_pickle"):
        load_checkpoint(path)
    model = load_checkpoint(path, trust_pickle=True)
    assert (model.solver_config.max_iters, model.solver_config.take_one_less_inference_step) == (12, True)
    assert "n_keypoints = array([98]) in args is taken for 98" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "without"),
    [
        ({"z_width": None}, ()),
        ({}, ("im_size",)),
        ({}, ("z0_mode",)),
        ({"cell_norm": "linear"}, ("cell_softargmax_beta", "cell_learn_softargmax_beta")),
        ({"cell_norm": None}, ("cell_learn_softargmax_beta",)),
        ({"max_iters": 30.0, "rel_diff_target": 0}, ()),
        ({"anderson_m": 10**9, "explicit_depth": -1, "abs_diff_target": "x"}, ()),
    ],
)
def test_fields_that_the_published_code_does_not_need(changes, without, content, tmp_path, capsys):
    vars(content["args"]).update(changes)
    for name in without:
        delattr(content["args"], name)
    model = load_checkpoint(save(content, tmp_path))
    assert (model.config.z_width, model.config.im_size) == (98, 256)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "value", [argparse.Namespace(a=1), {"a": []}, torch.zeros(1).expand(10**9), "30", float("nan"), b"\x1b[2J"]
)
def test_fields_of_no_use_are_named(value, content, tmp_path):
    content["args"].max_iters = value
    with pytest.raises(InputError, match=r"max_iters = .*, expected a whole number") as refused:
        load_checkpoint(save(content, tmp_path))
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("args", [{b"max_iters": 3}, argparse.Namespace(args=argparse.Namespace(max_iters=3))])
def test_args_under_other_names_are_lacking(args, content, tmp_path):
    content["args"] = args
    with pytest.raises(InputError, match="args lacks model_mode"):
        load_checkpoint(save(content, tmp_path))


# -- damage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0.05, 0.3, 0.5, 0.8])
def test_a_changed_byte_is_noticed(at, tmp_path):
    damaged = bytearray((GOLDEN / "fpi.pth.tar").read_bytes())
    damaged[int(at * len(damaged))] ^= 1
    path = tmp_path / "final.pth.tar"
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=r"final\.pth\.tar: is damaged, the checksum of \S+ in it is wrong"):
        load_checkpoint(path)


@pytest.mark.parametrize("kept", [3, 5000, -1, -5000])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_that_ends_early_is_noticed(legacy, kept, content, tmp_path):
    path = tmp_path / "final.pth.tar"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    load_checkpoint(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"final\.pth\.tar: cannot be read"):
        load_checkpoint(path)


def test_prefixes_without_an_end_are_keys_of_no_place(content, tmp_path):
    content["state_dict"] = {"module." * 1000 + key: value for key, value in content["state_dict"].items()}
    with pytest.raises(InputError, match=r"the state_dict lacks tail\.0\.conv\.weight") as refused:
        load_checkpoint(save(content, tmp_path))
    assert len(str(refused.value)) < 1000


def test_checkpoints_without_checksums_are_loaded(tmp_path):
    """PyTorch can be told to leave them out, for speed."""
    model = make_small_model()
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        save_checkpoint(tmp_path / "a.pth.tar", model)
    finally:
        torch.serialization.set_crc32_options(before)
    found = load_checkpoint(tmp_path / "a.pth.tar").state_dict()
    assert all(torch.equal(found[key], value) for key, value in model.state_dict().items())
