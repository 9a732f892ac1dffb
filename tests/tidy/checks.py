#!/usr/bin/env python3
"""checks.py - tests/checks.md, tests/rows.md and tests/rows-features.md against the tests: every check is
named once, what shows it exists, and a wire script claims the checks that the table gives it, no more and
no fewer; a row names files of the broker and tests, and every script of these areas is in a row:
checks.py ROOT"""
import pathlib
import re
import sys

FIRST, LAST = 1, 120
ROW = re.compile(r"\| (K\d+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|")
RULE = re.compile(r"\| (\d[.\d]*) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|")
SECTIONS = {"rows.md": ["1.1", "1.2", "1.3", "1.4", "1.5", "2.1", "7"],
            "rows-features.md": ["2.1", "2.2", "2.3"]}
OTHERS = "aru"  # scripts of alarms, restarts and users, for which there are no rows
LATER = {"K116", "K117", "K118"}  # of an interface that is not there yet


def rows_of(text):
    """(check, tests, what RabbitMQ does) of each row."""
    return [(row[1], [word.strip(" `") for word in row[3].split(",")], row[4].strip())
            for row in map(ROW.fullmatch, text.splitlines()) if row]


def has_case(path, case):
    text = path.read_text(encoding="utf-8")
    return any(re.search(pattern % re.escape(case), text, re.MULTILINE)
               for pattern in (r"^START_TEST\(%s\)", r"^def %s\("))


def is_script(test):
    return test.startswith("wire/") and ".py" not in test


def fault_of(test, tests):
    """Why a test of the table is none, or None."""
    if is_script(test):
        return None if (tests / (test + ".wire")).is_file() else "there is no such script"
    path, colon, case = test.partition(":")
    if not (tests / path).is_file():
        return "there is no such file"
    return None if not colon or has_case(tests / path, case) else "there is no such case"


def claims(script):
    """The checks of a script's header."""
    found = re.findall(r"^# *checks *: *(.*)$", script.read_text(encoding="utf-8"), re.MULTILINE)
    return {check for line in found for check in line.split()}


def differs(test, tests):
    return "# rabbitmq: differs" in (tests / (test + ".wire")).read_text(encoding="utf-8")


def faults(root):
    tests = pathlib.Path(root) / "tests"
    rows = rows_of((tests / "checks.md").read_text(encoding="utf-8"))
    names = [name for name, _, _ in rows]
    wanted = [f"K{number:02d}" for number in range(FIRST, LAST + 1)]
    if names != wanted:
        yield f"the table has not {FIRST} to {LAST}, once each and in order: {set(wanted) ^ set(names)}"
    given = {}
    for name, shown_by, rabbitmq in rows:
        if shown_by == ["later"]:
            if name not in LATER:
                yield f"{name}: is not for later"
            continue
        for test in shown_by:
            if fault := fault_of(test, tests):
                yield f"{name}: {test}: {fault}"
            elif is_script(test):
                given.setdefault(test[5:], set()).add(name)
        scripts = [test for test in shown_by if is_script(test) and not fault_of(test, tests)]
        if scripts and all(differs(test, tests) for test in scripts) and rabbitmq == "same":
            yield f"{name}: its scripts differ on RabbitMQ, the table says they do not"
    for script in sorted((tests / "wire").glob("*.wire")):
        if (mine := claims(script)) != given.get(script.stem, set()):
            yield f"{script.name} claims {sorted(mine)}, the table {sorted(given.get(script.stem, []))}"


def words_of(cell):
    return [word.strip(" `") for word in cell.split(",")]


def rules_of(table):
    """(section, rule, kept by, shown by) of each row."""
    lines = table.read_text(encoding="utf-8").splitlines()
    return [row.groups() for row in map(RULE.fullmatch, lines) if row]


def faults_of_rows(root, name, rules, named):
    """Of one table of rules; adds the tests that it names to `named`."""
    tests = pathlib.Path(root) / "tests"
    sections, order = [rule[0] for rule in rules], SECTIONS[name]
    if set(sections) != set(order) or sorted(sections, key=order.index) != sections:
        yield f"{name}: the rows are not in the order of {order}"
    for _, rule, kept_by, shown_by in rules:
        for path in words_of(kept_by):
            if not (pathlib.Path(root) / path).is_file():
                yield f"{rule}: {path}: there is no such file"
        if shown_by.startswith("none: "):
            continue
        for test in words_of(shown_by):
            named.add(test)
            if fault := fault_of(test, tests):
                yield f"{rule}: {test}: {fault}"


def faults_of_scripts(root, named):
    for script in sorted((pathlib.Path(root) / "tests" / "wire").glob("*.wire")):
        in_row = script.stem[0] in OTHERS or "wire/" + script.stem in named
        if not in_row and not claims(script):
            yield f"{script.name} is in no row, and shows no check"


def main():
    root, count, named = sys.argv[1], LAST, set()
    found = list(faults(root))
    for name in SECTIONS:
        rules = rules_of(pathlib.Path(root) / "tests" / name)
        count += len(rules)
        found += faults_of_rows(root, name, rules, named)
    found += faults_of_scripts(root, named)
    print("\n".join(found))
    print(f"checks: {count - len(found)} passed, {len(found)} failed")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
