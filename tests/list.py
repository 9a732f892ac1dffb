#!/usr/bin/env python3
"""list.py - for meson: the files of a folder that match a pattern, without those that match another.
list.py FOLDER PATTERN [BUT]"""
import pathlib
import sys

folder, pattern, *but = sys.argv[1:]
names = {path.name for path in pathlib.Path(folder).glob(pattern)}
for other in but:
    names -= {path.name for path in pathlib.Path(folder).glob(other)}
print("\n".join(sorted(names)))
