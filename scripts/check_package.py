"""Build wheel and sdist, install each into an environment of its own, and use it from an unrelated directory.

    python scripts/check_package.py          (make package)

Needs `build` and `hatchling` (the extra `test`) and no network: the new environments see this one's packages
through a .pth file, behind their own, so torch is not installed again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TINY = ("model=resnet18_small", "model.width=8", "model.image_size=16", "runtime.device=cpu")
DATASET_YAML = "defaults: [imagefolder]\nroot: {root}\n"
FINETUNE_YAML = "defaults: [cr]\nsigma: 0.25\nmax_steps: 2\nbatch_size: 4\n"


def main() -> int:
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="rt-package-") as folder:
        scratch = Path(folder)
        wheel, sdist = build(scratch / "dist")
        check_members(wheel, sdist)
        for artefact in (wheel, sdist):
            environment = install(artefact, scratch / f"env-{artefact.suffix.strip('.')}")
            place = scratch / f"elsewhere-{artefact.suffix.strip('.')}"
            place.mkdir()
            use(environment, place)
            say(f"{artefact.name}: installed and used from {place}")
    say(f"wheel and sdist are whole ({time.perf_counter() - started:.0f} s)")
    return 0


# ---------------------------------------------------------------- build


def build(folder: Path) -> tuple[Path, Path]:
    """Build the sdist, and the wheel from it: what the sdist lacks, the wheel cannot have."""
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)])
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


def check_members(wheel: Path, sdist: Path) -> None:
    """Every file of the package and of conf/ must be in both archives, at its place."""
    package = files_of(ROOT / "src" / "robust_transfer")
    configs = files_of(ROOT / "conf")
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    require("wheel", {f"robust_transfer/{name}" for name in package}, in_wheel)
    require("wheel", {f"robust_transfer/conf/{name}" for name in configs}, in_wheel)
    require("sdist", {f"src/robust_transfer/{name}" for name in package}, in_sdist)
    require("sdist", {f"conf/{name}" for name in configs}, in_sdist)
    say(f"wheel and sdist hold {len(package)} files of the package and {len(configs)} of conf/")


def files_of(folder: Path) -> set[str]:
    """List the files under a folder, without what Python and editors leave there."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }


def require(what: str, expected: set[str], found: set[str]) -> None:
    if absent := sorted(expected - found):
        fail(f"the {what} lacks {len(absent)} files: {', '.join(absent[:5])}")


# ---------------------------------------------------------------- install


def install(artefact: Path, folder: Path) -> Path:
    """Install into a new environment that sees this one's packages behind its own."""
    run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    python = folder / "bin" / "python"
    site_packages = Path(
        run([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
    )
    ours = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (site_packages / "first_environment.pth").write_text("".join(f"{path}\n" for path in ours))
    # --ignore-installed: pip must not touch the package in this environment.
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed", "--quiet"]
    run([sys.executable, "-m", "pip", "--python", str(python), "install", *options, str(artefact)])
    return folder


# ---------------------------------------------------------------- use


def use(environment: Path, place: Path) -> None:
    """Do what a new user does: help, plan, a smoke run, own configs on own images, status, report."""
    imported = command(environment, place, "python", "-c", "import robust_transfer as r; print(r.__file__)")
    if not Path(imported.strip()).is_relative_to(environment):
        fail(f"imported {imported.strip()} (expected the package installed in {environment})")
    expect("finetune=NAME", command(environment, place, "rt-train", "--help"))
    paper = ("pretrain=simclr", "finetune=cr", "dataset=pets")
    expect("3 stages", command(environment, place, "rt-train", "--plan", *paper, "budget=smoke"))
    expect("DATA MISSING", command(environment, place, "rt-train", "--plan", *paper, code=2))
    smoke = ("pretrain=none", "finetune=cr", "dataset=digits", "budget=smoke", *TINY)
    expect("smoke", command(environment, place, "rt-train", *smoke))
    write_user_files(place)
    own = ("--config-dir", "mine", "pretrain=none", "finetune=gentle", "dataset=birds", *TINY)
    row = command(environment, place, "rt-train", *own, "evaluators=[clean]")
    expect("none -> cr", row)
    expect("imagefolder", row)
    expect("food101", command(environment, place, "rt-data", "status"))
    index = command(environment, place, "rt-report", "runs")
    expect("certify", index)
    expect("clean", index)


def write_user_files(place: Path) -> None:
    """Write a user's own configs, and a folder of eight images of two classes."""
    for group, name, text in (
        ("dataset", "birds", DATASET_YAML.format(root=place / "images")),
        ("finetune", "gentle", FINETUNE_YAML),
    ):
        folder = place / "mine" / group
        folder.mkdir(parents=True)
        (folder / f"{name}.yaml").write_text(text)
    for split in ("train", "test"):
        for label, name in enumerate(("finch", "wren")):
            folder = place / "images" / split / name
            folder.mkdir(parents=True)
            for number in range(2):
                (folder / f"{number}.ppm").write_bytes(b"P6 16 16 255\n" + bytes([90 * label + number]) * 768)


# ---------------------------------------------------------------- processes


def command(environment: Path, place: Path, program: str, *arguments: str, code: int = 0) -> str:
    """Run a program of an environment in a directory that knows nothing of the checkout."""
    settings = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "RT_DATA")}
    return run([str(environment / "bin" / program), *arguments], cwd=place, env=settings, code=code)


def run(words: Sequence[str], *, code: int = 0, **options: object) -> str:
    """Run a command and return its standard output; another exit code than `code` ends the check."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode != code:
        fail(f"{' '.join(words)}\nexit {done.returncode} (expected {code})\n{done.stdout}{done.stderr}")
    return str(done.stdout)


def expect(text: str, output: str) -> None:
    if text not in output:
        fail(f"'{text}' is not in the output:\n{output}")


def fail(message: str) -> None:
    raise SystemExit(f"check_package: {message}")


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
