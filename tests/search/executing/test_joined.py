"""An address where no cluster is, is refused in one line that names it; nothing is started."""

from __future__ import annotations

import pytest

from shiftsearch.search.executing.joined import check_address
from shiftsearch.search.executing.resources import ResourceError

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1:1", "nothing answers there"),
        ("[::1]:1", "nothing answers there"),
        ("localhost:port", "the port must be a number"),
        ("localhost:", "the port must be a number"),
        ("localhost:99999999", "nothing answers there"),
        ("nonsense", "Invalid address"),
        ("", "Invalid address"),
        (":", "Malformed"),
    ],
)
def test_a_wrong_address_is_refused_in_one_line(address: str, why: str) -> None:
    with pytest.raises(ResourceError) as caught:
        check_address(address)
    line = str(caught.value)
    assert line.startswith(f"--address {address}: {why}")
    assert "\n" not in line
