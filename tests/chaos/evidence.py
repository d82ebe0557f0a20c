"""What a run leaves behind, as values: the checker judges nothing else. Written to a directory, it can be judged again.

``load`` writes the client's own history, ``recorder`` keeps what syncs wrote, ``collect`` asks for the rest once
everything is healed and quiet.
"""

from __future__ import annotations

from typing import Any

import msgspec

Json = dict[str, Any]


class Post(msgspec.Struct, frozen=True):
    """One command as its client saw it, over all its attempts with the one key.

    ``command_ids``: one per 202 it got, the first of them is what the client was promised. ``refused``: the code of a
    definite refusal, empty when there was none. ``failures``: attempts that came to nothing or to an error to repeat.
    """

    key: str
    type: str
    payload: Json
    command_ids: tuple[str, ...] = ()
    refused: str = ""
    failures: int = 0


class Evidence(msgspec.Struct, frozen=True):
    """All of one session. ``events`` and ``assets`` as the API gave them at one moment of quiet.

    ``recorder``: the lines ``start|end ASSET EXECUTION`` that the syncs themselves wrote; ``beats``: the lines
    ``start|beat|end ASSET EXECUTION NS`` of the same syncs, from all workspaces there ever were, with the one clock of
    this machine; ``marks``: one line, a key, per run of a marking tool; ``streamed``: the seqs one client was given
    over its event stream, over all reconnections; ``resources``: compiled sets by sha256; ``commands``: id -> status as
    the API lists them; ``fencing``: how many stale writes the API says were refused.
    """

    session: str
    events: list[Json]
    assets: dict[str, Json]
    recorder: str = ""
    marks: str = ""
    posts: tuple[Post, ...] = ()
    streamed: tuple[int, ...] = ()
    resources: dict[str, bytes] = {}
    beats: str = ""
    commands: dict[str, str] = {}
    fencing: int = 0
