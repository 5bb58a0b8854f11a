"""README and docs: their commands, snippets, links and names are those of the code, and the notebook runs."""

import argparse
import ast
import importlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from ldeq.command_line import ArgumentParser

REPOSITORY = Path(__file__).resolve().parent.parent
README = REPOSITORY / "README.md"
PAGES = [
    README,
    *sorted((REPOSITORY / "docs").glob("*.md")),
    REPOSITORY / "assets" / "README.md",
    REPOSITORY / "assets" / "weights" / "README.md",
    REPOSITORY / "benchmarks" / "README.md",
]
NOTEBOOK = REPOSITORY / "examples" / "quickstart.ipynb"
#: Before a block of commands that are run; those of the others are parsed.
RUN = "<!-- test: run -->"
#: What the documents call; anything else is not found.
PROGRAMS = ("ldeq-video", "pip", "pytest", "python", "python3", "torchrun")
#: Flags of other programs that the prose speaks of.
FOREIGN_FLAGS = {"--nproc_per_node", "--max_restarts", "--onnx", "--fp16", "--minShapes", "--optShapes", "--maxShapes"}


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    #: Number of its first line in the page, from 1.
    line: int
    runs: bool


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    blocks, lines = [], page.read_text(encoding="utf-8").splitlines()
    opened = None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if opened is None:
            opened = number
            continue
        text = "\n".join(lines[opened + 1 : number])
        blocks.append(Block(lines[opened][3:], text, opened + 2, opened > 0 and lines[opened - 1] == RUN))
        opened = None
    assert opened is None, f"{page}: a block is not closed"
    return blocks


def prose_of(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def inline_code_of(page: Path) -> Iterator[str]:
    for code in re.findall(r"`([^`]+)`", prose_of(page)):
        yield " ".join(code.split())


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that has what a clone has, and takes what commands leave; it is the current one."""
    for entry in REPOSITORY.iterdir():
        if not entry.name.startswith(".") and entry.name != "results":
            (tmp_path / entry.name).symlink_to(entry)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -- commands ---------------------------------------------------------------------------------------------------------


def commands_of(text: str, folder: Path) -> list[list[str]]:
    """The words of each command that a shell would run in the current folder, in order; none of them is run.

    A shell reads the text, so that loops, variables and patterns are what they are.

    Args:
        folder: an empty one, for programs that do nothing but write down their words.
    """
    bash, calls = shutil.which("bash"), folder / "calls"
    assert bash is not None
    calls.touch()
    for name in PROGRAMS:
        words = f"printf '%s\\0' {name} \"$@\"; printf '\\0'"
        (folder / name).write_text(f"#!/bin/sh\n{{ {words}; }} >> '{calls}'\n")
        (folder / name).chmod(0o755)
    environment = Path(".venv/bin")  # what `python3 -m venv .venv` would have made
    environment.mkdir(parents=True, exist_ok=True)
    (environment / "activate").touch()
    done = subprocess.run(
        [bash, "-e", "-c", text], capture_output=True, text=True, env={**os.environ, "PATH": str(folder)}
    )
    assert done.returncode == 0, f"{text}\n{done.stderr}"
    return [call.split("\0") for call in calls.read_text().split("\0\0")[:-1]]


def module_of(words: list[str]) -> tuple[str, list[str]] | None:
    """The module that a command runs and its arguments; None where it is not one of ours."""
    program, *rest = words
    if program == "ldeq-video":
        return "ldeq.predict", rest
    if program == "torchrun":
        rest = rest[next(index for index, word in enumerate(rest) if word.endswith(".py") or word == "-m") :]
    elif program not in ("python", "python3"):
        return None
    if rest[0] == "-m":
        name, rest = rest[1], rest[2:]
        if name == "venv":
            return None
        if name == "ldeq":
            return "ldeq.predict", rest
        is_package = (REPOSITORY / name.replace(".", "/")).is_dir()
        return f"{name}.__main__" if is_package else name, rest
    assert (REPOSITORY / rest[0]).is_file(), f"{rest[0]} is no script of the repository"
    return rest[0].removesuffix(".py").replace("/", "."), rest[1:]


class _Parsing(Exception):
    """Leaves a script where it would parse its command line."""


def parser_of(module: ModuleType) -> ArgumentParser:
    """The parser of a script."""
    if hasattr(module, "make_parser"):
        return module.make_parser()

    def stop(parser: ArgumentParser, arguments: object = None) -> None:
        raise _Parsing(parser)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ArgumentParser, "parse", stop)
        with pytest.raises(_Parsing) as stopped:
            module.main([])
    return stopped.value.args[0]


def check_command(words: list[str], is_whole: bool = True) -> None:
    """Parses a command as its script does.

    Args:
        is_whole: else it is the part that a sentence speaks of, and only its flags are looked at.
    """
    if words[0] == "pip" and "-r" in words:
        assert (REPOSITORY / words[words.index("-r") + 1]).is_file()
    found = module_of(words)
    if found is None:
        return
    name, arguments = found
    parser = parser_of(importlib.import_module(name))
    if not is_whole:
        unknown = [word for word in arguments if word.startswith("--") and word not in parser._option_string_actions]
        assert not unknown, f"{name} does not take {' '.join(unknown)}"
        return
    try:
        parser.parse(arguments)
    except SystemExit:
        pytest.fail(f"{name} does not take {' '.join(arguments)}")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_are_understood_by_their_scripts(page, clone, tmp_path_factory):
    for block in blocks_of(page):
        if block.language == "sh":
            for words in commands_of(block.text, tmp_path_factory.mktemp("shell")):
                check_command(words)
    for code in inline_code_of(page):
        if code.startswith(("python ", "ldeq-video ")) and "…" not in code:
            for words in commands_of(code, tmp_path_factory.mktemp("shell")):
                check_command(words, is_whole=False)


def test_flags_in_the_prose_are_flags_of_a_script():
    modules = {module_of(["python", script.name])[0] for script in REPOSITORY.glob("t*_LDEQ*.py")}
    modules |= {"ldeq.predict", "datasets.crop_WFLW", "datasets.synthetic.__main__"}
    modules |= {"utils.download_WFLW_V", "utils.download_weights", "benchmarks.study_rwr", "benchmarks.layout"}
    modules |= {
        "benchmarks.faults.__main__",
        "benchmarks.gpu",
        "benchmarks.processes",
        "benchmarks.speed",
        "benchmarks.video",
        "benchmarks.winograd",
        "ldeq.runtime.export",
        "benchmarks.photographs",
    }
    parsers: list[argparse.ArgumentParser] = [parser_of(importlib.import_module(name)) for name in sorted(modules)]
    known = FOREIGN_FLAGS.union(*(parser._option_string_actions for parser in parsers))
    named = {flag for page in PAGES for code in inline_code_of(page) for flag in re.findall(r"(?<!\S)--[\w-]+", code)}
    assert named
    assert named - known == set()


def test_the_two_commands():
    section = README.read_text(encoding="utf-8").split("\n## Two commands\n")[1].split("\n## ")[0]
    install = "python3 -m venv .venv && . .venv/bin/activate && pip install -r"
    scripts = "python test_LDEQ_WFLW.py && python test_LDEQ_WFLW_V.py --rwr true --WFLW_V_split all --plot"
    assert re.findall(r"^```sh\n(.*?)\n```$", section, flags=re.MULTILINE | re.DOTALL) == [
        f"{install} requirements.txt && {scripts}",
        f"{install} requirements-dev.txt && pytest",
    ]
    assert section.count("```") == 4


# -- what is run ------------------------------------------------------------------------------------------------------


def check_shapes(block: Block, namespace: dict[str, object]) -> None:
    """Shapes that comments say: ``value  # (10, 98, 2)``, a letter standing for any number; of several values one each,
    or the same of all.
    """
    for line in block.text.splitlines():
        code, _, comment = line.strip().partition("  # ")
        said = re.findall(r"\(([\w, ]+)\)", comment) if comment.strip().startswith("(") else []
        if not said:
            continue
        statement = ast.parse(code.strip()).body[0]
        value = statement.targets[0] if isinstance(statement, ast.Assign) else statement.value
        found = eval(ast.unparse(value), namespace)
        several = found if isinstance(value, ast.Tuple) else [found]
        for one, words in zip(several, said * len(several) if len(said) == 1 else said, strict=False):
            shape = tuple(getattr(one, "shape", one))
            sizes = [word.strip() for word in words.split(",") if word.strip()]
            assert len(shape) == len(sizes), line
            assert all(not size.isdigit() or int(size) == n for size, n in zip(sizes, shape, strict=True)), line


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(block.language == "python" or block.runs for block in blocks_of(page))],
    ids=name_of,
)
def test_snippets_and_commands_run(page, clone, tmp_path_factory):
    """From top to bottom: the snippets in one namespace, the commands in the folder that it works in."""
    namespace: dict[str, object] = {"__name__": "snippets"}
    for block in blocks_of(page):
        if block.language == "python":
            # The lines before it are left empty, so that a traceback says where in the page it is.
            exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), namespace)
            check_shapes(block, namespace)
        elif block.runs:
            for words in commands_of(block.text, tmp_path_factory.mktemp("shell")):
                name, arguments = module_of(words)
                importlib.import_module(name).main(arguments)


@pytest.mark.slow
def test_the_notebook_runs_from_its_folder():
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells), "outputs are not kept"
    resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    shown = [data for cell in notebook.cells for output in cell.get("outputs", []) for data in output.get("data", {})]
    assert "image/png" in shown


# -- words, links and names -------------------------------------------------------------------------------------------


def test_the_readme_is_short():
    assert len(README.read_text(encoding="utf-8").split()) <= 1500


def anchors_of(page: Path) -> set[str]:
    """Those that a page's headings get, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if "://" in link:
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    assert not broken


#: What the Python API promises.
SURFACE = [
    *("ldeq.landmarks", "ldeq.LandmarkResult.to_csv", "ldeq.LandmarkResult.to_npz", "ldeq.InputError"),
    *("ldeq.LDEQ", "ldeq.LDEQ.from_pretrained", "ldeq.LDEQ.inject", "ldeq.LDEQ.cell"),
    *("ldeq.ModelConfig", "ldeq.SolverConfig", "ldeq.load_checkpoint", "ldeq.save_checkpoint"),
    *("ldeq.RecurrentLDEQ", "ldeq.RecurrentLDEQ.step", "ldeq.RecurrentLDEQ.reset"),
    *("ldeq.face.crop.crop_matrix", "ldeq.face.crop.to_frame"),
    *(
        "ldeq.metrics.image_nme",
        "ldeq.metrics.failure_rate_and_auc",
        "ldeq.metrics.video_nme",
        "ldeq.metrics.video_nmf",
    ),
    "datasets.wflw.WFLWDataset",
]


def resolve(name: str) -> object:
    """What a dotted name stands for."""
    first, *rest = name.split(".")
    found: object = importlib.import_module(first)
    for depth, word in enumerate(rest, 2):
        if not hasattr(found, word):
            importlib.import_module(".".join(name.split(".")[:depth]))
        found = getattr(found, word)
    return found


def test_names_of_the_python_api_are_there_and_documented():
    text = (REPOSITORY / "docs" / "python.md").read_text(encoding="utf-8")
    for name in SURFACE:
        resolve(name)
        assert re.search(rf"\b{name.rsplit('.', 1)[-1]}\b", text), f"docs/python.md does not show {name}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_dotted_names_are_there(page):
    for code in [*inline_code_of(page), *(block.text for block in blocks_of(page) if block.language == "python")]:
        for name in re.findall(r"(?<![\w./])(?:ldeq|datasets|utils|benchmarks|assets)(?:\.\w+)+(?![\w/])", code):
            resolve(name)
