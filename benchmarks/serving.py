"""Four clients at the Python server, against the same four prompts in a row in llama-cpp-python's own loop."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from native import LFTOOL, Server
from rows import Row

if TYPE_CHECKING:
    from pathlib import Path

TOKENS = 64
PROMPTS = ("Tell me a story about a fox.", "What is a drum?", "Name three rivers.", "Why does it rain?")
# The peer: what a person who has llama-cpp-python writes. For each line that it reads it prints tokens and seconds of a round.
LOOP = """
import json, sys, time
from llama_cpp import Llama
path, tokens, prompts = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
model = Llama(path, n_ctx=2048, verbose=False)
for _ in sys.stdin:
    count, started = 0, time.perf_counter()
    for prompt in prompts:
        made = model.create_chat_completion([{"role": "user", "content": prompt}], max_tokens=tokens, temperature=0.0)
        count += made["usage"]["completion_tokens"]
    print(json.dumps([count, time.perf_counter() - started]), flush=True)
"""


def _ask(port: int, prompt: str) -> int:
    """Return how many tokens an answer has."""
    messages = [{"role": "user", "content": prompt}]
    body = json.dumps({"messages": messages, "max_tokens": TOKENS, "temperature": 0.0})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return int(answer["usage"]["completion_tokens"])


def clients_row(folder: Path, model: Path, rounds: int) -> Row:
    """Seconds a token of four clients together; both sides load the model before the clock starts."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}  # which knows of no native runtime
    command = [sys.executable, "-c", LOOP, str(model), str(TOKENS), json.dumps(PROMPTS)]
    ours: list[float] = []
    peer: list[float] = []
    with (
        Server(LFTOOL, "serve", model, "--ctx", 2048, environment=environment) as server,
        ThreadPoolExecutor(len(PROMPTS)) as pool,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as loop,
    ):
        assert loop.stdin is not None
        assert loop.stdout is not None
        for _ in range(rounds + 1):
            loop.stdin.write("\n")
            loop.stdin.flush()
            count, seconds = json.loads(loop.stdout.readline())
            peer.append(seconds / count)
            started = time.perf_counter()
            count = sum(pool.map(lambda prompt: _ask(server.port, prompt), PROMPTS))
            ours.append((time.perf_counter() - started) / count)
    return Row(
        name=f"serve four clients together with llama-cpp-python, {model.stem}",
        ours=tuple(ours[1:]),
        peer=tuple(peer[1:]),
        peer_name="llama-cpp-python, the same prompts in a row",
        budget=1 / 0.95,
        unit="s a token",
    )
