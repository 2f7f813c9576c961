"""One Ray, one Python, one set of packages in all files; and nothing of our own machines."""

from __future__ import annotations

import re
import shlex
import tomllib
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.cluster.files import FOLDER, KUBERNETES, RAY_UP, load, load_all, text
from tests.conftest import REPO

PROJECT: dict[str, Any] = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
IMAGE: str = load("gpu.yaml")["docker"]["image"]
FOUND = re.fullmatch(r"rayproject/ray:(\d+\.\d+\.\d+)-py(\d)(\d+)-gpu", IMAGE)
assert FOUND, IMAGE
RAY = FOUND[1]
PYTHON = f"{FOUND[2]}.{FOUND[3]}"
ALL = sorted(path.name for path in FOLDER.iterdir())


def packages(command: str) -> list[Requirement]:
    """What a ``pip install`` is asked for; this package under its name."""
    words = shlex.split(command.split("pip install", 1)[1])
    names = [word for word in words if not word.startswith("--")]
    return [Requirement(name.removeprefix("/home/ray/")) for name in names]


def test_every_file_is_known_to_the_tests() -> None:
    assert set(ALL) == {*RAY_UP, *KUBERNETES, "aws-account.yaml", "Dockerfile"}


def test_the_image_suits_the_project() -> None:
    wanted = {one.name: one.specifier for one in map(Requirement, PROJECT["dependencies"])}
    assert RAY in wanted["ray"]
    assert PYTHON in SpecifierSet(PROJECT["requires-python"])


@pytest.mark.parametrize("name", RAY_UP)
def test_machines_have_the_same_image_and_ray(name: str) -> None:
    config = load(name)
    assert config["docker"]["image"] == IMAGE
    # The reader is told to install the same one.
    assert f"ray[default]=={RAY}" in text(name)
    asked = {one.name: one for one in packages(config["setup_commands"][0])}
    assert str(asked["ray"].specifier) == f"=={RAY}"
    assert asked["rayxkd"].extras <= set(PROJECT["optional-dependencies"])
    assert "timm" in asked["rayxkd"].extras


def test_pods_have_the_same_image_and_ray() -> None:
    lines = [line for line in text("Dockerfile").splitlines() if not line.startswith("#")]
    assert f"FROM {IMAGE}" in lines
    (install,) = [line for line in lines if line.startswith("RUN")]
    ours = packages(load("gpu.yaml")["setup_commands"][0])
    assert sorted(map(str, packages(install))) == sorted(map(str, ours))
    for line in lines:
        if line.startswith("COPY"):
            *sources, _ = [word for word in line.split()[1:] if not word.startswith("--")]
            assert all((REPO / source).exists() for source in sources), line
    for name in KUBERNETES:
        for thing in load_all(name):
            if "spec" not in thing or not thing["apiVersion"].startswith("ray.io/"):
                continue
            cluster = thing["spec"].get("rayClusterSpec", thing["spec"])
            assert cluster["rayVersion"] == RAY
            for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
                (container,) = group["template"]["spec"]["containers"]
                assert container["image"] == f"REGISTRY-ADAPT/rayxkd:{IMAGE.split(':')[1]}"


@pytest.mark.parametrize("name", ALL)
def test_nothing_of_our_own_machines_is_in_it(name: str) -> None:
    content = text(name)
    for ours in (str(REPO), "/work/", "/root/", "/tmp/", "/mnt/data"):
        assert ours not in content
    # Images come from where the world has them, by their short names.
    assert not re.search(r"image: &?\w* ?[\w.-]+\.[a-z]+(:\d+)?/", content)


@pytest.mark.parametrize("name", ALL)
def test_what_has_to_be_adapted_is_marked(name: str) -> None:
    """Whoever looks for ADAPT finds all of it, and no placeholder passes for a value."""
    for line in text(name).splitlines():
        value = line.split("#")[0]
        if re.search(r"\b(10\.0\.0|203\.0\.113|example)\b", value):
            assert "ADAPT" in line, line
