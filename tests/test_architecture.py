"""Driver and worker share formats only, imports point one way, heavy packages stay where they belong, modules stay small."""
from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import sparkq
from sparkq.engines.registry import ENGINE_NAMES
from tests import HANG_SECONDS, ROOT

FACADE = "sparkq"

FORMATS_AND_WORKER = ("artifact", "program", "runs", "images", "model_tasks", "metrics", "engines", "worker")
"""The file formats, and all that runs in a Python worker."""
DRIVER = ("quantization", "float_models", "planning", "spark", "workflows", "report", "cli", "export")
WITHOUT_TORCH = ("artifact", "program", "runs", "images", "config", "drawing", "error_codes", "errors", "storage", "version")
"""Files, configs and pixels: what a driver checks before it starts anything."""


def module_name(path: Path) -> str:
    """Dotted name of a file of this project."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for folder in ("sparkq", "jobs") for path in sorted((ROOT / folder).rglob("*.py"))}


@cache
def parsed(module: str) -> ast.Module:
    """Its syntax tree."""
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def imports_in(tree: ast.AST, module: str) -> Iterator[tuple[str, str | None]]:
    """Every (module, name) imported anywhere in `tree`: also inside functions, under TYPE_CHECKING, and by `import_module`."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((source, alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__"):
                yield str(node.args[0].value), None


@cache
def project_imports(module: str) -> frozenset[str]:
    """The modules of this project that `module` imports; ``from package import submodule`` is the submodule."""
    found = set()
    for source, name in imports_in(parsed(module), module):
        target = f"{source}.{name}" if f"{source}.{name}" in MODULES else source
        if target.split(".")[0] in ("sparkq", "jobs"):
            found.add(target)
    return frozenset(found)


@cache
def top_level_packages(module: str) -> frozenset[str]:
    """The first parts of all that it imports."""
    return frozenset(source.split(".")[0] for source, _ in imports_in(parsed(module), module))


def room(module: str) -> str:
    """The package below ``sparkq`` that it stands in, or its own name."""
    return (module.split(".") + [""])[1] if module.startswith("sparkq.") else module


def test_driver_and_worker_share_formats_only() -> None:
    """What runs in a Python worker, and the formats, import nothing of the driver's packages."""
    assert set(FORMATS_AND_WORKER + DRIVER) <= {room(module) for module in MODULES}
    assert {
        (module, target) for module in MODULES if room(module) in FORMATS_AND_WORKER
        for target in project_imports(module) if room(target) in DRIVER
    } == set()


def test_every_import_is_known() -> None:
    """An import that names no file would escape the tests here."""
    assert {target for module in MODULES for target in project_imports(module)} <= set(MODULES)
    assert len(MODULES) > 40 and sum(len(project_imports(module)) for module in MODULES) > 100


def assert_no_circle(arrows: dict[str, set[str]]) -> None:
    """Taking away what points at nothing that is left takes away everything."""
    left = {name: targets - {name} for name, targets in arrows.items()}
    while free := {name for name, targets in left.items() if not targets & set(left)}:
        left = {name: targets for name, targets in left.items() if name not in free}
    assert left == {}


def test_there_is_no_circle_of_modules() -> None:
    """To import a module is to import the packages that it stands in."""
    arrows = {module: set(project_imports(module)) - {FACADE} for module in MODULES if module != FACADE}
    for module, targets in arrows.items():
        targets |= {
            package for target in targets for package in arrows
            if target.startswith(f"{package}.") and not f"{module}.".startswith(f"{package}.")
        }
    assert_no_circle(arrows)


@pytest.mark.parametrize("folder", sorted({module for module in MODULES if MODULES[module].name == "__init__.py"}))
def test_there_is_no_circle_of_packages(folder: str) -> None:
    """Neither among the rooms of the project, nor among the packages in one of them."""
    depth = folder.count(".") + 1

    def part(module: str) -> str | None:
        """The package directly in `folder` that a module stands in; the modules loose in it belong to none."""
        if not module.startswith(f"{folder}.") or module == folder:
            return None
        package = ".".join(module.split(".")[: depth + 1])
        return package if folder == FACADE or package != module or MODULES[module].name == "__init__.py" else None

    arrows: dict[str, set[str]] = {}
    for module in MODULES:
        source = part(module)
        if source is not None:
            targets = {part(target) for target in project_imports(module)}
            arrows.setdefault(source, set()).update(target for target in targets if target is not None)
    assert_no_circle(arrows)


def test_quantization_and_engines_meet_only_in_the_artifact() -> None:
    """Engines know nothing of quantization.

    Quantization runs its finished payload once, for the golden output, by name; and what it observes on executors in torch.
    """
    def meetings(room: str, other: str) -> set[tuple[str, str]]:
        return {
            (module, target) for module in MODULES if f"{module}.".startswith(f"{room}.")
            for target in project_imports(module) if f"{target}.".startswith(f"{other}.")
        }

    assert meetings("sparkq.engines", "sparkq.quantization") == set()
    assert {module for module, _ in meetings("sparkq.quantization", "sparkq.engines")} == {
        "sparkq.quantization.quantize", "sparkq.quantization.calibration.observed_program",
    }


def test_the_facade_is_lazy_and_nobody_leans_on_it() -> None:
    """At run time it imports nothing of sparkq, and sparkq's own modules take nothing from it but the version."""
    at_run_time = [
        node for node in parsed(FACADE).body if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    sources = [source for source, _ in imports_in(ast.Module(at_run_time, []), FACADE)]
    assert [source for source in sources if source.startswith("sparkq")] == ["sparkq.version"]
    taken = {name for module in MODULES for source, name in imports_in(parsed(module), module) if source == FACADE}
    assert {name for name in taken if f"sparkq.{name}" not in MODULES} <= {"__version__"}


def test_only_the_spark_room_imports_pyspark() -> None:
    """So that everything else is tested without a JVM, and a second Spark API is one room."""
    users = {module for module in MODULES if {"pyspark", "py4j"} & top_level_packages(module)}
    assert users and {module for module in users if not module.startswith("sparkq.spark.")} == set()


def test_formats_and_configs_know_no_torch() -> None:
    """Drivers read them before they know whether torch is needed."""
    low = {module for module in MODULES if room(module) in WITHOUT_TORCH}
    assert {room(module) for module in low} == set(WITHOUT_TORCH)
    assert {module for module in low if {"torch", "torchvision", "timm"} & top_level_packages(module)} == set()


def users_of(package: str) -> set[str]:
    """The modules that import or name a package below torch."""
    name = package.rpartition(".")[2]
    users = set()
    for module in MODULES:
        attributes = {ast.unparse(node) for node in ast.walk(parsed(module)) if isinstance(node, ast.Attribute)}
        imported = {f"{source}.{imported}" for source, imported in imports_in(parsed(module), module)}
        if any(f"{used}.".startswith(f"torch.{name}.") for used in attributes | imported):
            users.add(module)
    return users


def test_what_torch_deprecates_stays_in_one_room() -> None:
    """torch.ao makes INT8 graphs for one package; torch.jit nobody needs."""
    users = users_of("torch.ao")
    assert users and {module for module in users if not module.startswith("sparkq.quantization.")} == set()
    assert users_of("torch.jit") == set()


ALSO_OTHER_WORDS = ("x86", "float32", "bfloat16")
"""An architecture and two dtypes: as an engine's name such a word stands alone in a string."""
ENGINES_SPELLED = {
    "sparkq.quantization": "writes INT8 graphs for torch's backends of these names, and argues with what their kernels compute",
    "sparkq.config.quantization": "two settings are about depthwise kernels of one engine",
    "sparkq.program": "float32 is a dtype there",
    "sparkq.export": "writes files of the format that the engine of this name reads",
    "sparkq.cli.export": "likewise",
    "sparkq.planning.partitions": "says in which engine its assumption was measured",
}
"""Packages and modules outside of ``sparkq.engines`` that spell names of engines, and why."""


def test_names_of_engines_stand_in_their_package() -> None:
    """Neither code nor texts nor comments elsewhere spell one: they take it from the registry, or say what is true of all."""
    plain = "|".join(name for name in ENGINE_NAMES if name not in ALSO_OTHER_WORDS)
    places = {}
    for module, path in MODULES.items():
        strings = {node.value for node in ast.walk(parsed(module)) if isinstance(node, ast.Constant)}
        text = path.read_text(encoding="utf-8")
        if re.search(rf"(?<![A-Za-z])({plain})(?![A-Za-z])", text, re.IGNORECASE) or strings & set(ALSO_OTHER_WORDS):
            known = ("sparkq.engines", *ENGINES_SPELLED)
            places[module] = next((place for place in known if f"{module}.".startswith(f"{place}.")), None)
    assert [module for module, place in places.items() if place is None] == []
    assert set(places.values()) == {"sparkq.engines", *ENGINES_SPELLED}


def test_no_module_is_named_utils() -> None:
    """A module is named by what it does."""
    vague = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert [module for module in MODULES if vague & set(module.split("."))] == []


@pytest.mark.parametrize("module", MODULES)
def test_modules_and_functions_are_small(module: str) -> None:
    """Under 300 lines, and functions under 40, their docstrings not counted."""
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) < 300
    lengths = {
        node.name: lines_without_docstring(node)
        for node in ast.walk(parsed(module)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    assert {name: length for name, length in lengths.items() if length >= 40} == {}


def lines_without_docstring(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """From ``def`` to the last line."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        lines -= (function.body[0].end_lineno or 0) - function.body[0].lineno + 1
    return lines


@pytest.mark.parametrize(
    "job", [module for module in MODULES if module.startswith("jobs.") and not module.startswith("jobs.airflow.")],
)
def test_a_job_defines_nothing(job: str) -> None:
    """Spark ships by value what a script defines, so that a cache in it is new in every task; the DAGs never run there."""
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    assert [node for node in ast.walk(parsed(job)) if isinstance(node, definitions)] == []


def test_a_dag_needs_nothing_of_ours() -> None:
    """Airflow's scheduler and workers read it in an environment without sparkq, torch and pyspark."""
    dags = [module for module in MODULES if module.startswith("jobs.airflow.")]
    assert dags and {name for dag in dags for name in top_level_packages(dag)} & {"sparkq", "jobs", "torch", "pyspark"} == set()


def test_the_jobs_are_there() -> None:
    """As spark-submit targets."""
    assert {"jobs.quantize_model", "jobs.predict_images", "jobs.evaluate_model"} <= set(MODULES)


def loaded_by(code: str) -> set[str]:
    """Which heavy packages a fresh Python has loaded after `code`."""
    script = f"{code}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=HANG_SECONDS, check=True)
    return set(done.stdout.split()) & {"torch", "pyspark", "pandas", "pyarrow", "numpy"}


@pytest.mark.parametrize(("code", "heavy"), [
    ("import sparkq; dir(sparkq); sparkq.__version__", set()),
    ("from sparkq import SparkqError, PreprocessConfig, InferenceConfig", set()),
    ("import sparkq.engines.registry", set()),
    ("from sparkq import decode_image", {"numpy"}),
    ("import sparkq.workflows.predict", {"numpy", "pyarrow", "pyspark"}),
], ids=["sparkq", "configs", "engines", "images", "predict"])
def test_importing_sparkq_is_light(code: str, heavy: set[str]) -> None:
    """Neither torch nor pyspark nor pandas, until a name that needs it is used."""
    assert loaded_by(code) == heavy


@pytest.mark.parametrize("name", sparkq.__all__)
def test_every_public_name_resolves(name: str) -> None:
    """To something that says what it is."""
    value = getattr(sparkq, name)
    assert name in dir(sparkq)
    assert value if name == "__version__" else value.__doc__


@pytest.mark.parametrize("name", ["nothing", "__wrapped__"])
def test_other_names_are_attribute_errors(name: str) -> None:
    """So that hasattr, doctest and IPython can ask."""
    with pytest.raises(AttributeError, match=name):
        getattr(sparkq, name)
    assert not hasattr(sparkq, name)
