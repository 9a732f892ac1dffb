#!/usr/bin/env python3
"""test_tidy.py - tidy.py finds each kind of offence, and none in a source that keeps the rules."""
import pathlib
import subprocess
import sys
import tempfile

TIDY = pathlib.Path(__file__).resolve().parent / "tidy.py"

GOOD_HEADER = """/* hare.h - a hare. */
#ifndef QUEUE_HARE_H
#define QUEUE_HARE_H

#include "base/slice.h"

struct hare {
    int ears, (*jump)(struct hare *hare, int height);
    struct { int x, y; } place;
};

int hare_jump(struct hare *hare, int (*height)(void *arg));
static inline int hare_ears(const struct hare *hare)
{
    return hare->ears;
}

#endif
"""

GOOD = """/* hare.c - a hare. "typedef struct" and malloc(1) in texts and comments are none. */
#include "queue/hare.h"

#include "store/store.h"

static const char *const names[] = {"malloc(", "{", "}"};
static bool (*const jumps[])(struct hare *hare) = {NULL};
RING(burrows, struct hare *);
enum { EARS = 2, BRACE = '{' };
static_assert(EARS == 2, "a hare");
struct burrow;

__attribute__((format(printf, 1, 2))) static int say(const char *format, ...)
{
    static const int table[] = {1, 2};
    assert(format && table[0]);
    return 0;
}

int hare_jump(struct hare *hare, int (*height)(void *arg))
{
    assert(hare && height && names[0] && jumps[0]);
    return say("%d", EARS);
}
"""

LONG = "int hare_long(void)\n{\n" + "    assert(1);\n" * 70 + "}\n"

# What is put behind GOOD (or written to another file), and the rule that has to find it.
OFFENCES = [
    ("queue/hare.c", '#include "auth/users.h"\n', "layer"),
    ("queue/hare.c", '#include "broker/config.h"\n', "layer"),
    ("queue/hare.c", "#include <sqlite3.h>\n", "layer"),
    ("queue/hare.c", '#include "hare.h"\n', "include"),
    ("queue/hare.c", "int jump_hare(void)\n{\n    return 0;\n}\n", "name"),
    ("queue/hare.c", "static int counter;\n", "global"),
    ("queue/hare.c", "int counter = 3, other;\n", "global"),
    ("queue/hare.c", "static const char *text = 0;\n", "global"),
    ("queue/hare.c", "static struct hare hares[] = {{0}};\n", "global"),
    ("queue/hare.c", "static void (*handler)(int number) = NULL;\n", "global"),
    ("queue/hare.c", "void hare_count(void)\n{\n    static int count;\n    count++;\n}\n", "global"),
    ("queue/hare.c", "typedef struct hare hare_t;\n", "typedef"),
    ("queue/hare.c", "#ifdef __linux__\n#endif\n", "condition"),
    ("queue/hare.c", "#if EARS > 1\n#endif\n", "condition"),
    ("queue/hare.c", "#ifndef EARS\n#endif\n", "condition"),
    ("queue/hare.c", "static void *f(void)\n{\n    return malloc(1);\n}\n", "call"),
    ("queue/hare.c", "static void f(char *a)\n{\n    strcpy(a, a);\n}\n", "call"),
    ("queue/hare.c", "/* TO" "DO: ears */\n", "open work"),
    ("queue/hare.c", "/* " + "x" * 110 + " */\n", "columns"),
    ("queue/hare.c", "int f; \n", "format"),
    ("queue/hare.c", "\tint f(void);\n", "format"),
    ("queue/hare.c", LONG, "size"),
    ("queue/hare.c", "/* long */\n" * 800, "size"),
    ("queue/hare.h", "/* long */\n" * 150, "size"),
    ("queue/hare.c", "/* poor */\n" * 300, "assertions"),
    ("queue/other.c", "int x;\n", "opening"),
    ("protocol/other.c", '/* other.c - x. */\n#include "net/stream.h"\n', "layer"),
    ("base/other.c", '/* other.c - x. */\n#include "queue/hare.h"\n', "layer"),
    ("broker/config.def", 'KEY("new_key", FLAG, x, "true", 0, 0, "")\n', "keys"),
    ("docs/configuration.md", "| `old_key` | |\n", "keys"),
]
INNOCENT = [
    ("queue/hare.c", "/* TO" "DO (#12): ears */\n"),
    ("base/hare.c", "/* hare.c - x. */\n#ifdef __linux__\nvoid *hare_x(void)\n{\n    assert(1);\n"
                    "    return malloc(1);\n}\n#endif\n"),
    ("tests/unit/x.c", "/* x.c - x. */\nstatic int counter;\nint any(void)\n{\n    return counter++;\n}\n"),
    ("tests/unit/y.h", "/* y.h - x. */\n#ifndef Y_H\n#define Y_H\n#include \"x.h\"\n#endif\n"),
]


def tidy(additions):
    """The rules that were broken in a small tree, by tidy's own report."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        keys = "".join(f'KEY("key_{i}", FLAG, f, "true", 0, 0, "")\n' for i in range(20))
        rows = "".join(f"| `key_{i}` | `true` |\n" for i in range(20))
        files = {"queue/hare.h": GOOD_HEADER, "queue/hare.c": GOOD,
                 "broker/config.def": "/* config.def - keys. */\n" + keys, "docs/configuration.md": rows,
                 "protocol/method.h": "/* method.h - x. */\ntypedef struct slice field_sstr;\n"}
        for name, text in additions:
            files[name] = files.get(name, "") + text
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        result = subprocess.run([sys.executable, TIDY, root], capture_output=True, text=True, check=False)
    found = [line.split(": ") for line in result.stdout.splitlines() if line.count(": ") >= 2]
    if (result.returncode != 0) != bool(found) or result.stderr:
        return {"crash " + result.stderr}
    return {parts[1] for parts in found}


def main():
    outcomes = [("a tree without offence", tidy([]) == set())]
    for name, text in INNOCENT:
        rules = tidy([(name, text)])
        outcomes.append((f"allowed: {name} + {text.splitlines()[-1][:40]!r}, found {rules}", rules == set()))
    for name, text, rule in OFFENCES:
        rules = tidy([(name, text)])
        outcomes.append((f"{rule}: {name} + {text.splitlines()[0][:40]!r}, found {rules}", rule in rules))
    for number, (what, good) in enumerate(outcomes, 1):
        print("ok" if good else "not ok", number, "-", what)
    return 0 if all(good for _, good in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
