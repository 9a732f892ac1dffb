#!/usr/bin/env python3
"""paths.py - no path is built from what a client says: paths.py [ROOT]

A function that takes a path may be called in the files below only. Each was read for it: its paths come from
the configuration or are constants with numbers in them. A new one has to be read, and added with where its
paths come from.
"""
import pathlib
import re
import sys

FOLDERS = ["base", "protocol", "net", "store", "auth", "exchange", "queue", "broker"]
FUNCTIONS = """
    open openat creat fopen freopen mkdir mkdirat rmdir unlink unlinkat remove rename renameat
    link linkat symlink readlink realpath stat lstat fstatat access faccessat chmod fchmodat
    chown lchown fchownat truncate opendir scandir nftw mkstemp mkdtemp mknod mkfifo statfs
    statvfs chdir chroot mount execl execlp execle execv execve execvp posix_spawn system
    popen dlopen sqlite3_open sqlite3_open_v2 BIO_new_file X509_LOOKUP_load_file
    SSL_CTX_use_certificate_chain_file SSL_CTX_use_PrivateKey_file SSL_CTX_load_verify_file
    SSL_CTX_load_verify_dir SSL_CTX_load_verify_locations json_load_file json_dump_file
    uv_fs_open uv_fs_mkdir uv_fs_unlink
""".split()
CALL = re.compile(r"(?<![\w>.\"])(" + "|".join(FUNCTIONS) + r")\s*\(")
THROUGH_IO = re.compile(r"\bio->(open|mkdir|unlink|remove|rename|list|stat|each|exists)\w*\(")
DATA = "data_dir and constants"
ALLOWED = {
    "auth/http_tls.c": "auth_http.ssl_options.*, auth_oauth2.https.*",
    "auth/jwk.c": "auth_oauth2.signing_keys.*",
    "base/log.c": "log.file",
    "broker/config_text.c": "--config",
    "broker/definitions_load.c": "load_definitions and the names in that folder",
    "broker/main.c": "/dev/null",
    "broker/privilege.c": "data_dir",
    "broker/probe.c": "/proc, /sys/fs/cgroup, data_dir",
    "broker/setting_auth.c": "file: values of the configuration",
    "net/local.c": "control.socket",
    "net/tls_context.c": "ssl_options.*",
    "store/io.c": "what the rest of store/ says",
    "store/check.c": DATA, "store/journal.c": DATA, "store/page_disk.c": DATA,
    "store/page_survey.c": DATA, "store/quarantine.c": DATA, "store/reader.c": DATA, "store/recover.c": DATA,
    "store/schema.c": DATA, "store/shred.c": DATA, "store/store.c": DATA, "store/survey.c": DATA,
    "store/vfs.c": "what SQLite says: definitions.db and its logs",
}


def code_of(text):
    """Without comments and string literals."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    return re.sub(r'"(?:[^"\\\n]|\\.)*"', '""', text)


def calls(path):
    code = code_of(path.read_text(encoding="utf-8"))
    for number, line in enumerate(code.splitlines(), 1):
        if re.match(r"(static |int |void |bool |struct |enum )[^={]*$", line):
            continue  # a definition or declaration of ours
        for found in [*CALL.finditer(line), *THROUGH_IO.finditer(line)]:
            yield number, found[1]


def main():
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[2]
    failed, used = 0, set()
    for folder in FOLDERS:
        for path in sorted((root / folder).glob("*.c")):
            name = f"{folder}/{path.name}"
            for number, function in calls(path):
                if name in ALLOWED:
                    used.add(name)
                    continue
                print(f"FAIL {name}:{number}: {function} takes a path, and this file is not known for that")
                failed += 1
    for name in sorted(set(ALLOWED) - used):
        print(f"FAIL {name} is listed, and calls no function that takes a path")
        failed += 1
    print(f"paths: {len(used)} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
