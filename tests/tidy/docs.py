#!/usr/bin/env python3
"""docs.py - the documents against the tree: files and functions that they name exist, links and their anchors
lead somewhere, the tests that docs/security.md names exist, and every library of the build has its line in
docs/dependencies.md: docs.py ROOT"""
import pathlib
import re
import sys

FOLDERS = ("auth", "base", "broker", "exchange", "net", "packaging", "protocol", "queue", "store", "tests",
           "tools")
# Names that say how something would be called, or that belong to others.
NOT_OURS = {"snake_case", "expiry_ms", "uv_poll", "stop_app", "publish.py", "ask.py", "answer.py"}
LIBRARIES = {"libuv": "libuv", "openssl": "OpenSSL", "sqlite3": "SQLite", "libpcre2-8": "PCRE2",
             "jansson": "jansson", "libcurl": "libcurl", "libxxhash": "xxHash", "check": "check",
             "librabbitmq": "librabbitmq", "threads": None}


def read(path):
    return path.read_text(encoding="utf-8", errors="replace")


def sources(root):
    """The text of the whole tree, to look words up in."""
    files = [path for folder in FOLDERS for path in (root / folder).rglob("*")
             if path.is_file() and "__pycache__" not in path.parts and "corpus" not in path.parts]
    names = {path.name for path in files} | {path.name for path in root.glob("*")}
    names |= {path.name for path in root.glob("docs/*")}
    return names, "\n".join(map(read, files))


def anchors(text):
    """GitHub's anchors of the headings."""
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
            for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


def words_of(text):
    """What stands between backticks, outside of blocks of code."""
    return sorted(set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))))


def wrong_names(text, names, known):
    for word in words_of(text):
        if re.fullmatch(r"[\w./-]+\.(c|h|def|py|wire|sh)", word):
            if word.split("/")[-1] not in names | NOT_OURS:
                yield f"there is no file {word}"
        elif re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)+(\(\))?", word) and word not in NOT_OURS:
            if not re.search(rf"\b{re.escape(word.rstrip('()'))}\b", known):
                yield f"nothing is called {word}"


def wrong_links(path, text):
    for target, _, anchor in re.findall(r"\]\(([^)#\s]*)(#([^)\s]*))?\)", text):
        if target.startswith("http"):
            continue
        file = path.parent / target if target else path
        if not file.exists():
            yield f"the link to {target} leads nowhere"
        elif anchor and anchor not in anchors(read(file)):
            yield f"{file.name} has no heading #{anchor}"


def has_name(text, name):
    """A function or a scenario of that name; "…" stands for any letters."""
    pattern = re.escape(name).replace("…", r"\w*")
    return re.search(rf"\bdef {pattern}\(|[\"']{pattern}[\"']|START_TEST\({pattern}\)", text)


def wrong_test(root, word, current):
    """What is wrong with a test that is named in a table, and the file that names after it are in."""
    file, _, name = word.partition(" ")
    if re.fullmatch(r"[a-z](\d\d)?", word):
        found = list((root / "tests" / "wire").glob(f"{word}*-*.wire"))
        return None if found else f"there is no script {word}", None
    if re.fullmatch(r"(test|fuzz|model|sim)_\w+", word):
        found = list((root / "tests").glob(f"*/{word}.c"))
        return None if found else f"there is no test {word}", current
    if re.fullmatch(r"(tests/)?[\w/]*\.py", file):
        found = [path for path in (root / "tests").rglob(file.split("/")[-1]) if str(path).endswith(file)]
        if len(found) != 1:
            return f"there is no file {file}", current
        current, word = found[0], name
    if current and re.fullmatch(r"[a-z0-9_…]+", word) and not has_name(read(current), word):
        return f"{current.name} has no {word}", current
    return None, current


def wrong_tests(root):
    """The tables of docs/security.md: each test that they name is there."""
    text = read(root / "docs" / "security.md")
    letters = {}
    for sentence in re.findall(r"`[A-Z]` is `tests/[^.]*\.py`[^.]*(?:\.py`[^.]*)*\.", text):
        letters.update(re.findall(r"`([A-Z])`\s+(?:is )?`(tests/[\w/]+\.py)`", sentence))
    if len(letters) < 8:
        yield f"only {len(letters)} letters stand for tests"
    named = 0
    for line in text.splitlines():
        cell = line.rstrip("|").split("|")[-1] if line.startswith("|") else ""
        current = None
        for letter, word in re.findall(r"(?<![\w`])([A-Z])(?![\w`])|`([^`]+)`", cell):
            if letter:
                current = root / letters[letter] if letter in letters else None
                continue
            wrong, current = wrong_test(root, word, current)
            named += 1
            if wrong:
                yield wrong
    if named < 150:
        yield f"only {named} tests are named in docs/security.md"


def wrong_dependencies(root):
    listed = read(root / "docs" / "dependencies.md")
    for build in [root / "meson.build", *root.glob("tests/meson.build")]:
        for library in re.findall(r"(?<![_a-z])dependency\('([^']+)'", read(build)):
            if library not in LIBRARIES:
                yield f"{library} of {build.name} is not known to this test"
            elif LIBRARIES[library] and not re.search(rf"^\| {LIBRARIES[library]} ", listed, re.MULTILINE):
                yield f"docs/dependencies.md has no line for {library}"


def main():
    root = pathlib.Path(sys.argv[1])
    names, known = sources(root)
    found = [*wrong_dependencies(root), *(f"security.md: {wrong}" for wrong in wrong_tests(root))]
    documents = [*sorted((root / "docs").glob("*.md")), root / "README.md", root / "tests" / "README.md"]
    for path in documents:
        text = read(path)
        faults = [*wrong_names(text, names, known), *wrong_links(path, text)]
        found += [f"{path.name}: {fault}" for fault in faults]
    print("\n".join(found))
    print(f"docs: {len(documents)} passed, {len(found)} failed")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
