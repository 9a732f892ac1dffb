#!/usr/bin/env python3
"""links.py - the documents: every link and every file of the sources that they name is there, and so is the
heading that a link points at: links.py ROOT"""
import pathlib
import re
import sys

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FOLDERS = "base|protocol|net|store|auth|exchange|queue|broker|tools|tests|docs|packaging"
NAMED = re.compile(rf"`((?:{FOLDERS})/[\w./-]+)")


def anchors(text):
    """The headings as links name them."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE):
        found.add(re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-"))
    return found


def fault_of(root, page, link):
    """Why a link leads nowhere, or None."""
    if re.match(r"https?:", link):
        return None
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    if not target.exists():
        return "there is no such file"
    if anchor and target.suffix == ".md" and anchor not in anchors(target.read_text(encoding="utf-8")):
        return "there is no such heading"
    return None if root in target.resolve().parents else "it leads out of the project"


def is_there(root, name):
    """A file, a folder, or what several files begin with."""
    path = root / name.rstrip("./")
    return path.exists() or any(path.parent.glob(path.name + "*"))


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    passed, faults = 0, []
    for page in [root / "README.md", *sorted(root.glob("docs/*.md")), *sorted(root.glob("tests/*.md"))]:
        text = page.read_text(encoding="utf-8")
        found = [(link, fault_of(root, page, link)) for link in LINK.findall(text)]
        found += [(name, None if is_there(root, name) else "there is no such file")
                  for name in NAMED.findall(text)]
        passed += sum(1 for _, fault in found if not fault)
        faults += [f"{page.relative_to(root)}: {what}: {fault}" for what, fault in found if fault]
    print("\n".join(faults))
    print(f"links: {passed} passed, {len(faults)} failed")
    return 1 if faults or passed < 100 else 0


if __name__ == "__main__":
    sys.exit(main())
