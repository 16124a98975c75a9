"""Matomo's configuration is read as PHP and Matomo read it; where that is not certain, it is refused by file and line.

The tables hold what PHP 8.2 gave; where `php` is installed it is asked again, and about thousands of other texts.
"""

import json
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from html.entities import codepoint2name
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from exporter.address import Tls
from exporter.errors import ConfigurationError
from exporter.queues.matomo.config_ini import (
    MatomoConfig,
    decode_entities,
    layers,
    likely_sockets,
    read_config,
)
from exporter.queues.matomo.ini import read_ini

FIRST_LINE = "; <?php exit; ?> DO NOT REMOVE THIS LINE\n"
ENVIRONMENT = {"NAME": "Value", "EMPTY": ""}

# What stands after `key = `, and what PHP makes of it.
VALUES = [
    ('"plain"', "plain"),
    ('""', ""),
    ("", ""),
    ("   ", ""),
    ("''", ""),
    ("'' ; nothing", ""),
    ("unquoted", "unquoted"),
    ("  spaces around  ", "spaces around"),
    ("a  b", "a  b"),
    ("3306", "3306"),
    ("-5", "-5"),
    ("007", "007"),
    ("0x1A", "0x1A"),
    ("1e3", "1e3"),
    ("true", "1"),
    ("TRUE", "1"),
    ("on ", "1"),
    ("Yes ; comment", "1"),
    ("false", ""),
    ("off", ""),
    ("no", ""),
    ("none", ""),
    ("null", ""),
    ('"true"', "true"),
    ("'no'", "no"),
    ("nothing", "nothing"),
    ("on.example", "on.example"),
    ("php_os", "php_os"),
    ("PDO\\MYSQL", "PDO\\MYSQL"),
    ("db.example.org:3306/x?y,z", "db.example.org:3306/x?y,z"),
    ("a]b[c{d}e#f@g*h%i<j>+k-l_m", "a]b[c{d}e#f@g*h%i<j>+k-l_m"),
    ("a;b", "a"),
    ("a ; b", "a"),
    ('"a;b" ; c', "a;b"),
    ('"a";c', "a"),
    ("'a;b' ; c", "a;b"),
    ("'it is \"so\"'", 'it is "so"'),
    ("'back\\slash\\'", "back\\slash\\"),
    ("'${NAME}'", "${NAME}"),
    ('"it\'s"', "it's"),
    ('"a=b|c&d!e^f~g(h)i"', "a=b|c&d!e^f~g(h)i"),
    ('"say \\"hi\\""', 'say "hi"'),
    ('"a\\\\b"', "a\\b"),
    ('"a\\\\\\\\b"', "a\\\\b"),
    ('"a\\b\\n\\t"', "a\\b\\n\\t"),
    ('"a\\\'b"', "a\\'b"),
    ('"a\\$b"', "a$b"),
    ('"a\\${NAME}b"', "a${NAME}b"),
    ('"ends with \\\\"', "ends with \\"),
    ('"ends with \\"', "ends with \\"),
    ('"ends with \\" ; "', 'ends with " ; '),
    ('"ends with \\\\" ; comment', "ends with \\"),
    ('"C:\\path\\"', "C:\\path\\"),
    ('"$NAME $ $$ 5$"', "$NAME $ $$ 5$"),
    ('"<${NAME}>"', "<Value>"),
    ('"<${EMPTY}>"', "<>"),
    ("${NAME}", "Value"),
    ("a${NAME}b", "aValueb"),
    ("${ NAME }", "Value"),
    ("a$b", "a$b"),
    ("a$$b", "a$$b"),
    ("a$$", "a$$"),
    ("a\\", "a\\"),
    ('"a" "b"', "ab"),
    ("\"a\" 'b'", "ab"),
    ("'a' 'b'", "a b"),
    ('a "b" c', "abc"),
    ("a'b'c", "abc"),
    ('"two\nlines"', "two\nlines"),
    ('"two\r\nlines"', "two\r\nlines"),
    ("'two\nlines'", "two\nlines"),
    ('"[other]\nkey = 5"', "[other]\nkey = 5"),
    ('"grüße €"', "grüße €"),
    ("grüße", "grüße"),
    ('"a&amp;b&quot;&#36;"', "a&amp;b&quot;&#36;"),
]

# Whole texts, and the sections that PHP makes of them.
TEXTS: list[tuple[str, dict[str, dict[str, str]]]] = [
    ("", {}),
    (FIRST_LINE, {}),
    ("[a]", {"a": {}}),
    ("[a]\nx=1\ny = 2\n", {"a": {"x": "1", "y": "2"}}),
    ("[a]\r\nx=1\r\ny = 2\r\n", {"a": {"x": "1", "y": "2"}}),
    ("[a]\rx=1\ry = 2", {"a": {"x": "1", "y": "2"}}),
    ("\ufeff[a]\nx=1", {"a": {"x": "1"}}),
    ("\ufeff" + FIRST_LINE + "[a]\nx=1", {"a": {"x": "1"}}),
    ("[a]\n\tx\t=\t1\n   y   =   2\n", {"a": {"x": "1", "y": "2"}}),
    ("[a]\nx =\ny = 2", {"a": {"x": "", "y": "2"}}),
    ("[a]\nx\ny = 2", {"a": {"y": "2"}}),
    ("[a]\nx=1\nx=2", {"a": {"x": "2"}}),
    ("[a]\nx=1\nX=2", {"a": {"x": "1", "X": "2"}}),
    ("[a]\nx=1\ny=2\n[b]\nz=3\n[a]\nx=4", {"a": {"x": "4"}, "b": {"z": "3"}}),
    ("[a]\nx=1\n[A]\nx=2", {"a": {"x": "1"}, "A": {"x": "2"}}),
    ("[a] ; see [b]\nx=1", {"a": {"x": "1"}}),
    ("[a] words\nx=1", {"a": {"x": "1"}}),
    ("[a]x=1", {"a": {"x": "1"}}),
    ("['a']\nx=1\n[\"b\"]\nx=2\n[ c ]\nx=3", {"a": {"x": "1"}, "b": {"x": "2"}, " c ": {"x": "3"}}),
    ("[HTTP]\nx=1\n[General_1]\nx=2\n[1]\nx=3", {"HTTP": {"x": "1"}, "General_1": {"x": "2"}, "1": {"x": "3"}}),
    ("[DEFAULT]\nx=1\n[a]\ny=2", {"DEFAULT": {"x": "1"}, "a": {"y": "2"}}),
    ("[a]\n#x=1\n  ; y=2\n;z=3", {"a": {"#x": "1"}}),
    ("[a]\nx.y:z = 1\ntwo words = 2", {"a": {"x.y:z": "1", "two words": "2"}}),
    ("[a]\nx[]=1\nx = 2", {"a": {"x": "2"}}),
    ('[a]\nx = "1\n[b]\nx = 2"\ny = 3', {"a": {"x": "1\n[b]\nx = 2", "y": "3"}}),
    ("only = 1\n[a]\nonly = 2\nnotes = 3", {"a": {"only": "2", "notes": "3"}}),
]

CAPITALS = "a word in capitals may be a constant of PHP; put the value in double quotes"
CALCULATED = "PHP calculates with one of & | ^ ~ ! ( ) outside quotes; put the value in double quotes"
DOLLAR = "PHP reads a $ outside quotes together with what follows it; put the value in double quotes"
UNSET = (
    "names with ${} what is not set in Queuemedic's environment;"
    " set it there, or write &#36;{ for the two characters themselves"
)

# What stands after `key = `, and why its value cannot be known; PHP accepts all of them.
DOUBTS = [
    ("PHP_OS", CAPITALS),
    ("E_ALL", CAPITALS),
    ("SECRET", CAPITALS),
    ("a SECRET", CAPITALS),
    ("STREAM_CRYPTO_PROTO_TLSv1_2", CAPITALS),
    ("6|1", CALCULATED),
    ("a&b", CALCULATED),
    ("!a", CALCULATED),
    ("~5", CALCULATED),
    ("(a)", CALCULATED),
    ("(a | !b) & ~(c ^ 5)", CALCULATED),
    ("E_ALL & ~E_NOTICE", f"{CAPITALS}; {CALCULATED}"),
    ("abc$\n", DOLLAR),
    ("a$ b", DOLLAR),
    ("${UNSET}", UNSET),
    ('"${UNSET}"', UNSET),
    ('"${NAME:-other}"', UNSET),
]

NO_FURTHER = "PHP reads no further than this: a character with a meaning of its own stands outside quotes"
BAD_VALUE = "PHP rejects this value; put the value in double quotes"
OPEN_QUOTE = "PHP rejects the file: a double quote is opened here and never closed"
OPEN_BRACKET = "PHP rejects the file: a bracket is opened here and not closed on its line"

# Texts that PHP rejects, and what is said of them.
REJECTED = [
    ('[a]\nx = "1', f"f:2: {OPEN_QUOTE}"),
    ('[a]\nx = "1" "\ny = 2', f"f:2: {OPEN_QUOTE}"),
    ('[a]\nx = 1"\n\ny = "2"', f"f:4: {OPEN_QUOTE}"),
    ('[a]\nx = "1\\" ; comment', f"f:2: {OPEN_QUOTE}"),
    ("[a]\n\nx = a=b", f"f:3: [a] x: {BAD_VALUE}"),
    ("x = a=b", f"f:1: before any section, x: {BAD_VALUE}"),
    ("[a]\r\nx = come on\r\n", f"f:2: [a] x: {BAD_VALUE}"),
    ("[a]\nx = no way", f"f:2: [a] x: {BAD_VALUE}"),
    ('[a]\nx = yes"a"', f"f:2: [a] x: {BAD_VALUE}"),
    ("[a]\nx = a~b", f"f:2: [a] x: {BAD_VALUE}"),
    ("[a]\nx = a!", f"f:2: [a] x: {BAD_VALUE}"),
    ("[a]\nx = a|", f"f:2: [a] x: {BAD_VALUE}"),
    ("[a]\nx = a||b", f"f:2: [a] x: {BAD_VALUE}"),
    ("[a]\nx = (a", f"f:2: [a] x: {BAD_VALUE}"),
    ("[a]\nx = a)", f"f:2: [a] x: {BAD_VALUE}"),
    ("[a]\nx = (a) b", f"f:2: [a] x: {BAD_VALUE}"),
    ("[a]\nx[] = a=b", f"f:2: [a] x: {BAD_VALUE}"),
    ("[a]\nx = abc$\ny = 2", f"f:2: [a] x: {BAD_VALUE}"),
    ("[a]\nx = ${}", f"f:2: [a] x: {BAD_VALUE}"),
    (
        '[a]\nx = "p${!"',
        "f:2: PHP rejects the ${ here; write &#36;{ for the two characters themselves",
    ),
    ("[a\nx=1", f"f:1: {OPEN_BRACKET}"),
    ("[a;b]\nx=1", f"f:1: {OPEN_BRACKET}"),
    ("[a]\nx[ = 1", f"f:2: {OPEN_BRACKET}"),
    (
        "  [a]\nx=1",
        "f:1: PHP rejects the file here: a bracket follows a name or a space and no value follows it",
    ),
    ("[a]\non = 5", f"f:2: {NO_FURTHER}"),
    ("[a]\nnull = 5", f"f:2: {NO_FURTHER}"),
    ("[a]\n= 5", f"f:2: {NO_FURTHER}"),
    ("[a]\n  = 5", f"f:2: {NO_FURTHER}"),
    ("[a] on = 5", f"f:1: {NO_FURTHER}"),
    ("[a]\nx(y) = 5", f"f:2: {NO_FURTHER}"),
    ("[a]\nx & y = 5", f"f:2: {NO_FURTHER}"),
]

# Texts that PHP accepts without a word, dropping part of them: refused here.
STRICTER = [
    ("[a]\nx = it's\ny = 2", f"f:2: [a] x: {BAD_VALUE}"),
    ("[a]\nx = it's\ny = 'z'", f"f:2: [a] x: {BAD_VALUE}"),
    ("[a]\nx = abc$", f"f:2: [a] x: {BAD_VALUE}"),
    ("[a]\nx = a$\\$;b", f"f:2: [a] x: {BAD_VALUE}"),
    ("[a]\nx = 1\n]\ny = 2", f"f:3: {NO_FURTHER}"),
    ("[a]\nx = 1\0\ny = 2", "f: the file holds a NUL byte; save it as UTF-8 text"),
]


def read(text: str) -> dict[str, dict[str, str]]:
    """Read a text; a value that cannot be known is left out."""
    sections = read_ini(text.encode(), name="f", environment=ENVIRONMENT)
    return {
        section: {key: entry.text for key, entry in entries.items() if not entry.doubt}
        for section, entries in sections.items()
    }


@pytest.mark.parametrize(("source", "expected"), VALUES)
def test_a_value_is_what_php_makes_of_it(source: str, expected: str) -> None:
    """Quotes, escapes, comments, words and variables give the value that PHP gives, and the next key is not lost."""
    assert read(f"[database]\nkey = {source}\nnext=5") == {"database": {"key": expected, "next": "5"}}


@pytest.mark.parametrize(("text", "expected"), TEXTS)
def test_sections_and_keys_are_those_of_php(text: str, expected: dict[str, dict[str, str]]) -> None:
    """Line ends, marks, repeated sections and odd names give the sections that PHP gives."""
    assert read(text) == expected


@pytest.mark.parametrize(("source", "doubt"), DOUBTS)
def test_a_value_that_php_computes_is_not_guessed(source: str, doubt: str) -> None:
    """Constants, sums and unset variables make an entry that says why it is not known, and harm no other."""
    entries = read_ini(f"[a]\nkey = {source}".encode(), name="f", environment=ENVIRONMENT)["a"]
    assert (entries["key"].doubt, entries["key"].place) == (doubt, "f:2")


def test_a_list_is_not_one_value() -> None:
    """`key[]` makes a list in PHP, also where the key had a value before."""
    entries = read_ini(b"[a]\nx = 1\nx[] = 2\nx[y] = 3", name="f", environment={})["a"]
    assert (entries["x"].doubt, entries["x"].place) == ("is a list; give one value, without []", "f:4")


@pytest.mark.parametrize(("text", "message"), REJECTED + STRICTER)
def test_a_file_that_php_cannot_read_is_refused(text: str, message: str) -> None:
    """What PHP rejects or silently cuts is an error with file and line."""
    with pytest.raises(ConfigurationError) as caught:
        read(text)
    assert str(caught.value) == message


ASK_PHP = """
$answers = [];
foreach (json_decode(stream_get_contents(STDIN)) as $text) {
    $sections = @parse_ini_string($text . "\\n", true);
    $answers[] = $sections === false ? null : (object) array_map(
        fn($section) => is_array($section) ? (object) $section : $section, $sections);
}
echo json_encode($answers, JSON_THROW_ON_ERROR);
"""
needs_php = pytest.mark.skipif(shutil.which("php") is None, reason="php is not installed, so the tables go unchecked")


def ask_php(texts: list[str]) -> list[dict[str, dict[str, str]] | None]:
    """Give PHP's sections of each text, without lists and without keys outside a section; None where it rejects."""
    run = subprocess.run(
        ["php", "-n", "-r", ASK_PHP],
        input=json.dumps(texts).encode(),
        stdout=subprocess.PIPE,
        check=True,
        env=ENVIRONMENT | {"PATH": os.environ["PATH"]},
    )
    return [
        None if answer is None else {name: section for name, section in answer.items() if isinstance(section, dict)}
        for answer in json.loads(run.stdout)
    ]


@needs_php
def test_php_confirms_the_tables() -> None:
    """The tables hold what the installed PHP gives, not what we think it gives."""
    texts = [f"[database]\nkey = {source}\nnext=5" for source, _ in VALUES] + [text for text, _ in TEXTS]
    expected = [{"database": {"key": value, "next": "5"}} for _, value in VALUES] + [sections for _, sections in TEXTS]
    assert ask_php(texts) == expected
    assert ask_php([text for text, _ in REJECTED]) == [None] * len(REJECTED)
    accepted = [f"[a]\nkey = {source}" for source, _ in DOUBTS] + [text for text, _ in STRICTER]
    assert None not in ask_php(accepted)


PIECES = st.one_of(
    st.sampled_from("\"'\\;= \t\n\r&|!~^()[]{}$#:/.,_éa1"),
    st.sampled_from(['\\"', "${NAME}", "${", "[]", "[database]\n", "host", "on", "No", "null", "E_ALL", "''", "'a'"]),
    st.sampled_from(["\n;", "\nkey = ", '\nkey = "', '"\n', "&amp;", "-5", "\r\n", "$x", "$$"]),
)
HOSTILE = st.lists(PIECES, max_size=12).map("".join)
FILES = st.one_of(
    HOSTILE,
    HOSTILE.map("[database]\nhost = h\npassword = {}\nport = 1\n".format),
    HOSTILE.map('[database]\nhost = h\npassword = "{}"\nport = 1\n'.format),
)


@needs_php
@settings(max_examples=25, derandomize=True, deadline=None)
@given(st.lists(FILES, min_size=50, max_size=100))
def test_php_gives_no_other_value_for_any_text(texts: list[str]) -> None:
    """Whatever the text, we either give the value that PHP gives, or none."""
    for text, expected in zip(texts, ask_php(texts), strict=True):
        try:
            sections = read_ini(text.encode(), name="f", environment=ENVIRONMENT)
        except ConfigurationError:
            continue
        assert expected is not None, text
        assert sections.keys() == expected.keys(), text
        for name, entries in sections.items():
            assert entries.keys() == expected[name].keys(), text
            known = {key: entry.text for key, entry in entries.items() if not entry.doubt}
            assert known == {key: expected[name][key] for key in known}, text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a&amp;b&quot;&#36;", 'a&b"$'),
        ("&lt;&gt;&eacute;&euro;&hearts;", "<>é€♥"),
        ("&#8364;&#x20AC;&#X20ac;&#036;", "€€€$"),
        ("&#39;&#x27;&apos;", "&#39;&#x27;&apos;"),
        ("&copy &AMP; &unknown; &; &#; &#x; &#a;", "&copy &AMP; &unknown; &; &#; &#x; &#a;"),
        ("&#0;&#8;&#128;&#xD800;&#1114112;&#99999999999;", "&#0;&#8;&#128;&#xD800;&#1114112;&#99999999999;"),
        ("&amp;lt;", "&lt;"),
        ("&&amp;amp;", "&&amp;"),
    ],
)
def test_entities_are_those_of_html_4(text: str, expected: str) -> None:
    """Only what PHP's html_entity_decode with ENT_COMPAT decodes is decoded."""
    assert decode_entities(text) == expected


def a_site(
    folder: Path,
    own: str | None,
    *,
    defaults: str | None = None,
    shared: str | None = None,
    name: str = "config.ini.php",
) -> Path:
    """Write Matomo's layers; each text follows the line that Matomo's files start with."""
    for file, text in (("global.ini.php", defaults), ("common.config.ini.php", shared), (name, own)):
        if text is not None:
            (folder / file).write_text(FIRST_LINE + text, encoding="utf-8", newline="")
    return folder / name


INSTALLED = '[database]\nhost = "127.0.0.1"\nusername = "matomo"\npassword = "secret"\ndbname = "matomo"\n'


def test_a_site_as_the_installer_leaves_it(tmp_path: Path) -> None:
    """The files of a fresh Matomo give everything that is needed."""
    path = a_site(
        tmp_path,
        '[database]\nhost = "127.0.0.1"\nusername = "matomo"\npassword = "a&amp;b&quot;&#36;\\\\"\ndbname = "site"\n'
        'tables_prefix = "matomo_"\nport = 3307\ncharset = "utf8mb4"\n\n[General]\nsalt = "x"\n'
        'trusted_hosts[] = "example.org"\n\n[PluginsInstalled]\nPluginsInstalled[] = "Login"\n',
        defaults="[database]\nhost =\ndbname =\ntables_prefix =\nport = 3306\nadapter = PDO\\MYSQL\nschema = Mysql\n"
        "enable_ssl = 0\nssl_ca =\ncharset = utf8\n[log]\nlog_level = WARN\n"
        "[General]\nmaintenance_mode = 0\narchive_failure_recovery_timeout = 86400\n",
    )
    assert read_config(path) == MatomoConfig(
        host="127.0.0.1",
        port=3307,
        unix_socket=None,
        username="matomo",
        password='a&b"$\\',
        database="site",
        tables_prefix="matomo_",
        charset="utf8mb4",
        tls=None,
        maintenance_mode=False,
        archive_failure_recovery_timeout=timedelta(days=1),
    )


def test_what_no_layer_says_has_matomos_default(tmp_path: Path) -> None:
    """Without global.ini.php, and with next to nothing in the file, the defaults are Matomo's own."""
    assert read_config(a_site(tmp_path, "[database]\ndbname = matomo\n")) == MatomoConfig(
        host="localhost",
        port=3306,
        unix_socket=None,
        username="",
        password="",
        database="matomo",
        tables_prefix="",
        charset="utf8",
        tls=None,
        maintenance_mode=False,
        archive_failure_recovery_timeout=timedelta(seconds=86400),
    )


def test_later_layers_win_key_by_key(tmp_path: Path) -> None:
    """The site's file beats the common one, which beats the defaults; a blank value wins too."""
    path = a_site(
        tmp_path,
        "[database]\ndbname = site\npassword = own\ncharset =\n",
        defaults="[database]\nhost = first\nport = 1\nusername = first\npassword = first\ncharset = utf8\n",
        shared="[database]\nhost = second\nusername = second\npassword = second\n",
        name="example.org.config.ini.php",
    )
    config = read_config(path)
    assert (config.host, config.port, config.username, config.password) == ("second", 1, "second", "own")
    assert (config.database, config.charset) == ("site", None)
    assert layers(path) == (tmp_path / "global.ini.php", tmp_path / "common.config.ini.php", path)


# What is added to [database], and where that leads.
PLACES: list[tuple[str, tuple[str, int, str | None]]] = [
    ('port = "3307"', ("127.0.0.1", 3307, None)),
    ("port =", ("127.0.0.1", 3306, None)),
    ("port = 0", ("127.0.0.1", 3306, None)),
    ('port = "/run/m.sock"', ("localhost", 3306, "/run/m.sock")),
    ('unix_socket = "/run/u.sock"', ("localhost", 3306, "/run/u.sock")),
    ('unix_socket = "/run/u.sock"\nport = "/run/m.sock"', ("localhost", 3306, "/run/m.sock")),
    ('unix_socket = "/run/u.sock"\nport = 3307', ("localhost", 3306, "/run/u.sock")),
    ('unix_socket = ""\nport = 3307', ("127.0.0.1", 3307, None)),
    ('host = "localhost"', ("localhost", 3306, None)),
    ('host = "[::1]"', ("::1", 3306, None)),
    ('host = "::1"', ("::1", 3306, None)),
    ('host = ""', ("localhost", 3306, None)),
]


@pytest.mark.parametrize(("added", "expected"), PLACES)
def test_where_the_database_is(tmp_path: Path, added: str, expected: tuple[str, int, str | None]) -> None:
    """A socket, given as such or as the port, wins over host and port."""
    config = read_config(a_site(tmp_path, INSTALLED + added))
    assert (config.host, config.port, config.unix_socket) == expected


PLAIN_TLS = Tls(ca_file=None, ca_path=None, cert_file=None, key_file=None, is_verified=True)


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        ('enable_ssl = 1\nssl_ca = "/ca.pem"', replace(PLAIN_TLS, ca_file=Path("/ca.pem"))),
        ('enable_ssl = true\nssl_ca_path = "/ca"', replace(PLAIN_TLS, ca_path=Path("/ca"))),
        (
            'enable_ssl = "1"\nssl_cert = "/c.pem"\nssl_key = "/k.pem"\nssl_no_verify = 1',
            replace(PLAIN_TLS, cert_file=Path("/c.pem"), key_file=Path("/k.pem"), is_verified=False),
        ),
        ('enable_ssl = 1\nssl_cipher = "AES128"\nssl_no_verify = 0', PLAIN_TLS),
        ('enable_ssl = 0\nssl_ca = "/ca.pem"', None),
        ('enable_ssl =\nssl_ca = "/ca.pem"', None),
        ("enable_ssl = 1\nssl_no_verify = 1", None),
    ],
)
def test_tls_is_used_where_matomo_uses_it(tmp_path: Path, added: str, expected: Tls | None) -> None:
    """PHP starts TLS only when it is enabled and given a file or a cipher."""
    assert read_config(a_site(tmp_path, INSTALLED + added)).tls == expected


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("true", True), ('"1"', True), ("0", False), ("", False)])
def test_maintenance_mode(tmp_path: Path, value: str, expected: bool) -> None:
    """Matomo is in maintenance when the value equals 1."""
    assert (
        read_config(a_site(tmp_path, f"{INSTALLED}[General]\nmaintenance_mode = {value}")).maintenance_mode == expected
    )


def test_the_recovery_timeout_is_the_instances_own(tmp_path: Path) -> None:
    """The value of one site's section is not that of all sites."""
    text = "[General]\narchive_failure_recovery_timeout = 7200\n[General_1]\narchive_failure_recovery_timeout = 60\n"
    assert read_config(a_site(tmp_path, INSTALLED + text)).archive_failure_recovery_timeout == timedelta(hours=2)


@pytest.mark.parametrize("schema", ["Mysql", "mysql", "Mariadb", "MariaDb", "Tidb", " Mysql ", "MyISAM", ""])
def test_a_schema_that_matomo_knows_is_accepted(tmp_path: Path, schema: str) -> None:
    """The name is read as Matomo reads it: without case; none, or the one of before 2.0.4, is the default."""
    assert read_config(a_site(tmp_path, f'{INSTALLED}schema = "{schema}"')).database == "matomo"


TIMEOUT = "archive_failure_recovery_timeout"
NOT_INSTALLED = "{path}: [database] dbname is not set: Matomo is not installed yet, or reads another file"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", NOT_INSTALLED),
        ("[DATABASE]\ndbname = matomo", NOT_INSTALLED),
        (f"{INSTALLED}[database]\nhost = db", NOT_INSTALLED),
        (
            f'{INSTALLED}schema = "Postgres"',
            "{path}:7: [database] schema: 'Postgres' is not known; Mysql, Mariadb and Tidb are",
        ),
        (
            f'{INSTALLED}port = "65536"',
            "{path}:7: [database] port: '65536' is no port; write a number, or a socket's path",
        ),
        (
            f"{INSTALLED}[General]\n{TIMEOUT} = 1d",
            f"{{path}}:8: [General] {TIMEOUT}: '1d' is no number of seconds; write one, such as 86400",
        ),
        (f"{INSTALLED}password = abc|def", f"{{path}}:7: [database] password: {CALCULATED}"),
        (f"{INSTALLED}password = ABC", f"{{path}}:7: [database] password: {CAPITALS}"),
        (f'{INSTALLED}password = "x${{not_set}}"', f"{{path}}:7: [database] password: {UNSET}"),
        (f"{INSTALLED}password[] = x", "{path}:7: [database] password: is a list; give one value, without []"),
        (f"{INSTALLED}password = it's", f"{{path}}:7: [database] password: {BAD_VALUE}"),
        (
            f"{INSTALLED}username = ROOT\npassword = !x",
            f"{{path}}:7: [database] username: {CAPITALS}\n{{path}}:8: [database] password: {CALCULATED}",
        ),
    ],
)
def test_what_cannot_be_used_is_said_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    """Every fault names file, line and key, and what would be right."""
    path = a_site(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        read_config(path)
    assert str(caught.value) == message.replace("{path}", str(path))


def test_a_fault_in_a_layer_names_the_layer(tmp_path: Path) -> None:
    """The file at fault is the one that is named, and a doubtful value that a later layer replaces is no fault."""
    path = a_site(tmp_path, INSTALLED, shared="[database]\nusername = ROOT\ncharset = UTF8\n")
    with pytest.raises(ConfigurationError) as caught:
        read_config(path)
    assert str(caught.value) == f"{tmp_path / 'common.config.ini.php'}:4: [database] charset: {CAPITALS}"


def test_a_value_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    """Latin-1 in a comment harms nobody, in a password it would be a wrong password."""
    path = tmp_path / "config.ini.php"
    path.write_bytes(INSTALLED.encode() + "; grüße\nsalt = süß\n".encode("latin-1"))
    assert read_config(path).password == "secret"
    path.write_bytes(INSTALLED.encode() + "password = süß\n".encode("latin-1"))
    with pytest.raises(ConfigurationError) as caught:
        read_config(path)
    assert str(caught.value) == f"{path}:6: [database] password: is not UTF-8; save the file as UTF-8"


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """Without the site's own file Matomo would start its installer; the defaults alone are no site."""
    path = a_site(tmp_path, None, defaults=INSTALLED)
    with pytest.raises(ConfigurationError) as caught:
        read_config(path)
    assert str(caught.value) == f"{path}: there is no such file; give the path of Matomo's config/config.ini.php"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """What the system says of a path that cannot be read is passed on."""
    with pytest.raises(ConfigurationError) as caught:
        read_config(tmp_path)
    assert str(caught.value) == f"{tmp_path}: cannot be read: Is a directory"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a folder that any account may enter, unlike pytest's own."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@contextmanager
def without_rights(path: Path) -> Iterator[str]:
    """Take the right to read a file from this process, and give the name of the account it then has."""
    path.chmod(0)
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield pwd.getpwuid(os.geteuid()).pw_name
    finally:
        os.seteuid(before)


@pytest.mark.parametrize("name", ["config.ini.php", "common.config.ini.php"])
def test_an_unreadable_file_says_who_we_are(open_folder: Path, name: str) -> None:
    """The web server may read a layer that we may not: then what we read is not what Matomo reads."""
    path, closed = a_site(open_folder, INSTALLED, shared=""), open_folder / name
    with without_rights(closed) as account, pytest.raises(ConfigurationError) as caught:
        read_config(path)
    assert str(caught.value) == (
        f"{closed}: the account {account} may not read this file; give it the right to"
        f" (setfacl -m u:{account}:r {closed}, and x on the folders above),"
        " or configure url_file with an account of its own that has SELECT only"
    )


def test_likely_sockets_are_places() -> None:
    """Each is a full path, so that the caller can take the first that exists."""
    assert [str(path) for path in likely_sockets()] == [
        "/run/mysqld/mysqld.sock",
        "/var/run/mysqld/mysqld.sock",
        "/var/lib/mysql/mysql.sock",
        "/tmp/mysql.sock",  # noqa: S108 - what is expected, never opened
    ]


def as_matomo_writes(text: str) -> str:
    """Encode as IniFileChain and IniWriter do on saving: htmlentities with ENT_COMPAT, `$`, then `\\` and `"`."""
    encoded = "".join(f"&{codepoint2name[ord(char)]};" if ord(char) in codepoint2name else char for char in text)
    return '"' + encoded.replace("$", "&#36;").replace("\\", "\\\\").replace('"', '\\"') + '"'


PRINTABLE = st.text(
    st.characters(exclude_categories=("C", "Z"), include_characters=" ") | st.sampled_from("\\\"'$&;{}")
)


@given(username=PRINTABLE, password=PRINTABLE, prefix=PRINTABLE)
def test_what_matomo_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, username: str, password: str, prefix: str
) -> None:
    """Any printable text survives Matomo's writing and our reading, unless Matomo itself would read another."""
    values: Mapping[str, str] = {"username": username, "password": password, "tables_prefix": prefix}
    assume(all(decode_entities(text) == text for text in values.values()))
    lines = "\n".join(f"{key} = {as_matomo_writes(text)}" for key, text in values.items())
    config = read_config(a_site(tmp_path_factory.getbasetemp(), f'[database]\ndbname = "matomo"\n{lines}\n'))
    assert (config.username, config.password, config.tables_prefix) == (username, password, prefix)


@pytest.mark.parametrize(("password", "read_back"), [("a&lt;b", "a<b"), ("&amp;amp;", "&amp;"), ("&copy;", "©")])
def test_matomo_decodes_twice_and_so_do_we(tmp_path: Path, password: str, read_back: str) -> None:
    """A password that looks like an entity is not what was saved: Matomo connects with another one, and so must we."""
    path = a_site(tmp_path, f"{INSTALLED}password = {as_matomo_writes(password)}\n")
    assert read_config(path).password == read_back


SECRETS = st.lists(PIECES.filter(lambda piece: "\n" not in piece and "\r" not in piece), max_size=6).map("".join)


@given(before=SECRETS, after=SECRETS, quote=st.sampled_from(['"', "'", ""]), rest=st.sampled_from(["", "x = a=b\n"]))
def test_no_message_holds_any_of_the_password(
    tmp_path_factory: pytest.TempPathFactory, before: str, after: str, quote: str, rest: str
) -> None:
    """However wrongly a password is written, neither an error nor a repr shows it."""
    text = f"[database]\ndbname = matomo\npassword = {quote}{before}h1dd3n{after}{quote}\n{rest}"
    path = a_site(tmp_path_factory.getbasetemp(), text)
    try:
        shown = repr(read_config(path))
    except ConfigurationError as error:
        shown = f"{error!r} {error.__cause__!r} {error.__context__!r}"
    assert "h1dd3n" not in shown
