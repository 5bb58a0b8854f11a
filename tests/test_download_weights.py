"""Checkpoints by name: downloaded from where they are published, over loopback, and used by the evaluation."""

import shutil
from pathlib import Path

import pytest

import test_LDEQ_WFLW
from ldeq import LDEQ, InputError, load_checkpoint, pretrained
from ldeq.fetch import RetryPolicy
from ldeq.files import sha256_of_bytes
from tests.conftest import GOLDEN, assert_refused
from tests.loopback import Answer, make_certificate, serving
from tests.test_download_wflw_v import serve_drive_file
from utils import download_weights

FILE_ID = "1abcdefghijklmnopqrstuvwxyz_-"
FAST = ("--retry_delay=0.01", "--timeout=3")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LDEQ_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"


@pytest.fixture
def sources(tmp_path):
    """A file of other addresses, and the server that they are on."""
    with serving() as server:
        path = tmp_path / "sources.json"
        path.write_text(f'{{"wflw": "{server.url}/final.pth.tar"}}')
        yield server, path


def test_from_another_address_and_into_the_evaluation(sources, folder, run_script, tmp_path):
    server, path = sources
    evaluate = ("--workers=0", "--split=test_blur", "--landmark_model_weights=wflw", f"--output_dir={tmp_path / 'out'}")
    server.answers["/final.pth.tar"] = Answer((GOLDEN / "anderson.pth.tar").read_bytes(), break_after=9000, n_breaks=1)
    status, out, err = run_script(download_weights.main, "wflw", f"--sources={path}", *FAST)
    assert (status, err) == (0, "")
    assert "wflw  downloaded" in out
    assert [path.name for path in folder.iterdir()] == ["wflw.pth.tar"]
    status, out, _ = run_script(test_LDEQ_WFLW.main, *evaluate)
    assert status == 0
    assert str(folder / "wflw.pth.tar") in out

    server.requests.clear()
    status, out, _ = run_script(download_weights.main, "wflw", f"--sources={path}")
    assert status == 0
    assert "there already" in out
    assert not server.requests


@pytest.mark.parametrize(
    ("answer", "named"),
    [(Answer(b"<html>no</html>"), "expected a checkpoint"), (Answer(b"", status=404), "404")],
)
def test_what_is_no_checkpoint_gets_no_name(answer, named, sources, folder, run_script):
    server, path = sources
    server.answers["/final.pth.tar"] = answer
    err = assert_refused(run_script(download_weights.main, "wflw", f"--sources={path}", *FAST), named, server.url)
    assert "/tmp/ldeq-" not in err
    assert not folder.exists() or not list(folder.iterdir())


def test_a_checkpoint_is_what_it_was_at_its_first_download(sources, folder, run_script):
    server, path = sources
    first, other = ((GOLDEN / f"{name}.pth.tar").read_bytes() for name in ("anderson", "fpi"))
    fetch = ("wflw", f"--sources={path}", *FAST)
    kept, record = folder / "wflw.pth.tar", folder.parent / "download_sha256.txt"
    server.answers["/final.pth.tar"] = Answer(first)
    assert run_script(download_weights.main, *fetch)[0] == 0
    assert record.read_text() == f"{sha256_of_bytes(first)}  weights/wflw.pth.tar\n"

    kept.unlink()
    server.answers["/final.pth.tar"] = Answer(other)
    digests = (sha256_of_bytes(first), sha256_of_bytes(other))
    assert_refused(run_script(download_weights.main, *fetch), server.url, *digests, f"from {record}")
    assert not kept.exists()

    # The same at its use, of a file that has changed since.
    kept.write_bytes(other)
    assert_refused(run_script(download_weights.main, *fetch), kept, *digests, "delete it")
    evaluate = ("--workers=0", "--split=test_blur", "--landmark_model_weights=wflw")
    assert_refused(run_script(test_LDEQ_WFLW.main, *evaluate), kept, *digests)
    with pytest.raises(InputError, match=digests[1]):
        LDEQ.from_pretrained("wflw")
    record.write_text(f"{digests[1]}  weights/wflw.pth.tar\n")
    assert LDEQ.from_pretrained("wflw").solver_config.solver == "fpi"


def test_a_checkpoint_with_wrong_checksums_gets_no_name(sources, folder, run_script):
    """PyTorch would load it."""
    server, path = sources
    content = bytearray((GOLDEN / "anderson.pth.tar").read_bytes())
    content[len(content) // 2] ^= 1
    server.answers["/final.pth.tar"] = Answer(bytes(content))
    assert_refused(run_script(download_weights.main, "wflw", f"--sources={path}", *FAST), server.url, "is damaged")
    assert not list(folder.parent.rglob("*.*"))


def test_a_path_is_a_path(tmp_path):
    for path in ("./wflw", "some/wflw_v", str(tmp_path)):
        assert pretrained.resolve(path, load_checkpoint) == Path(path)


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.delenv("LDEQ_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert pretrained.path_of("wflw") == tmp_path / "xdg" / "ldeq" / "weights" / "wflw.pth.tar"
    monkeypatch.setenv("LDEQ_HOME", str(tmp_path / "home"))
    assert pretrained.path_of("wflw") == tmp_path / "home" / "weights" / "wflw.pth.tar"


def test_weights_of_a_clone_stay_in_use(folder, monkeypatch, tmp_path):
    """Earlier versions put them into ``weights/`` of the clone."""
    monkeypatch.setattr(pretrained, "_PACKAGE", tmp_path / "clone" / "ldeq")
    earlier = tmp_path / "clone" / "weights" / "wflw.pth.tar"
    assert pretrained.path_of("wflw") == folder / "wflw.pth.tar"
    earlier.parent.mkdir(parents=True)
    shutil.copyfile(GOLDEN / "anderson.pth.tar", earlier)
    assert pretrained.path_of("wflw") == earlier
    assert LDEQ.from_pretrained("wflw").solver_config.solver == "anderson"


def test_a_name_is_fetched_at_its_first_use(sources, folder, monkeypatch):
    server, _ = sources
    server.answers["/final.pth.tar"] = Answer((GOLDEN / "fpi.pth.tar").read_bytes())
    monkeypatch.setattr(pretrained, "_published", lambda name, connection: f"{server.url}/final.pth.tar")
    assert LDEQ.from_pretrained("wflw_v").solver_config.solver == "fpi"
    assert (folder / "wflw_v.pth.tar").is_file()
    n_requests = len(server.requests)
    LDEQ.from_pretrained("wflw_v")
    assert len(server.requests) == n_requests

    monkeypatch.setattr(pretrained, "RetryPolicy", lambda: RetryPolicy(0, 0.0))
    server.answers.clear()
    with pytest.raises(InputError, match=server.url):
        LDEQ.from_pretrained("wflw")


def test_the_bundled_network_is_there_without_a_download():
    assert LDEQ.from_pretrained().config.n_keypoints == 98


def test_names_that_are_none(run_script, tmp_path):
    assert_refused(run_script(download_weights.main, "wflw_x"), "wflw_x")
    for source in ("3", '"http://[::1/x"', '"http://x:99999/y"', '"http://x y/z"', '"ftp://x/y"', '"nowhere.pth.tar"'):
        (tmp_path / "sources.json").write_text(f'{{"wflw": {source}}}')
        refused = run_script(download_weights.main, "wflw", f"--sources={tmp_path / 'sources.json'}")
        assert_refused(refused, "sources.json")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_from_the_published_folder_of_google_drive(folder, run_script, tmp_path, monkeypatch):
    """gdown with its real addresses, through a proxy that answers as Google Drive does."""
    certificate = make_certificate(tmp_path, ["drive.google.com", "drive.usercontent.google.com"])
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with serving(certificate) as server:
        entries = {"final.pth.tar": FILE_ID, "log.txt": f"{FILE_ID}x"}
        links = "".join(
            f'<a href="https://drive.google.com/file/d/{id}/view">{name}</a>' for name, id in entries.items()
        )
        page = f"<html><head><title>WFLW-V</title></head><body>{links}</body></html>"
        folder_id = "1Jo4BCSSZTBM4Ms3Q9L7dyN4QktbpEM5e"
        server.answers[f"//drive.google.com/embeddedfolderview?id={folder_id}"] = Answer(page.encode(), "text/html")
        content = (GOLDEN / "fpi.pth.tar").read_bytes()
        serve_drive_file(server, FILE_ID, content, "final.pth.tar")
        status, out, err = run_script(download_weights.main, "wflw_v", f"--proxy={server.url}", *FAST)
        assert (status, err) == (0, "")
        assert "Using proxy" not in out
        assert (folder / "wflw_v.pth.tar").read_bytes() == content

        server.answers[f"//drive.google.com/embeddedfolderview?id={folder_id}"] = Answer(b"<html></html>", "text/html")
        (folder / "wflw_v.pth.tar").unlink()
        assert_refused(run_script(download_weights.main, "wflw_v", f"--proxy={server.url}", *FAST), folder_id)
