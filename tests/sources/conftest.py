"""Real servers on loopback, started by fixtures and stopped by them."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from attrs import frozen

DEADLINE_SECONDS = 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port: int, process: subprocess.Popen) -> None:
    """Return once somebody listens."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise AssertionError(f"{process.args[0]} does not listen on {port}")


@frozen(kw_only=True)
class Server:
    """A running server and the folder it serves."""

    url: str
    root: Path


NGINX = """\
{user}
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  default_type application/octet-stream;
  sendfile on;
  server {{
    listen 127.0.0.1:{port}; root {root};
    {location}
  }}
}}
"""


STORE = "location /store/ { dav_methods PUT; create_full_put_path on; client_max_body_size 0; }"


@pytest.fixture
def nginx(nginx_with):
    """nginx over an empty folder; below `/store/` everybody may write."""
    return nginx_with(STORE)


@pytest.fixture
def nginx_with(tmp_path):
    """Start nginx over an empty folder with a location block."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed; it is in the Debian package nginx-light")
    user = "user root;" if os.geteuid() == 0 else ""
    with contextlib.ExitStack() as stack:

        def start(location: str) -> Server:
            port = free_port()
            folder, root = tmp_path / f"nginx-{port}", tmp_path / f"served-{port}"
            folder.mkdir()
            root.mkdir()
            conf = NGINX.format(folder=folder, root=root, port=port, user=user, location=location)
            (folder / "conf").write_text(conf)
            command = [program, "-c", folder / "conf", "-e", folder / "error.log"]
            process = stack.enter_context(subprocess.Popen(command))
            stack.callback(process.terminate)
            wait_for(port, process)
            return Server(url=f"http://127.0.0.1:{port}", root=root)

        yield start


SWIFT_PROXY = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 1
user = {user}
swift_dir = {etc}
log_level = WARNING
[pipeline:main]
pipeline = catch_errors gatekeeper cache listing_formats s3api tempauth slo versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
s3_acl = false
check_bucket_owner = false
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{closed}
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:slo]
use = egg:swift#slo
[filter:symlink]
use = egg:swift#symlink
"""
SWIFT_STORAGE = """\
[DEFAULT]
devices = {node}
mount_check = false
bind_ip = 127.0.0.1
bind_port = {port}
workers = 1
user = {user}
swift_dir = {etc}
log_level = WARNING
# Swift answers 503 where less than this is free, 1 % by default: gigabytes, on a large disk.
fallocate_reserve = 0
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
SWIFT_CONF = """\
[swift-hash]
swift_hash_path_suffix = tests
swift_hash_path_prefix = lftool
[storage-policy:0]
name = one
default = yes
"""


@pytest.fixture(scope="session")
def swift(repository, tmp_path_factory):
    """OpenStack Swift with its S3 API: one node, one replica; URL, and what signs for it."""
    programs = repository / ".venv" / "swift" / "bin"
    if not (programs / "swift-proxy-server").exists():
        pytest.skip("Swift is not installed; `make peers` installs it")
    base = tmp_path_factory.mktemp("swift")
    etc, node = base / "etc", base / "node"
    (node / "sdb1").mkdir(parents=True)
    etc.mkdir()
    user = pwd.getpwuid(os.geteuid()).pw_name
    (etc / "swift.conf").write_text(SWIFT_CONF)
    environment = {**os.environ, "SWIFT_DIR": str(etc)}
    ports = {kind: free_port() for kind in ("account", "container", "object", "proxy", "closed")}
    for kind in ("account", "container", "object"):
        builder = [programs / "swift-ring-builder", etc / f"{kind}.builder"]
        add = ["add", "--region", "1", "--zone", "1", "--ip", "127.0.0.1", "--port", str(ports[kind])]
        for step in (["create", "4", "1", "0"], [*add, "--device", "sdb1", "--weight", "1"], ["rebalance"]):
            subprocess.run([*builder, *step], env=environment, check=True, capture_output=True)
        text = SWIFT_STORAGE.format(node=node, port=ports[kind], user=user, etc=etc, kind=kind)
        (etc / f"{kind}.conf").write_text(text)
    (etc / "proxy.conf").write_text(SWIFT_PROXY.format(port=ports["proxy"], user=user, etc=etc, closed=ports["closed"]))
    processes = [
        subprocess.Popen(
            [programs / f"swift-{kind}-server", etc / f"{kind}.conf"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for kind in ("account", "container", "object", "proxy")
    ]
    try:
        for kind, process in zip(("account", "container", "object", "proxy"), processes, strict=True):
            wait_for(ports[kind], process)
        yield f"http://127.0.0.1:{ports['proxy']}"
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in processes:
            process.wait(10)


REGISTRY = """\
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http: {{addr: 127.0.0.1:{port}}}
{auth}
"""


@pytest.fixture
def registry(tmp_path):
    """Start a docker-registry; `registry(auth)` returns it, with a line of configuration for who may ask."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed; it is in the Debian package of that name")
    with contextlib.ExitStack() as stack:

        def start(auth: str = "") -> Server:
            root, port = tmp_path / "registry", free_port()
            root.mkdir()
            conf = tmp_path / "registry.yml"
            conf.write_text(REGISTRY.format(root=root, port=port, auth=auth))
            process = stack.enter_context(
                subprocess.Popen([program, "serve", conf], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )
            stack.callback(process.terminate)
            wait_for(port, process)
            return Server(url=f"http://127.0.0.1:{port}", root=root)

        yield start
