"""Who may ask a server: one table for the Python server and the native one."""

from __future__ import annotations

# Headers Host, headers Origin, and whether the request comes from elsewhere.
GATE = {
    "none": ([], [], False),
    "localhost": (["localhost:8080"], [], False),
    "in capitals": (["LOCALHOST"], ["http://LocalHost:1"], False),
    "loopback": (["127.1.2.3"], ["http://127.0.0.1"], False),
    "IPv6": (["[::1]:80"], ["http://[::1]"], False),
    "another name": (["evil.example"], [], True),
    "another page": (["localhost"], ["https://evil.example"], True),
    "no page": (["localhost"], ["null"], True),
    "a page of a file": (["localhost"], ["file://localhost"], True),
    "IPv6 and a name": (["[::1].evil.com"], [], True),
    "IPv6 and a port and a name": (["[::1]:80.evil.com"], [], True),
    "a name that begins so": (["localhost.evil.com"], [], True),
    "an address that begins so": (["127.0.0.1.evil.com"], [], True),
    "a user": (["localhost@evil.com"], [], True),
    "a page of a user": (["localhost"], ["http://localhost@evil.com"], True),
    "two": (["localhost", "evil.example"], [], True),
    "two of the same": (["localhost", "localhost"], [], True),
    "two pages": (["localhost"], ["http://localhost", "http://localhost"], True),
    "a list": (["localhost, evil.example"], [], True),
    "a space": (["localhost evil.example"], [], True),
    "a path": (["localhost/evil"], [], True),
    "an open bracket": (["[::1"], [], True),
}

# Headers Authorization where the key is `k`, and whether that is it.
KEYS = {
    "the key": (["Bearer k"], True),
    "the scheme in small letters": (["bearer k"], True),
    "two spaces": (["Bearer  k"], True),
    "another": (["Bearer j"], False),
    "none": ([], False),
    "another scheme": (["Basic k"], False),
    "two": (["Bearer k", "Bearer k"], False),
    "only the key": (["k"], False),
}
