"""All that is used of Ray's private parts.

`tests/search/executing/test_ray_private.py` fails if one of them moves.
"""

from __future__ import annotations

from ray._private import worker


def session_path() -> str:
    """The folder of Ray's session on this machine; Ray is connected."""
    node = worker._global_node
    return str(node.get_session_dir_path())
