#!/usr/bin/env bash
# oras (the Python client): files of different folders get one title, and a pull writes one over the other.
#
# `push` titles each layer by the last part of its path, and warns of nothing when two are equal. A model in the layout of
# sentence-transformers has config.json beside 1_Pooling/config.json: what is pulled is one file, and it is not the model's.
# The manifest still holds both layers, so nothing that looks at digests notices. Fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check oras==0.2.43
cat > "$folder/look.py" <<'PYTHON'
import hashlib
import http.server
import json
import os
import pathlib
import threading
from importlib.metadata import version
from urllib.parse import parse_qs, urlsplit

import oras.client

stored = {}


class Registry(http.server.BaseHTTPRequestHandler):
    """As much of the distribution API as a push and a pull need; keeps blobs and manifests in memory."""

    protocol_version = "HTTP/1.1"

    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def sent(self):
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def do_GET(self):
        kind, body = stored.get(urlsplit(self.path).path.rpartition("/")[2], (None, None))
        if body is None:
            return self.reply(404)
        return self.reply(200, body, content_type=kind)

    do_HEAD = do_GET

    def do_POST(self):
        self.sent()
        self.reply(202, location=f"http://{self.headers['host']}/v2/model/blobs/uploads/1")

    def do_PUT(self):
        parts, body = urlsplit(self.path), self.sent()
        digest = parse_qs(parts.query).get("digest", [f"sha256:{hashlib.sha256(body).hexdigest()}"])[0]
        stored[digest] = (self.headers.get("content-type", "application/octet-stream"), body)
        if "/manifests/" in parts.path:
            stored[parts.path.rpartition("/")[2]] = stored[digest]
        self.reply(201, location=f"/v2/model/{digest}", docker_content_digest=digest)

    def log_message(self, *arguments):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
threading.Thread(target=server.serve_forever, daemon=True).start()
work = pathlib.Path("work")
(work / "1_Pooling").mkdir(parents=True)
(work / "config.json").write_text('{"architectures": ["BertModel"]}')
(work / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
os.chdir(work)
client = oras.client.OrasClient(hostname=f"127.0.0.1:{server.server_port}", insecure=True)
target = f"127.0.0.1:{server.server_port}/model:v1"
client.push(target=target, files=["config.json", "1_Pooling/config.json"], quiet=True)
manifest = json.loads(stored["v1"][1])
titles = [layer["annotations"]["org.opencontainers.image.title"] for layer in manifest["layers"]]
os.mkdir("../pulled")
client.pull(target=target, outdir="../pulled")
pulled = {str(path.relative_to("../pulled")): path.read_text() for path in pathlib.Path("../pulled").rglob("*.json")}
print("oras", version("oras"))
print("pushed: config.json and 1_Pooling/config.json; titles:", titles)
print("pulled:", pulled)
assert len({layer["digest"] for layer in manifest["layers"]}) == 2
assert titles == ["config.json", "config.json"]
assert pulled == {"config.json": '{"pooling_mode_mean_tokens": true}'}
PYTHON
cd "$folder"
venv/bin/python look.py
