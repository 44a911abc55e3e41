#!/usr/bin/env bash
# ModelAudit 0.2.54: a valid GGUF that states its alignment is not scanned but called unreadable.
#
# The format pads once, between the descriptions of the tensors and their data (ggml's docs/gguf.md). ModelAudit pads between
# the keys and the descriptions as well, so with the key `general.alignment` it reads the descriptions from a wrong place:
# exit status 2 for a sound file. gguf-py, which wrote the file, reads it, and modelvet accepts it. A file without the key is
# clean. Nothing is sent anywhere: its telemetry is off. Fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install modelaudit==0.2.54 modelvet==0.1.1 gguf==0.19.0
export CI=1 NO_ANALYTICS=1 PROMPTFOO_DISABLE_TELEMETRY=1
cat > "$folder/write.py" <<'P'
import sys
import numpy as np
from gguf import GGUFReader, GGUFWriter

writer = GGUFWriter(sys.argv[1], "llama")
if sys.argv[2] != "default":
    writer.add_custom_alignment(int(sys.argv[2]))
writer.add_name("a small model")
writer.add_tensor("token_embd.weight", np.ones((4, 64), np.float32))
writer.add_tensor("output_norm.weight", np.ones(64, np.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
tensors = GGUFReader(sys.argv[1]).tensors
assert [float(item.data.sum()) for item in tensors] == [256.0, 64.0]
P
for alignment in default 32; do
  file="$folder/$alignment.gguf"
  "$folder/venv/bin/python" "$folder/write.py" "$file" "$alignment"
  accepted=$("$folder/venv/bin/python" -c 'import sys, modelvet; print(modelvet.verify_path(sys.argv[1]).accepted)' "$file")
  status=0
  "$folder/venv/bin/modelaudit" scan --no-cache -f json "$file" > "$folder/report.json" 2> /dev/null || status=$?
  echo "alignment $alignment: gguf-py reads it, modelvet accepts it: $accepted, ModelAudit: exit $status"
  "$folder/venv/bin/python" -c '
import json, sys
for issue in json.load(open(sys.argv[1]))["issues"]:
    print("  ", issue["severity"], issue["message"])' "$folder/report.json"
  echo "$accepted $status" >> "$folder/statuses"
done
[ "$(tr '\n' ' ' < "$folder/statuses")" = "True 0 True 2 " ]
