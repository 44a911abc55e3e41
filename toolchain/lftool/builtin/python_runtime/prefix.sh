#!/bin/sh
# An lftool bundle, runtime python/1. It is also a ZIP: `unzip -l` lists what is inside. Usage: this file --help
for python in "${LFTOOL_PYTHON:-}" python3; do
  if [ -n "$python" ] && command -v "$python" >/dev/null 2>&1; then
    exec "$python" -c '
import sys
sys.path[:] = [path for path in sys.path if path]  # never from the folder that it is started in
import struct
with open(sys.argv[1], "rb") as bundle:
    size = bundle.seek(0, 2)
    bundle.seek(max(0, size - 98))
    tail = bundle.read()
    length, start = struct.unpack("<II", tail[-10:-2])
    if tail[-98:-94] == b"PK\6\6":
        length, start = struct.unpack("<QQ", tail[-58:-42])
    bundle.seek(start)
    directory, at = bundle.read(length), 0
    while directory[at:at + 4] == b"PK\1\2":
        size, names, extras = struct.unpack("<IHH", directory[at + 24:at + 32])
        name = directory[at + 46:at + 46 + names]
        offset = struct.unpack("<I", directory[at + 42:at + 46])[0]
        if offset == 0xFFFFFFFF:
            offset = struct.unpack("<Q", directory[at + 46 + names + extras - 8:at + 46 + names + extras])[0]
        if name == b"lftool/runner.py":
            bundle.seek(offset + 26)
            bundle.seek(sum(struct.unpack("<HH", bundle.read(4))), 1)
            source = bundle.read(size)
            break
        at += 46 + names + extras
    else:
        sys.exit(sys.argv[1] + ": this bundle is damaged, its runner is missing")
exec(compile(source, "lftool/runner.py", "exec"), {"__name__": "__main__"})
' "$0" "$@"
  fi
done
echo "$0: needs Python 3.8 or newer; install it, then: python3 -m pip install llama-cpp-python" >&2
exit 8
