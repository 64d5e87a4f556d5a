"""Files and entries under a URL: of an S3 server on loopback, and of a folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pyarrow import NativeFile
from pyarrow.fs import FileInfo

from shiftsearch.model import remote
from shiftsearch.model.remote import RemoteFolder, below, masked, refused, url_problem
from shiftsearch.model.remote_store import RemoteStore
from shiftsearch.model.store import Store, open_store
from tests.conftest import SECRET
from tests.model.store_conformance import COURSE, StoreConformance, make_entry, same

pytestmark = [
    pytest.mark.unit,
    pytest.mark.slow(reason="the S3 server starts in the first test, and answers in 20 ms"),
]


class TestRemoteFiles(StoreConformance):
    """Under a file: URL."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return open_store(f"{tmp_path.as_uri()}/a%20store")


class TestObjectStore(StoreConformance):
    """On an S3 server."""

    @pytest.fixture
    def store(self, bucket: str) -> Store:
        return open_store(below(bucket, "store"))


@pytest.fixture(params=["s3", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return request.getfixturevalue("bucket") if request.param == "s3" else tmp_path.as_uri()


def test_files_come_back_by_name_until_they_are_deleted(url: str) -> None:
    folder = RemoteFolder(below(url, "a run"))
    assert folder.files() == {}
    assert folder.read("x") is None
    assert folder.find("x") is None
    before = time.time()
    for name, content in (("b/z 1", b"12"), ("a", b""), ("b/y", b"3" * 6_000_000)):
        folder.write(name, content)
    found = folder.files()
    assert {name: each.size for name, each in found.items()} == {
        "a": 0,
        "b/y": 6_000_000,
        "b/z 1": 2,
    }
    assert list(found) == sorted(found)
    assert all(before - 2 <= each.written <= time.time() + 2 for each in found.values())
    assert folder.find("a") == found["a"]
    assert folder.find("b") is None
    assert folder.read("b/y") == b"3" * 6_000_000
    assert folder.folder("b").read("z 1") == b"12"
    assert list(RemoteFolder(url).files()) == [f"a run/{name}" for name in found]
    folder.write("a", b"new")
    assert folder.read("a") == b"new"
    folder.delete("a")
    folder.delete("a")
    assert list(folder.files()) == ["b/y", "b/z 1"]
    folder.folder("b").remove()
    folder.remove()
    folder.remove()
    assert RemoteFolder(url).files() == {}


@pytest.mark.parametrize("removed", [True, False])
def test_only_a_file_that_is_removed_while_it_is_read_is_none(
    bucket: str, monkeypatch: pytest.MonkeyPatch, removed: bool
) -> None:
    folder, (system, path) = RemoteFolder(bucket), remote._opened(bucket)
    folder.write("a", b"content")

    class Meanwhile:
        """Between the requests for the size and for the content, it is removed; or an error."""

        def open_input_file(self, name: str) -> NativeFile:
            file = system.open_input_file(name)
            if not removed:
                raise OSError("no network")
            system.delete_file(name)
            return file

        def get_file_info(self, name: str) -> FileInfo:
            return system.get_file_info(name)

    monkeypatch.setattr(remote, "_opened", lambda _: (Meanwhile(), path))
    if removed:
        assert folder.read("a") is None
    else:
        with pytest.raises(OSError, match="no network"):
            folder.read("a")


def test_an_address_opens_the_same_store_in_another_process(bucket: str) -> None:
    store = open_store(bucket)
    assert isinstance(store, RemoteStore)
    store.save(COURSE, "final", make_entry())
    assert same(open_store(store.address).load(COURSE, "final"), make_entry())
    with pytest.raises(FileNotFoundError):
        store.published(COURSE, "state")


def test_what_is_torn_is_read_again(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(bucket)
    store.save(COURSE, "state", make_entry())
    read, calls = RemoteFolder.read, []

    def torn(self: RemoteFolder, name: str) -> bytes | None:
        calls.append(name)
        content = read(self, name)
        return content[: -len(calls)] if content and len(calls) < 5 else content

    monkeypatch.setattr(RemoteFolder, "read", torn)
    assert same(store.load(COURSE, "state"), make_entry())
    assert len(calls) == 5


@pytest.mark.parametrize(
    ("change", "is_refused"),
    [
        (lambda url: url.replace("s3://", "s3://other-"), True),
        (lambda url: url.replace("127.0.0.1:", "127.0.0.1:1"), False),  # no such port
    ],
)
def test_it_is_told_apart_whether_a_store_refuses_or_does_not_answer(
    bucket: str, change: Callable[[str], str], is_refused: bool
) -> None:
    with pytest.raises(OSError) as error:
        RemoteFolder(change(bucket)).write("a", b"")
    assert refused(error.value) is is_refused
    assert SECRET not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_that_cannot_be_written_refuses(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError) as error:
        RemoteFolder(below(tmp_path.as_uri(), "file")).write("a", b"")
    assert refused(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket",
        "s3://bucket/",
        "s3://bucket/a/b/?region=eu-west-1&scheme=http&endpoint_override=localhost:9000",
        "gs://bucket/a?retry_limit_seconds=10",
        "file:///mnt/shared/a%20b",
    ],
)
def test_sound_urls(url: str) -> None:
    assert url_problem(url) == ""
    assert url_problem(below(url, "a name?")) == ""
    assert masked(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "runs/mine",
        "s3://",
        "s3:///a",
        "ftp://host/a",
        f"s3://key:{SECRET}@bucket/a",
        f"s3://key:{SECRET}%40bucket/a",
        f"s3://bucket/a?access_key=key&secret_key={SECRET}",
        f"s3://bucket/a?endpoint_override=key:{SECRET}@host",
        f"s3://bucket/a?{SECRET}",
        "s3://bucket/a//b",
        "s3://bucket/../b",
        "s3://bucket/a b",
        "s3://bucket/a#b",
        "s3://bucket/a?region=x&region=y",
        "gs://bucket/a?region=x",
        "file://host/a",
        "file:a",
        "file:///a?scheme=http",
        "s3://[bucket/a",
    ],
)
def test_wrong_urls_are_refused_without_their_secrets(url: str) -> None:
    problem = url_problem(url)
    assert problem
    assert "\n" not in problem
    assert SECRET not in problem


def test_secrets_are_masked_wherever_a_url_stands() -> None:
    lines = [
        f"--storage s3://key:{SECRET}@bucket/a: is wrong",
        f"'s3://bucket/a?region=x&secret_key={SECRET}&access_key=key', but",
    ]
    assert [masked(line) for line in lines] == [
        "--storage s3://***@bucket/a: is wrong",
        "'s3://bucket/a?region=x&secret_key=***&access_key=***', but",
    ]
