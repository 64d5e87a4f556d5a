"""Files under a URL, read and written through pyarrow: an object store, or a folder.

Secrets never stand in a URL: pyarrow takes them from the environment of each process
(`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`), from the configuration files of the provider's
tools, or from the machine's role.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl, quote, urlsplit

from shiftsearch.data.os_errors import is_machine
from shiftsearch.data.publishing import WRITING, write_atomically

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

OPTIONS: Mapping[str, tuple[str, ...]] = {
    "s3": ("endpoint_override", "region", "scheme", "tls_ca_file_path"),
    "gs": ("endpoint_override", "project_id", "retry_limit_seconds", "scheme"),
    "file": (),
}
"""The kinds of URL, and the options that its query may have."""
CREDENTIALS = (
    "give them to every process in the environment, as AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY "
    "and AWS_SESSION_TOKEN, or by the machine's role"
)
_REFUSED = re.compile(
    r"ACCESS_DENIED|NO_SUCH_BUCKET|INVALID_ACCESS_KEY_ID|INVALID_CLIENT_TOKEN_ID|"
    r"SIGNATURE_DOES_NOT_MATCH|MISSING_AUTHENTICATION_TOKEN|INVALID_SIGNATURE|"
    r"PERMISSION_DENIED|UNAUTHENTICATED|NOT_FOUND|status 40[0134]\b"
)
"""In what pyarrow says if the server answered, and refused."""


class Found(NamedTuple):
    """A file: its size in bytes, and when it was written, in seconds since 1970."""

    size: int
    written: float


def url_problem(url: str) -> str:
    """What is wrong with a URL, in one line that does not repeat it; empty if nothing is."""
    try:
        parts = urlsplit(url)
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        return "must be a URL, as in s3://bucket/folder"
    known = OPTIONS.get(parts.scheme)
    names = [name for name, _ in options]
    if "@" in url or "%40" in url:
        return f"must hold no '@', as before it are a user and a password; {CREDENTIALS}"
    if known is None:
        return f"must begin with {', '.join(f'{kind}://' for kind in OPTIONS)}"
    if parts.fragment or "#" in url or not url.isprintable() or " " in url:
        return "must hold no space, '#' or unprintable character"
    if parts.scheme == "file" and (parts.netloc or not parts.path.startswith("/")):
        return "must be file:/// and an absolute path"
    if parts.scheme != "file" and not parts.netloc:
        return f"must name a bucket, as in {parts.scheme}://bucket/folder"
    folders = parts.path.strip("/")
    if folders and {"", ".", ".."} & set(folders.split("/")):
        return "must hold no empty folder, '.' or '..'"
    if wrong := sorted(set(names) - set(known)):
        rule = f"may have only the options {', '.join(known)}" if known else "must have no options"
        return f"has the unknown {', '.join(wrong)}, but {rule}; for secrets, {CREDENTIALS}"
    if len(set(names)) < len(names):
        return "names an option twice"
    return ""


def masked(text: str) -> str:
    """A text without the secrets that URLs in it may hold."""
    return re.sub(r"\w+://[^\s'\"]+", lambda found: _masked_url(found[0]), text)


def _masked_url(url: str) -> str:
    known = "|".join(sorted({name for names in OPTIONS.values() for name in names}))
    url = re.sub(r"://.*@", "://***@", url)
    return re.sub(rf"([?&](?!(?:{known})=)\w+=)[^&]*", r"\1***", url)


def below(url: str, name: str) -> str:
    """The URL of a folder or file below a folder."""
    place, mark, query = url.partition("?")
    return f"{place.rstrip('/')}/{quote(name.rstrip('/'))}{mark}{query}"


def refused(error: OSError) -> bool:
    """Whether a store answered and refused: a wrong bucket, no permission; else the network."""
    if error.errno is None:
        return _REFUSED.search(str(error)) is not None
    return not is_machine(error)


class RemoteFolder:
    """The files below a URL; a name is a relative path with `/`.

    A file appears complete or not at all, and replaces an older one in one step.

    Args:
        url: without a problem, see `url_problem`.

    Raises:
        OSError: in every method, if the store does not answer, or refuses; see `refused`.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def folder(self, name: str) -> RemoteFolder:
        """The folder of a name."""
        return RemoteFolder(below(self.url, name))

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if there is none.

        If another process replaces the file meanwhile by one of another size, the content is
        wrong: the size is asked for first.
        """
        with _as_os_error():
            system, path = _opened(self.url)
            try:
                with system.open_input_file(f"{path}/{name}") as file:
                    content: bytes = file.read()
            except FileNotFoundError:
                return None
            except OSError:
                # One that is removed after its size was asked for gives an error of any kind.
                if self.find(name) is None:
                    return None
                raise
            return content

    def write(self, name: str, content: bytes) -> None:
        """Write a file."""
        with _as_os_error():
            system, path = _opened(self.url)
            if system.type_name == "local":
                write_atomically(Path(path, name), content)
                return
            # Without `with`, which would publish what was written before an error.
            file = system.open_output_stream(f"{path}/{name}", compression=None)
            file.write(content)
            file.close()

    def delete(self, name: str) -> None:
        """Remove a file, if there is one."""
        with _as_os_error():
            system, path = _opened(self.url)
            try:
                system.delete_file(f"{path}/{name}")
            except FileNotFoundError:
                return

    def remove(self) -> None:
        """Remove the folder with all that is in it, if there is one."""
        with _as_os_error():
            system, path = _opened(self.url)
            try:
                system.delete_dir(path)
            except FileNotFoundError:
                return

    def find(self, name: str) -> Found | None:
        """What is known of a file; None if there is none."""
        from pyarrow.fs import FileType

        with _as_os_error():
            system, path = _opened(self.url)
            info = system.get_file_info(f"{path}/{name}")
            if info.type != FileType.File:
                return None
            return Found(info.size, info.mtime_ns / 1e9)

    def files(self) -> dict[str, Found]:
        """All files by name, in order."""
        from pyarrow.fs import FileSelector, FileType

        with _as_os_error():
            system, path = _opened(self.url)
            infos = system.get_file_info(FileSelector(path, allow_not_found=True, recursive=True))
            found = {
                info.path[len(path) :].lstrip("/"): Found(info.size, info.mtime_ns / 1e9)
                for info in infos
                if info.type == FileType.File and not info.base_name.startswith(WRITING)
            }
            return dict(sorted(found.items()))

    def tidy(self) -> None:
        """Remove what killed writers left, where that is seen."""
        system, path = _opened(self.url)
        if system.type_name == "local":
            for leftover in Path(path).rglob(f"{WRITING}*"):
                leftover.unlink(missing_ok=True)


@lru_cache(maxsize=64)
def _opened(url: str) -> tuple[FileSystem, str]:
    from pyarrow.fs import FileSystem

    if url.startswith("s3:"):  # a small file in one request instead of three
        url += f"{'&' if '?' in url else '?'}allow_delayed_open=true"
    system, path = FileSystem.from_uri(url)
    return system, path.rstrip("/")


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Turn pyarrow's other errors, such as of a wrong endpoint, into an OSError."""
    import pyarrow

    try:
        yield
    except pyarrow.ArrowException as error:
        if isinstance(error, OSError):
            raise
        raise OSError(masked(str(error))) from error
