"""Licences of everything that an installation of this package brings, by what its metadata say.

    python -m benchmarks.licences

Writes `results/licences.csv`: package, version, licence, and whether the package needs it or an extra does. Known
vulnerabilities are `pip-audit`'s to say, which asks a database over the network.
"""

from __future__ import annotations

from importlib.metadata import Distribution, PackageNotFoundError, distribution
from itertools import chain

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from zoo import assets, records

PACKAGE = "yolo-attention-zoo"


def main() -> None:
    """Write the table, and say how many packages name no licence."""
    needed = closure(PACKAGE, extras=())
    optional = closure(PACKAGE, extras=("app", "demo", "export", "reproduce", "sweep", "track")) - needed
    rows = [
        {"package": name, "version": found.version, "licence": licence(found), "needed": needed_by}
        for names, needed_by in ((needed, "always"), (optional, "by an extra"))
        for name in sorted(names)
        if (found := installed(name))
    ]
    records.write(assets.root() / "results" / "licences.csv", rows)
    unnamed = [row["package"] for row in rows if row["licence"] == "not stated"]
    print(f"{len(rows)} packages; licence not stated in the metadata of: {', '.join(unnamed) or 'none'}")


def closure(name: str, extras: tuple[str, ...]) -> set[str]:
    """What a package needs, and what that needs, without the package itself."""
    seen: set[str] = set()
    left = [(canonicalize_name(name), extras)]
    while left:
        current, wanted = left.pop()
        found = installed(current)
        for text in (found.requires or ()) if found else ():
            requirement = Requirement(text)
            applies = requirement.marker is None or any(
                requirement.marker.evaluate({"extra": extra}) for extra in ("", *wanted)
            )
            required = canonicalize_name(requirement.name)
            if applies and (required not in seen or requirement.extras) and required != canonicalize_name(name):
                if required not in seen:
                    left.append((required, tuple(requirement.extras)))
                seen.add(required)
    return seen


def installed(name: str) -> Distribution | None:
    """The package's metadata, if it is installed."""
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def licence(found: Distribution) -> str:
    """By the SPDX expression, else the classifiers, else the first line of the free text."""
    if expression := found.metadata.get("License-Expression"):
        return expression
    classifiers = found.metadata.get_all("Classifier") or []
    named = [each.rpartition(" :: ")[2] for each in classifiers if each.startswith("License :: OSI Approved :: ")]
    text = (found.metadata.get("License") or "").strip().partition("\n")[0]
    return "; ".join(dict.fromkeys(chain(named, [text[:80]] if text and not named else []))) or "not stated"


if __name__ == "__main__":
    main()
