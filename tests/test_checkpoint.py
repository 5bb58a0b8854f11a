"""The published checkpoint format, read and written."""

import argparse
import pickle
import zipfile
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

import pytest
import torch

from ldeq import InputError, load_checkpoint, save_checkpoint
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
