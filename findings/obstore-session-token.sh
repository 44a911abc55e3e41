#!/usr/bin/env bash
# obstore: an S3Store that is given an access key and a secret still sends the session token of the environment.
#
# Explicit arguments look like the whole credential. They are merged with AWS_* variables one by one, so the token of
# another account travels with them, and to whatever endpoint the store was given. A credential provider is not merged.
# Fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check obstore==0.12.1
cat > "$folder/look.py" <<'PYTHON'
import datetime as dt
import http.server
import os
import threading

import obstore
from obstore.store import S3Store

seen = []


class Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        seen.append({name.lower(): value for name, value in self.headers.items()})
        self.send_response(404)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["AWS_SESSION_TOKEN"] = "token-of-the-environment"
common = {
    "endpoint": f"http://127.0.0.1:{server.server_port}",
    "region": "us-east-1",
    "client_options": {"allow_http": True},
    "retry_config": {"max_retries": 0, "retry_timeout": dt.timedelta(seconds=1)},
}
keys = {"access_key_id": "MINE", "secret_access_key": "mine"}


def token_sent(**how):
    seen.clear()
    try:
        obstore.head(S3Store("bucket", **how, **common), "key")
    except FileNotFoundError:
        pass
    return seen[0].get("x-amz-security-token")


print("obstore", obstore.__version__)
given = token_sent(**keys)
provided = token_sent(credential_provider=lambda: {**keys, "expires_at": None})
print("keys as arguments: x-amz-security-token is", given)
print("keys from a credential provider: x-amz-security-token is", provided)
assert (given, provided) == ("token-of-the-environment", None)
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
