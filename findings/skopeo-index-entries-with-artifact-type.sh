#!/usr/bin/env bash
# skopeo 1.9.3: an OCI image index whose entries name their artifactType cannot be copied with its digests.
#
# image-spec v1.1 lets a descriptor in an index say what its manifest is, so that a client can choose without fetching. With
# such entries, `skopeo copy --all --preserve-digests` copies every manifest and then refuses the index: it would have to be
# converted to the media type that it already has. The same index without these fields arrives with its digest. Debian 12
# ships this version; skopeo 1.22 copies both. Needs apt-get and dpkg. Fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -qq skopeo=1.9.3+ds1-1+b10
dpkg -x skopeo_*.deb root
skopeo="$folder/root/usr/bin/skopeo"
"$skopeo" --version
cat > layout.py <<'P'
import hashlib, json, pathlib, sys

root, typed = pathlib.Path(sys.argv[1]), sys.argv[1] == "typed"
(root / "blobs/sha256").mkdir(parents=True)

def blob(data):
    name = hashlib.sha256(data).hexdigest()
    (root / "blobs/sha256" / name).write_bytes(data)
    return {"digest": f"sha256:{name}", "size": len(data)}

KIND, MANIFEST = "application/vnd.example.model.manifest.v1+json", "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
entries = []
for text in (b"one", b"two"):
    config = {"mediaType": "application/vnd.oci.empty.v1+json", **blob(b"{}")}
    layer = {"mediaType": "application/vnd.example.model.v1.raw", **blob(text)}
    value = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": KIND, "config": config, "layers": [layer]}
    entries.append({"mediaType": MANIFEST, **blob(json.dumps(value).encode()), **({"artifactType": KIND} if typed else {})})
index = blob(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode())
named = {"mediaType": INDEX, **index, "annotations": {"org.opencontainers.image.ref.name": "v1"}}
(root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
(root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
P
for kind in plain typed; do
  python3 layout.py "$kind"
  status=0
  "$skopeo" copy --insecure-policy --all --preserve-digests "oci:$kind:v1" "oci:copy-of-$kind:v1" > "$kind.log" 2>&1 || status=$?
  echo "index with $kind entries: exit $status: $(tail -n 1 "$kind.log" | grep -o 'Manifest list must be converted.*' || echo copied)"
  echo "$status" >> statuses
done
[ "$(tr '\n' ' ' < statuses)" = "0 1 " ]
