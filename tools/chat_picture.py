"""The picture of the chat page in docs/: the example's bundle, which `make demo` makes, served by lftool, in Chromium."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BROWSER = ROOT / "tests" / "site" / "browser"
QUESTIONS = ("Tell me a story about a fox.", "Tell me a story about a bear.")


def wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    """Wait until a server answers."""
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{url}/health").close()
        except (urllib.error.URLError, ConnectionError):
            if server.poll() is not None:
                sys.exit("the server ended")
            time.sleep(0.1)
        else:
            return
    sys.exit("the server does not answer")


def main() -> None:
    """Serve the model, ask, and take the picture."""
    bundle, key, picture = (Path(name).absolute() for name in sys.argv[1:])
    node, npm, chromium = (shutil.which(name) for name in ("node", "npm", "chromium"))
    if node is None or npm is None or chromium is None:
        sys.exit("the picture of the chat page needs node, npm and chromium")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(BROWSER / name, folder)
        subprocess.run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], cwd=folder, check=True)
        command = [sys.executable, "-m", "lftool.cli.entry", "serve", str(bundle), "--key", str(key)]
        with subprocess.Popen([*command, "--port", str(port)]) as server:
            try:
                url = f"http://127.0.0.1:{port}"
                wait_for(url, server)
                playwright = Path(folder) / "node_modules" / "playwright-core"
                driver = [node, str(BROWSER / "chat_page.mjs"), str(playwright), chromium, url]
                subprocess.run([*driver, "picture", str(picture), *QUESTIONS], check=True)
            finally:
                server.terminate()


if __name__ == "__main__":
    main()
