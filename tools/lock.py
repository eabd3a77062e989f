"""Write requirements.lock: the exact versions of everything fedlib and all its extras need.

The lock is the closure of pyproject.toml's requirements over the packages installed in this environment, so that a
package nobody asks for does not get in. Run it after changing a requirement and installing it: ``make lock``.
"""

from __future__ import annotations

import tomllib
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
HEADER = """\
# Every package of the environment in which the tests run and the book is built, written by tools/lock.py.
# Install with: pip install -r requirements.lock -c constraints.txt
"""


def direct_requirements() -> list[Requirement]:
    """What pyproject.toml asks for, build back end and extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lists = [project["build-system"]["requires"], project["project"]["dependencies"]]
    lists += project["project"]["optional-dependencies"].values()
    return [Requirement(line) for lines in lists for line in lines]


def closure(requirements: list[Requirement]) -> dict[str, str]:
    """``{name: version}`` of the requirements and of all they need in turn on this platform."""
    versions: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    todo = [(requirement, extra) for requirement in requirements for extra in ("", *requirement.extras)]
    while todo:
        requirement, extra = todo.pop()
        name = canonicalize_name(requirement.name)
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        found = distribution(name)
        # A local label such as +cpu names a build that a package index does not carry.
        versions[name] = found.version.split("+")[0]
        needs = [Requirement(line) for line in found.requires or []]
        active = [need for need in needs if need.marker is None or need.marker.evaluate({"extra": extra})]
        todo += [(need, wanted) for need in active for wanted in ("", *need.extras)]
    return versions


if __name__ == "__main__":
    versions = closure(direct_requirements())
    lines = [f"{name}=={version}\n" for name, version in sorted(versions.items())]
    (ROOT / "requirements.lock").write_text(HEADER + "".join(lines), encoding="utf-8")
    print(f"requirements.lock: {len(lines)} packages")
