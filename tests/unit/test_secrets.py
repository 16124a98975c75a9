"""Database URLs that never show a secret, and files that hold one."""

import copy
import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from sqlalchemy import URL, create_engine

from exporter.errors import ConfigurationError
from exporter.secrets import DatabaseUrl, read_secret_file, read_url


class Options(BaseModel):
    """A model with a URL."""

    url: DatabaseUrl


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mysql://reader:s3cret@db1/matomo", "mysql://reader:***@db1/matomo"),
        ("mysql+pymysql://reader:s3%40cret@[::1]:3306/matomo", "mysql+pymysql://reader:***@[::1]:3306/matomo"),
        ("mysql://reader:s3/cret:x?y@db1/m", "mysql://reader:***@db1/m"),
        ("mysql://:s3cret@db1", "mysql://:***@db1"),
        ("postgresql:///mails?password=s3cret&user=a", "postgresql:///mails?password=***&user=a"),
        ("postgresql:///m?sslpassword=s3cret&sslpassword=s3cret", "postgresql:///m?sslpassword=***"),
        (
            "postgresql:///m?PASSWD=s3cret&passfile=p&auth_token=s3cret",
            "postgresql:///m?PASSWD=***&auth_token=***&passfile=p",
        ),
        ("sqlite:////srv/a@b.db", "sqlite:////srv/a%40b.db"),
        ("sqlite://", "sqlite://"),
        (" sqlite:///a.db\n", "sqlite:///a.db"),
    ],
)
def test_a_url_shows_itself_without_secrets(text: str, shown: str) -> None:
    """In every way in which it may end up in a log, a page or a message."""
    options = Options.model_validate({"url": text})
    url = options.url
    assert {str(url), repr(url), f"{url}", str(url.set(host=url.host)), str(copy.deepcopy(url))} == {shown}
    assert str(pickle.loads(pickle.dumps(url))) == shown  # noqa: S301
    assert options.model_dump() == {"url": shown}
    assert "s3cret" not in f"{options!r}{options.model_dump_json()}"


def test_a_url_connects_with_its_password() -> None:
    """What is hidden is not lost."""
    url = read_url("mysql+pymysql://reader:s3%40cret@db1/matomo?sslpassword=x")
    assert (url.password, dict(url.query)) == ("s3@cret", {"sslpassword": "x"})
    assert create_engine(read_url("sqlite://")).url == URL.create("sqlite")


def test_a_url_that_is_one_already_is_hidden_too() -> None:
    """So that code may make one itself."""
    made = Options(url=URL.create("mysql", username="reader", password="s3cret", host="db1", query={"pwd": "s3cret"}))
    assert str(made.url) == "mysql://reader:***@db1?pwd=***"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("mysql:/reader:s3cret@db1/m", "is not a database URL"),
        ("mysql://reader@db1:s3cret/m", "is not a database URL"),
        ("reader:s3cret@db1", "is not a database URL"),
        ("", "is not a database URL"),
        (53, "is not a database URL"),
        (None, "is not a database URL"),
        ("mysql://reader:a@s3cret@db1/m", "has an @ too many"),
        ("mysql://reader:a@s3cret/b@db1/m", "has an @ too many"),
        ("mysql://reader:a@s3cret?b@db1/m", "has an @ too many"),
        ("mysql://reader/a:s3cret@db1/m", "has an @ too many"),
        ("mysql://reader/a:s3cret?b@db1/m", "has an @ too many"),
    ],
)
def test_a_url_that_is_refused_is_not_shown(text: object, found: str) -> None:
    """A password with an @ would be taken apart, and its end shown as the host."""
    with pytest.raises(ValidationError) as caught:
        Options.model_validate({"url": text})
    (error,) = caught.value.errors(include_input=False)
    assert f"the value {found}; write " in error["msg"]
    assert "s3cret" not in str(error)


PART = st.text("ab@:/?#[]%&=+ é\n", max_size=6)


@given(user=PART, before=PART, after=PART, database=PART)
def test_no_password_is_shown_whatever_it_is_made_of(user: str, before: str, after: str, database: str) -> None:
    """Written without escapes, as people do."""
    text = f"mysql://{user}:{before}S3CRET{after}@db1/{database}"
    try:
        shown = str(read_url(text))
    except ValueError as error:
        shown = str(error)
    assert "S3CRET" not in shown


@pytest.mark.parametrize(
    ("content", "secret"),
    [(b"s3cret", "s3cret"), (b"s3cret\n", "s3cret"), (b"s3cret\r\n", "s3cret"), (b" s3\ncret \n\n", " s3\ncret \n")],
)
def test_a_secret_file_is_read_without_the_newline_at_its_end(content: bytes, secret: str, tmp_path: Path) -> None:
    """Editors write one; only one is taken off, for a secret may end in another."""
    file = tmp_path / "secret"
    file.write_bytes(content)
    assert read_secret_file(file) == secret


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is empty; write the secret into it"),
        (b"\n", "is empty; write the secret into it"),
        (b"s3cret\xff", "is not UTF-8; save the file as UTF-8"),
        (b"s3cret" * 20_000, "is longer than 65536 bytes; write the secret alone into it"),
    ],
    ids=["empty", "newline", "bytes", "long"],
)
def test_a_secret_file_that_is_refused_is_not_shown(content: bytes, fault: str, tmp_path: Path) -> None:
    """Its path is, and what to do."""
    file = tmp_path / "secret"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        read_secret_file(file)
    assert caught.value.faults == (f"{file}: {fault}",)


def test_a_secret_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """With what to do."""
    file = tmp_path / "secret"
    messages = {
        file: "cannot be read (No such file or directory); write the path of a file that is there",
        tmp_path: "is a directory; write the path of a file that holds the secret",
        Path("a\0b"): "cannot be read (is no path); write the path of a file that is there",
    }
    for path, message in messages.items():
        with pytest.raises(ConfigurationError) as caught:
            read_secret_file(path)
        assert caught.value.faults == (f"{path}: {message}",)


def test_a_secret_file_without_the_right_to_read_it_is_named(tmp_path: Path) -> None:
    """It is not taken for one that is not there."""
    file = tmp_path / "secret"
    file.touch(0o000)
    account = os.geteuid()
    if account == 0:
        os.seteuid(65_534)
    try:
        with pytest.raises(ConfigurationError) as caught:
            read_secret_file(file)
    finally:
        os.seteuid(account)
    assert caught.value.faults == (f"{file}: may not be read; give this account the right to read it",)
