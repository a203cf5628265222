"""The package on its own: what the wheel holds, what an import loads, which folder imports which.

python -m pytest tests/scripts/test_package.py
"""

import ast
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import dipvae_src

ROOT = Path(__file__).resolve().parents[2]
NAMES = {
    "dip_vae_i", "dip_vae_ii", "beta_vae", "covariance_of_means", "total_covariance",
    "dip_penalty", "sap_score", "z_diff_score", "build",
}  # fmt: skip
# What may not be imported from where; the first folder that a file lies in counts.
FORBIDDEN = {
    "dipvae_src": ("replication", "data_prep", "scripts"),
    "data_prep": ("replication", "dipvae_src", "scripts"),
    "replication/engine": ("replication.show", "replication.report", "scripts"),
    "replication/show": ("replication.engine", "scripts"),
    "replication/report": ("replication.engine", "scripts"),
    "replication": ("scripts",),
}


def imported(path: Path) -> set[str]:
    """The modules that a file imports anywhere, with dots: `from a import b` names a and a.b."""
    package = path.relative_to(ROOT).parent.parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            base = ".".join([*base, *([node.module] if node.module else [])])
            found |= {base} | {f"{base}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            found |= {a.value for a in node.args if isinstance(a, ast.Constant)}
    return found


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_folders_import_in_one_direction(folder):
    inner = [ROOT / other for other in FORBIDDEN if other.startswith(folder + "/")]
    wrong, seen = [], 0
    for path in (ROOT / folder).rglob("*.py"):
        if any(other in path.parents for other in inner):
            continue
        seen += 1
        for module in imported(path):
            if any(f"{module}.".startswith(f"{other}.") for other in FORBIDDEN[folder]):
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert seen and not wrong


def test_what_counts_as_an_import(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "replication" / "show" / "x.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "import a.b\nfrom c import d\ndef f():\n    from .. import engine\n"
        "    from ..engine import run\n    importlib.import_module('e.f')\n"
    )
    assert {"a.b", "c", "c.d", "replication.engine", "replication.engine.run", "e.f"} <= imported(
        path
    )


def test_the_package_needs_no_lock_of_files_that_windows_lacks():
    for path in (ROOT / "dipvae_src").glob("*.py"):
        assert not imported(path) & {"fcntl", "resource", "pwd", "signal"}, path.name


def run(*arguments, cwd):
    return subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True)


def test_an_import_loads_nothing_and_a_name_what_it_needs(tmp_path):
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import dipvae_src
heavy = lambda: sorted({{"torch", "sklearn", "scipy", "numpy", "jaxtyping"}} & set(sys.modules))
assert heavy() == [], heavy()
assert {NAMES!r} <= set(dipvae_src.__all__) <= set(dir(dipvae_src))
assert heavy() == [], heavy()
dipvae_src.sap_score
assert "torch" not in sys.modules and "sklearn" not in sys.modules, heavy()
dipvae_src.z_diff_score
assert "sklearn" in sys.modules and "torch" not in sys.modules, heavy()
from dipvae_src import dip_vae_ii
assert "torch" in sys.modules
from dipvae_src import *
assert build.__module__ == "dipvae_src.models" and sap_score is dipvae_src.sap.sap_score
"""
    done = run("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_each_name_is_what_it_says_and_others_are_refused():
    for name in dipvae_src.__all__:
        assert getattr(dipvae_src, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'dipvae_src' has no attribute 'dip_vae_iii'"):
        dipvae_src.dip_vae_iii  # noqa: B018


def test_the_package_names_all_that_it_imports_and_caps_nothing():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {name.replace("sklearn", "scikit-learn") for name in third_party("dipvae_src")}
    assert {line.split(">=")[0] for line in project["dependencies"]} == wanted
    for line in [project["requires-python"], *project["dependencies"]]:
        assert ">=" in line and "<" not in line and "==" not in line, line


def third_party(folder: str) -> set[str]:
    tops = {m.split(".")[0] for p in (ROOT / folder).rglob("*.py") for m in imported(p)}
    return tops - set(sys.stdlib_module_names) - {folder}


def test_the_wheel_holds_the_package_alone(tmp_path):
    """Built from a copy with neighbours beside it, as `pip install git+...` builds it."""
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("dipvae_src", "replication", "data_prep", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "*.json", "*.npz", "*.png")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    build = "import sys, setuptools.build_meta as b; print(b.build_wheel(sys.argv[1]))"
    done = run("-c", build, str(tmp_path / "out"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "out").glob("dipvae-*-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
    sources = {f"dipvae_src/{p.name}" for p in (ROOT / "dipvae_src").glob("*.py")}
    assert names == sources and len(names) == 10
