"""certificates - for programs whose scenarios share the certificates that tests/tls/certs.sh makes."""
import argparse
import pathlib
import subprocess
import tempfile

SCRIPT = pathlib.Path(__file__).resolve().parent.parent / "tls" / "certs.sh"
made = None  # the folder, while main runs


def make(folder):
    """Makes them in a folder that is there."""
    subprocess.run([str(SCRIPT), str(folder)], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


def cert(name):
    """The path of one of those that main made."""
    return str(made / name)


def main(what, description, scenarios, run):
    """Reads the command line, makes the certificates, and calls run(name, path of leveret) for each scenario
    that is wanted, which says whether it went well; the program's exit status."""
    global made
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--leveret", metavar="PATH", required=True)
    parser.add_argument("scenarios", nargs="*", choices=[[], *scenarios], help="without any, all of them")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="leveret-certs-") as folder:
        made = pathlib.Path(folder)
        make(folder)
        results = [run(name, options.leveret) for name in options.scenarios or scenarios]
    print(f"{what}: {results.count(True)} passed, {results.count(False)} failed")
    return 0 if all(results) else 1
