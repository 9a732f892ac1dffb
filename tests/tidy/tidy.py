#!/usr/bin/env python3
"""tidy.py - the rules of the house, checked on the sources: tidy.py ROOT

Every offence is printed as file:line: rule: what. The rules are those of docs/architecture.md. What is a
rule for good reasons and broken for a better one stands in EXCEPTIONS, with the better one."""
import pathlib
import re
import sys

# A folder may include itself and these; nothing is included sideways or upwards.
MAY_INCLUDE = {
    "base": set(),
    "protocol": {"base"},
    "net": {"base"},
    "store": {"base"},
    "auth": {"base"},
    "exchange": {"base", "protocol"},
    "queue": {"base", "protocol", "store", "exchange"},
    "broker": {"base", "protocol", "net", "store", "auth", "exchange", "queue"},
    "tools": {"base", "protocol", "net"},
}
MAY_INCLUDE["tests"] = set(MAY_INCLUDE)
PRODUCT = ("base", "protocol", "net", "store", "auth", "exchange", "queue", "broker")

# A library has one folder that knows it.
LIBRARIES = {"uv.h": {"net"}, "sqlite3.h": {"store"}, "pcre2.h": {"auth"}, "openssl/": {"auth", "net"},
             "jansson.h": {"auth", "broker"}, "curl/": {"auth"}, "xxhash.h": {"base", "store"}}

# Nouns that the exported names of a file may begin with, besides the file's own (users.c: user, users) and
# what stands before a "_" in it (config_text.c: config).
NOUNS = {
    "auth/backend.c": {"question", "inquiry"},
    "auth/grant.c": {"wildcard"},
    "auth/user_permissions.c": {"permission", "topic"},
    "auth/users.c": {"tags"},
    "base/assert.c": {"panic"},
    "broker/commands.c": {"request"},
    "broker/handshake.c": {"connection"},
    "broker/heartbeat.c": {"connection"},
    "broker/listing_connection.c": {"command"},
    "broker/listing_topology.c": {"command"},
    "broker/listing_vhost.c": {"command"},
    "broker/vhost.c": {"queue"},
    "exchange/route.c": {"router"},
    "protocol/fault.c": {"reply"},
    "protocol/props.c": {"content"},
    "protocol/table.c": {"array", "field"},
    "protocol/wire.c": {"reader", "writer", "read", "write", "load"},
    "queue/queue.c": {"consumer"},
}

# file, rule, reason. One that is not needed any more is an offence too.
EXCEPTIONS = [
    ("protocol/method.h", "typedef", "the C types of the kinds of field in methods.def, made by the X-macro"),
]

WRITTEN = (".c", ".h", ".def", ".py", ".sh", ".build", ".js", ".rb", ".php")
FILE_LINES, HEADER_LINES, FUNCTION_LINES, COLUMNS, STRUCT_FIELDS = 800, 150, 70, 110, 25
ASSERTIONS_PER_1000 = 15
BANNED = re.compile(r"\b(malloc|calloc|realloc|strdup|strndup|asprintf|vasprintf|strcpy|strcat|sprintf"
                    r"|vsprintf|gets)\s*\(")
ASSERTION = re.compile(r"\b(assert|assertf|panic|static_assert)\s*\(")
OPEN_WORK = re.compile(r"\b(TODO|FIXME|XXX)\b(?!.{0,20}#\d+)")


class Source:
    """One C file: its text, and its code without comments, texts and preprocessor lines, same columns."""

    def __init__(self, root, path):
        self.path = path.relative_to(root).as_posix()
        self.folder = self.path.split("/")[0]
        self.text = path.read_text(encoding="utf-8")
        self.lines = self.text.splitlines()
        self.bare = strip(self.text)
        self.code = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", blank, self.bare, flags=re.MULTILINE)
        self.blocks = list(blocks(self.code))

    def line_of(self, offset):
        return self.text.count("\n", 0, offset) + 1


class Report:
    def __init__(self):
        self.offences, self.warnings, self.used = [], [], set()

    def add(self, source, line, rule, what):
        path = source if isinstance(source, str) else source.path
        for file, excepted, _ in EXCEPTIONS:
            if (file, excepted) == (path, rule):
                self.used.add((file, rule))
                return
        self.offences.append((path, line, rule, what))

    def warn(self, source, line, what):
        self.warnings.append((source.path, line, what))


def blank(match):
    return re.sub(r"[^\n]", " ", match.group())


def strip(text):
    """Comments and the insides of texts and characters become blanks."""
    token = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL)

    def hide(match):
        found = match.group()
        return found[0] + blank(match)[1:-1] + found[-1] if found[0] in "\"'" else blank(match)

    return token.sub(hide, text)


def blocks(code):
    """(head, start, end) of everything at file scope that ends with ; (end None) or has braces."""
    depth, start, head = 0, 0, ""
    opened = 0
    for match in re.finditer(r"[{};]", code):
        char, at = match.group(), match.start()
        if char == "{":
            if depth == 0:
                head, opened = code[start:at], at
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                yield head, start + leading(code, start), opened, at
                start = at + 1
        elif depth == 0:
            yield code[start:at], start + leading(code, start), None, at
            start = at + 1


def leading(code, start):
    return len(code) - start - len(code[start:].lstrip())


def without_attributes(head):
    head = re.sub(r"\b(END_TEST|START_TEST)\b", " ", head) if "START_TEST" not in head else head
    return re.sub(r"__attribute__\s*\(\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)\)", " ", head)


def function_name(head):
    """The name when the head before a brace is that of a function, else None."""
    head = without_attributes(head).strip()
    if "=" in head or re.match(r"(typedef\b|extern\s+\")", head):
        return None
    match = re.search(r"(\w+)\s*\(", head)
    if not match:
        return None
    inner = re.search(r"\(\s*(\w+)\s*\(", head) if match.group(1) in ("void", "bool", "int") else None
    return inner.group(1) if inner else match.group(1)


def functions(source):
    for head, start, opened, end in source.blocks:
        if opened is None:
            continue
        name = function_name(head)
        if name:
            yield name, head, start, opened, end


def check_layers(source, report):
    for number, line in enumerate(source.lines, 1):
        match = re.match(r'\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)', line)
        if not match:
            continue
        own, system = match.groups()
        if own:
            folder = own.split("/")[0]
            if "/" not in own and source.folder != "tests":
                report.add(source, number, "include", f'"{own}" is not written from the root')
            elif folder != source.folder and folder not in MAY_INCLUDE[source.folder] and "/" in own:
                report.add(source, number, "layer", f"{source.folder}/ may not include {own}")
        for library, folders in LIBRARIES.items():
            if system and system.startswith(library) and source.folder in PRODUCT \
                    and source.folder not in folders:
                report.add(source, number, "layer", f"<{system}> belongs to {', '.join(sorted(folders))}/")


def nouns_of(path):
    stem = pathlib.PurePath(path).stem
    words = stem.split("_")
    own = {"_".join(words[:i]) for i in range(1, len(words) + 1)}
    other = {noun[:-1] if noun.endswith("s") else noun + "s" for noun in own}
    return own | other | NOUNS.get(path, set())


def check_names(source, report):
    if source.folder not in PRODUCT:
        return
    twin = source.path[:-2] + ".c"
    nouns = nouns_of(source.path) | NOUNS.get(twin, set())
    for name, head, start, _, _ in functions(source):
        static = re.search(r"\bstatic\b", head) and source.path.endswith(".c")
        if static or name == "main" or name.isupper():
            continue
        if not any(name == noun or name.startswith(noun + "_") for noun in nouns):
            report.add(source, source.line_of(start), "name",
                       f"{name} begins with none of: {', '.join(sorted(nouns))}")


def check_sizes(source, report):
    header = source.path.endswith(".h") and source.folder != "tests"
    limit = HEADER_LINES if header else FILE_LINES
    if len(source.lines) > limit:
        report.add(source, limit + 1, "size", f"{len(source.lines)} lines, {limit} are allowed")
    for name, _, start, _, end in functions(source):
        lines = source.line_of(end) - source.line_of(start) + 1
        if lines > FUNCTION_LINES:
            report.add(source, source.line_of(start), "size",
                       f"{name} has {lines} lines, {FUNCTION_LINES} are allowed")


def check_opening(source, report):
    name = source.path.split("/")[-1]
    if not source.lines or not source.lines[0].startswith(f"/* {name} - "):
        report.add(source, 1, "opening", f"the first line is not '/* {name} - what it is. */'")
    if "\t" in source.text:
        report.add(source, source.line_of(source.text.index("\t")), "format", "a tab")


def check_preprocessor(source, report):
    """Conditions are for the operating system, and that is what base/ and net/ hide."""
    guard = source.path.endswith((".h", ".def"))
    for number, line in enumerate(source.bare.splitlines(), 1):
        match = re.match(r"\s*#\s*(if|ifdef|ifndef|elif)\b\s*(\w*)", line)
        if not match or source.folder in ("base", "net"):
            continue
        if guard and match.group(1) == "ifndef" and re.fullmatch(r"[A-Z0-9_]+", match.group(2)):
            continue
        report.add(source, number, "condition", f"#{match.group(1)} outside base/ and net/")


def check_calls(source, report):
    if source.folder in ("base", "tests"):
        return
    for match in BANNED.finditer(source.code):
        report.add(source, source.line_of(match.start()), "call", f"{match.group(1)} outside base/")


def check_types(source, report):
    for match in re.finditer(r"\btypedef\s+(struct|union|enum)\b", source.code):
        report.add(source, source.line_of(match.start()), "typedef", f"a typedef of a {match.group(1)}")
    for head, start, opened, end in source.blocks:
        if opened is None or not re.match(r"\s*struct\s+\w+\s*$", without_attributes(head)):
            continue
        fields = count_fields(source.code[opened + 1:end])
        if fields > STRUCT_FIELDS:
            report.warn(source, source.line_of(start), f"{head.strip()} has {fields} fields, more than "
                                                       f"{STRUCT_FIELDS}")


def count_fields(body):
    while "{" in body:
        body = re.sub(r"\{[^{}]*\}", " ", body)
    body = re.sub(r"\([^()]*\)", " ", re.sub(r"\([^()]*\)", " ", body))
    return sum(part.count(",") + 1 for part in body.split(";") if part.strip())


def is_mutable(declaration):
    """Of a variable's declaration up to its initializer."""
    pointer = re.search(r"\(\s*\*\s*(const)?", declaration)
    if pointer:
        return not pointer.group(1)
    after = declaration.rsplit("*", 1)[-1]
    return not re.search(r"\bconst\b", after if "*" in declaration else declaration)


def check_globals(source, report):
    if source.folder == "tests" or not source.path.endswith(".c"):
        return
    for head, start, opened, _ in source.blocks:
        declaration = without_attributes(head).split("=")[0].strip()
        if not declaration or re.match(r"(typedef|extern|enum|_?[sS]tatic_assert)\b", declaration):
            continue
        if re.fullmatch(r"(struct|union)\s+\w+", declaration) or (opened is not None and "=" not in head):
            continue
        first = declaration.find("(")
        if first >= 0 and not re.match(r"\(\s*\*", declaration[first:]):
            continue  # a prototype or a macro
        if not re.search(r"\w\s+\W*\w", declaration) or not is_mutable(declaration):
            continue
        what = " ".join(declaration.split())
        report.add(source, source.line_of(start), "global", f"'{what}' can be changed")
    for _, _, _, opened, end in functions(source):
        for match in re.finditer(r"\bstatic\b([^;={]*)", source.code[opened:end]):
            if is_mutable(match.group(1)):
                report.add(source, source.line_of(opened + match.start()), "global",
                           f"'static{match.group(1).rstrip()}' keeps state between calls")


def check_assertions(sources, report):
    product = [source for source in sources if source.folder in PRODUCT]
    lines = sum(len(source.lines) for source in product)
    found = sum(len(ASSERTION.findall(source.code)) for source in product)
    density = 1000 * found / max(lines, 1)
    print(f"{len(sources)} files; {lines} lines of the broker, {density:.1f} assertions per 1000 of them")
    if density >= ASSERTIONS_PER_1000:
        return
    poorest = sorted((1000 * len(ASSERTION.findall(source.code)) / len(source.lines), source.path)
                     for source in product if source.path.endswith(".c") and len(source.lines) > 100)
    for value, path in poorest[:10]:
        print(f"{path}: {value:.1f} assertions per 1000 lines")
    report.add(".", 1, "assertions", f"{density:.1f} per 1000 lines, {ASSERTIONS_PER_1000} are wanted")


def check_text(root, path, report):
    """What holds for every file that people write."""
    relative = path.relative_to(root).as_posix()
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if len(line) > COLUMNS and path.suffix != ".md":
            report.add(relative, number, "columns", f"{len(line)} columns, {COLUMNS} are allowed")
        if line != line.rstrip() and path.suffix != ".md":
            report.add(relative, number, "format", "blanks at the end")
        if OPEN_WORK.search(line) and path.name != "tidy.py":
            report.add(relative, number, "open work", "without the number of an issue (#12)")


def check_configuration(root, report):
    """docs/configuration.md has a row for each key of config.def, with its default and limits."""
    table, page = root / "broker/config.def", root / "docs/configuration.md"
    if not table.exists() or not page.exists():
        report.add("docs/configuration.md", 1, "keys", "the page or broker/config.def is missing")
        return
    rows = {}
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        match = re.match(r"\| `([^`]+)` \|(.*)", line)
        if match:
            rows[match.group(1)] = number, match.group(2)
    keys = re.findall(r'^KEY\("([^"]+)",\s*(\w+),\s*[^,]+,\s*"([^"]*)",\s*(\d+),\s*(\d+)',
                      table.read_text(encoding="utf-8"), re.MULTILINE)
    if len(keys) < 20:
        report.add("broker/config.def", 1, "keys", f"only {len(keys)} keys were understood")
    for name, kind, default, least, most in keys:
        number, row = rows.pop(name, (1, None))
        wanted = [default] if default else []
        if kind in ("NUMBER", "SIZE"):
            wanted += [least, most]
        if row is None:
            report.add("docs/configuration.md", 1, "keys", f"no row for {name}")
        elif any(f"`{word}`" not in row for value in wanted for word in value.split()):
            report.add("docs/configuration.md", number, "keys", f"the row of {name} lacks one of {wanted}")
    for name, (number, _) in rows.items():
        report.add("docs/configuration.md", number, "keys", f"{name} is no key of config.def")


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    report = Report()
    paths = sorted(path for folder in MAY_INCLUDE for path in (root / folder).rglob("*")
                   if path.is_file() and "node_modules" not in path.parts and "__pycache__" not in path.parts)
    sources = [Source(root, path) for path in paths if path.suffix in (".c", ".h", ".def")]
    for source in sources:
        for check in (check_layers, check_names, check_sizes, check_opening, check_preprocessor, check_calls,
                      check_types, check_globals):
            check(source, report)
    check_assertions(sources, report)
    written = [path for path in paths if path.suffix in WRITTEN]
    written += [root / name for name in ("run", "test", "meson.build") if (root / name).exists()]
    for path in written:
        check_text(root, path, report)
    check_configuration(root, report)
    for file, rule, _ in EXCEPTIONS:
        if (file, rule) not in report.used:
            report.offences.append((file, 1, "exception", f"'{rule}' is not needed any more"))
    for path, line, what in report.warnings:
        print(f"{path}:{line}: warning: {what}")
    for path, line, rule, what in sorted(report.offences):
        print(f"{path}:{line}: {rule}: {what}")
    print(f"tidy: {len(report.offences)} offences")
    return 1 if report.offences else 0


if __name__ == "__main__":
    sys.exit(main())
