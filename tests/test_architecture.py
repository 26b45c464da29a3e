"""Who may import whom, who alone may touch what, and how long a function may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "pipeline").rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in FILES]
TRAIN = sorted((ROOT / "train").rglob("*.py"))
LONGEST_LINES, MEDIAN_LINES = 60, 15

# The rooms, the lowest first: each may import those before it. Rooms in one tuple do not know each other.
LAYERS = (
    ("core",),
    ("audio",),
    ("archives",),
    ("corpora",),
    ("stages",),
    ("engine",),
    ("share",),
    ("inspect", "export"),
    ("api",),
    ("cli",),
    ("__main__",),
)
MAY_IMPORT = {
    name: {below for layer in LAYERS[:level] for below in layer} for level, layer in enumerate(LAYERS) for name in layer
}

ALONE = {  # package: the only files that may import it, from the repository's root
    "soundfile": {"pipeline/audio/codec.py"},
    "soxr": {"pipeline/audio/dsp.py"},
    "pyarrow": {name for name in NAMES if name.startswith("pipeline/core/")},
    "duckdb": {"pipeline/core/sql.py"},
    "random": set(),
    "secrets": {"pipeline/core/files.py"},  # names of temporary files, which no output holds
    "uuid": set(),
    "datetime": set(),
    "socket": {"pipeline/engine/lock.py"},  # who holds the folder; no output says so
    "distributed": {"pipeline/engine/cluster.py"},
    "urllib": set(),
    "http": set(),
    "requests": set(),
    "torch": set(),
    "train": set(),
    "scipy": set(),
    "click": {name for name in NAMES if name.startswith("pipeline/cli/")},
    "tqdm": {"pipeline/engine/progress.py"},
}
BY_NAME = {  # what they load is found by its name, or only there where an extra is installed, or late
    "pipeline/audio/media.py",
    "pipeline/inspect/measure.py",
    "pipeline/core/manifest.py",
    "pipeline/inspect/notebook.py",
    "pipeline/core/frame.py",
    "pipeline/__init__.py",
    "pipeline/cli/main.py",
    "pipeline/stages/__init__.py",
    "pipeline/corpora/__init__.py",
    "pipeline/api.py",
    "pipeline/engine/workers.py",
    "pipeline/export/__init__.py",
}
PRINTERS = {"pipeline/api.py", "pipeline/cli/endings.py", "train/detect.py"}  # what they print is inert
CLOCKS = {"api", "cli", "engine"}  # progress on the screen, and the pace by which a plan's time is estimated


def room(name: str) -> str:
    """The room of a file of pipeline, or of a module's dotted name."""
    return name.removesuffix(".py").replace("/", ".").split(".")[1]


@cache
def nodes(path: Path) -> list[ast.AST]:
    """All that a file's syntax is made of."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@cache
def imports(path: Path) -> list[str]:
    """Dotted names of all that is imported, `pipeline.dsp` also where it says `from pipeline import dsp`."""
    names: list[str] = []
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports say where from: no relative ones"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in nodes(path) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


@pytest.mark.parametrize("name", NAMES)
def test_imports_run_downward(name: str) -> None:
    if name == "pipeline/__init__.py":  # its public names are loaded when they are first used
        assert not loaded_by("import pipeline") & {"numpy", "click", "pydantic"}
        return
    ours = {room(found) for found in imports(ROOT / name) if found.startswith("pipeline.")} - {"__version__"}
    assert ours - {room(name)} <= MAY_IMPORT[room(name)]


def test_no_file_imports_itself_through_others() -> None:
    modules = {name.removesuffix("/__init__.py").removesuffix(".py").replace("/", "."): name for name in NAMES}
    arrows = {
        module: {_module(found, modules) for found in imports(ROOT / name)} - {module, "", "pipeline"}
        for module, name in modules.items()
    }
    while arrows:
        free = {module for module, uses in arrows.items() if not uses & arrows.keys()}
        assert free, f"a cycle among {sorted(arrows)}"
        arrows = {module: uses for module, uses in arrows.items() if module not in free}


def _module(found: str, modules: dict[str, str]) -> str:
    """The module that a dotted name lies in, or ''."""
    while found and found not in modules:
        found = found.rpartition(".")[0]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_what_begins_with_an_underscore_is_its_rooms_own(name: str) -> None:
    found = [found for found in imports(ROOT / name) if found.startswith("pipeline.") and room(found) != room(name)]
    assert not [
        other
        for other in found
        if any(part.startswith("_") for part in other.split(".")) and other != "pipeline.__version__"
    ]


@pytest.mark.parametrize("package", sorted(ALONE))
def test_only_its_own_file_touches(package: str) -> None:
    users = {name for name in NAMES if any(found.split(".")[0] == package for found in imports(ROOT / name))}
    assert users <= ALONE[package]


@pytest.mark.parametrize("name", NAMES)
def test_only_keys_draws(name: str) -> None:
    """`np.random.Generator` as the type of a generator that was handed in is no draw."""
    path = ROOT / name
    calls = [
        node.lineno
        for node in nodes(path)
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("np.random")
    ]
    taken = [found for found in imports(path) if found.startswith("numpy.random")]
    assert name == "pipeline/core/keys.py" or not calls + taken


@pytest.mark.parametrize("name", NAMES)
def test_no_clock_is_read_where_outputs_are_made(name: str) -> None:
    clocks = {found for found in imports(ROOT / name) if found.split(".")[0] == "time"}
    assert not clocks or room(name) in CLOCKS


@pytest.mark.parametrize("path", [*FILES, *TRAIN], ids=lambda path: path.name)
def test_only_one_printer_writes_to_the_terminal(path: Path) -> None:
    """A name or a transcript may hold what a terminal obeys: `endings.echo` spells it out."""
    printing = {"print", "click.echo", "click.secho", "sys.stdout.write", "sys.stderr.write"}
    lines = [n.lineno for n in nodes(path) if isinstance(n, ast.Call) and ast.unparse(n.func) in printing]
    assert not lines or str(path.relative_to(ROOT)) in PRINTERS


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_imported_inside_a_function(name: str) -> None:
    inside = [
        node.lineno
        for body in functions(ROOT / name)
        for node in ast.walk(body)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert not inside


@pytest.mark.parametrize("name", NAMES)
def test_only_what_is_found_by_name_is_loaded_by_name(name: str) -> None:
    assert name in BY_NAME or not [
        found for found in imports(ROOT / name) if found.startswith("importlib.import_module")
    ]


@pytest.mark.parametrize("name", NAMES)
def test_no_listing_goes_unsorted(name: str) -> None:
    """glob, iterdir and listdir give files in the order of the disk; a set gives strings in another order each run."""
    path = ROOT / name
    parents = {child: node for node in nodes(path) for child in ast.iter_child_nodes(node)}
    listings = [
        n
        for n in nodes(path)
        if isinstance(n, ast.Call)
        and ast.unparse(n.func).split(".")[-1] in ("glob", "rglob", "iterdir", "listdir", "scandir")
    ]
    assert not [n.lineno for n in listings if not _is_sorted(n, parents)]


def _is_sorted(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    """Whether a call of sorted or any stands around it within the statement, or it is only opened by a `with`."""
    while node in parents and not isinstance(node, ast.stmt):
        node = parents[node]
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("sorted", "any"):
            return True
    return isinstance(node, ast.With)


def test_functions_fit_a_screen() -> None:
    lengths = {
        f"{name}:{body.name}": (body.end_lineno or 0) - body.lineno + 1
        for name in NAMES
        for body in functions(ROOT / name)
    }
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_LINES} == {}
    assert median(lengths.values()) <= MEDIAN_LINES


@pytest.mark.parametrize("name", NAMES)
def test_a_module_says_what_lives_there(name: str) -> None:
    assert ast.get_docstring(nodes(ROOT / name)[0])


def loaded_by(statements: str) -> set[str]:
    """Top-level packages in memory after these statements, in a fresh process."""
    code = f"import sys\n{statements}\nprint('\\n' + ' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    return set(ran.stdout.splitlines()[-1].split())


def test_reading_manifests_loads_neither_the_command_line_nor_torch_nor_sound() -> None:
    assert not loaded_by("import pipeline.core.manifest") & {"click", "torch", "soundfile", "scipy", "soxr", "pydantic"}


def test_help_loads_nothing_heavy() -> None:
    typed = "from pipeline.cli.main import prep\ntry: prep(['--help'], prog_name='prep')\nexcept SystemExit: pass"
    assert not loaded_by(typed) & {"numpy", "pyarrow", "duckdb", "soundfile", "soxr", "pydantic", "scipy", "tqdm"}


def test_no_command_loads_torch() -> None:
    assert "torch" not in loaded_by(
        "import pipeline.cli.stages, pipeline.cli.builds, pipeline.cli.look, pipeline.cli.share, pipeline.cli.machine"
    )


TRAIN_MAY_USE = {  # what training uses of pipeline -> the only files of train that may, or None for all
    "pipeline.__version__": None,
    "pipeline.core.errors": None,
    "pipeline.core.exclusions": {"evaluate.py"},
    "pipeline.core.files": None,
    "pipeline.core.frame": None,
    "pipeline.core.keys": None,
    "pipeline.core.row": None,
    "pipeline.core.texts": None,
    "pipeline.core.presets": {"options.py", "paper.py"},
    "pipeline.core.manifest": {"data.py"},  # one door to manifests and to sound
    "pipeline.core.measures": {"data.py"},
    "pipeline.core.parquet": {"data.py"},
    "pipeline.audio": {"data.py", "remix.py", "streams.py"},
    "pipeline.corpora.lexicon": None,
    "pipeline.corpora.near": {"confusions.py"},
    "pipeline.corpora.notation": {"text.py"},
    "pipeline.corpora.rights": {"report.py"},
    "pipeline.stages": {"remix.py"},
    "pipeline.engine.progress": None,
    "pipeline.engine.workers": {"loop.py"},
    "pipeline.inspect.report": {"report.py"},
    "pipeline.cli.emit": {"report.py"},
    "pipeline.cli.endings": {"cli.py"},
    "pipeline.cli.fields": {"cli.py"},
}


@pytest.mark.parametrize("path", TRAIN, ids=lambda path: path.name)
def test_training_uses_what_is_declared_and_has_one_door_to_manifests(path: Path) -> None:
    for used in [name for name in imports(path) if name.startswith("pipeline")]:
        declared = [name for name in TRAIN_MAY_USE if f"{used}.".startswith(f"{name}.")]
        assert declared, f"{used} is not declared"
        files = TRAIN_MAY_USE[declared[0]]
        assert files is None or path.name in files, f"{used} is for {files}"


@pytest.mark.parametrize("path", sorted((ROOT / "tests").glob("test_*.py")), ids=lambda path: path.name)
def test_no_test_sleeps(path: Path) -> None:
    assert not [found for found in imports(path) if found == "time.sleep"]
    assert not [n for n in nodes(path) if isinstance(n, ast.Call) and ast.unparse(n.func) == "time.sleep"]
