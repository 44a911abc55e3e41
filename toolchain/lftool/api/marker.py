"""`@hookimpl`, in a module of its own: a plugin that is imported for one of its modules needs no records."""

from __future__ import annotations

import pluggy

hookimpl = pluggy.HookimplMarker("lftool")
