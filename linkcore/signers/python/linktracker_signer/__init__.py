"""Makes tracked links, and return paths, that a linktracker endpoint accepts.

The contract is FORMAT.md. What an endpoint would refuse is refused here, by a
FieldError that names the field.

    signer = Signer({"k1": open("keys/k1").read()}, "https://links.example.com")
    link = signer.click("https://example.com/pricing?a=1", customer="acme",
                        recipient="r83jf", sent=datetime.now(timezone.utc))
    print(link.url, link.warnings)
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import json
import os
import re
import secrets
import stat
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Mapping, Optional, Tuple, Union

from ._host import HostError, to_ascii

__all__ = ["FieldError", "Signer", "Tracked", "decode_secret", "new_link_id", "read_keys"]

_WORD = "[A-Za-z0-9_-]"
_FIELDS = rf"(?:{_WORD}{{0,64}}\.){{3}}{_WORD}{{1,64}}\.(?:[1-9a-z][0-9a-z]{{0,6}})?"
_TOKEN = re.compile(
    rf"c[a-z0-9]{{1,16}}\.{_FIELDS}\.{_WORD}{{22}}\Z"
    rf"|[oup][a-z0-9]{{1,16}}\.{_FIELDS}\.{_WORD}{{22}}(?!{_WORD})"
    rf"|s[a-z0-9]{{1,16}}\.{_WORD}{{64}}"
)
_BASE = re.compile(r"([Hh][Tt][Tt][Pp][Ss]?)://([A-Za-z0-9_.-]+)(?::([0-9]*))?(/[A-Za-z0-9._~/-]*)?\Z")
_AUTHORITY = re.compile(r"(https?)://(\[[^\]%]*\]|[A-Za-z0-9._-]*)(?::([0-9]{1,5}))?(?=[/?#]|\Z)", re.IGNORECASE | re.ASCII)
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PATH_ESCAPE, _QUERY_ESCAPE, _FRAGMENT_ESCAPE = b'"<>^`{}', b"\"'<>", b'"<>`'
_MAX_URL = 8000
_LATEST_SENT = 36**7 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_ESCAPES = ["%%%02X" % b for b in range(256)]
_UNRESERVED = [chr(b) if re.match(r"[A-Za-z0-9._~-]", chr(b)) else _ESCAPES[b] for b in range(256)]


class FieldError(ValueError):
    """A field that cannot be used. ``field`` is its name in FORMAT.md."""

    def __init__(self, field: str, problem: str):
        super().__init__(f"{field} {problem}")
        self.field = field
        self.problem = problem


@dataclass(frozen=True)
class Tracked:
    """A link that was made: its URL, the whole identifier that was signed, and warnings."""

    url: str
    link: str
    warnings: Tuple[str, ...]


Content = Union[str, bytes]
Identifier = Union[str, int, None]


class Signer:
    """Makes links with one key for one base URL. It may be used from any thread.

    ``keys`` maps key ids to what their files hold, as :func:`read_keys` reads it.
    ``key`` may be left out while there is one only.
    """

    _random = staticmethod(secrets.token_bytes)

    def __init__(self, keys: Mapping[Union[str, int], Content], base_url: str, key: Union[str, int, None] = None):
        secret_of = {_key_id(k): decode_secret(content) for k, content in keys.items()}
        if key is None or key == "":
            if len(secret_of) != 1:
                raise FieldError("signing key", f"must be named, since there are {len(secret_of)}: {', '.join(sorted(secret_of))}")
            (key,) = secret_of
        key = _key_id(key)
        if key not in secret_of:
            raise FieldError("signing key", f"{key!r} is not among the keys: {', '.join(sorted(secret_of))}")
        self.key = key
        self._sign = hmac.new(_hkdf(secret_of[key], b"linkcore/v1 sign"), digestmod=hashlib.sha256)
        self._verp = hmac.new(_hkdf(secret_of[key], b"linkcore/v1 verp"), digestmod=hashlib.sha256)
        self._seal = _hkdf(secret_of[key], b"linkcore/v1 seal")
        self._cipher = None
        self._set_base(base_url)

    def _set_base(self, base_url: str) -> None:
        if not isinstance(base_url, str) or not base_url:
            raise FieldError("base URL", "is missing: it is the scheme, host and port of the links, such as https://links.example.com")
        m = _BASE.match(base_url)
        if not m:
            raise FieldError("base URL", "must be scheme, host, port and path in ASCII, an international host as A-labels (xn--…)")
        scheme, host, port, path = m[1].lower(), m[2].lower(), m[3] or "", m[4] or ""
        if host.endswith("."):
            host = host[:-1]
        if len(host) > 253 or not all(host.split(".")):
            raise FieldError("base URL", "has a host that no endpoint accepts: letters, digits, - and _ joined by dots, at most 253 bytes")
        if port and (len(port) > 5 or int(port) > 65535):
            raise FieldError("base URL", "has a port above 65535")
        if path.endswith("/"):
            path = path[:-1]
        if path and any(s in ("", ".", "..") for s in path[1:].split("/")):
            raise FieldError("base URL", "has a path that not every gateway leaves as it is")
        self.host = host
        self._base = f"{scheme}://{host}{':' + port if port else ''}{path}"
        self._base_warnings = []
        if scheme == "http":
            self._base_warnings.append("the base URL is plain http, which anyone on the path can read and change; use https")
        if host.endswith(".run.app"):
            self._base_warnings.append("the base URL is the platform's own *.run.app: links made on it can never move to another service; use a domain of your own")

    def click(
        self,
        destination: str,
        *,
        customer: Identifier = "",
        campaign: Identifier = "",
        recipient: Identifier = "",
        link: Identifier = "",
        sent: Optional[datetime] = None,
        sealed: bool = False,
        metadata: Union[str, dict, None] = None,
        exact_link: bool = False,
        form: str = "path",
        label: str = "",
    ) -> Tracked:
        """Makes a link that redirects to the destination.

        ``sent`` is a datetime with a time zone. ``link`` is a name, to which
        random characters are added; with ``exact_link`` it is the whole
        identifier. ``sealed`` hides fields and destination, and alone takes
        ``metadata``, a JSON object of at most 512 bytes.
        """
        fields = (customer, campaign, recipient, link)
        return self._make("c", destination, fields, sent, sealed, metadata, exact_link, form, label)

    def open(self, *, customer: Identifier = "", campaign: Identifier = "", recipient: Identifier = "", link: Identifier = "",
             sent: Optional[datetime] = None, sealed: bool = False, metadata: Union[str, dict, None] = None,
             exact_link: bool = False, form: str = "path", label: str = "") -> Tracked:
        """Makes the address of a picture whose request says that a mail was opened."""
        return self._make("o", "", (customer, campaign, recipient, link), sent, sealed, metadata, exact_link, form, label)

    def unsubscribe(self, *, customer: Identifier = "", campaign: Identifier = "", recipient: Identifier = "", link: Identifier = "",
                    sent: Optional[datetime] = None, sealed: bool = False, metadata: Union[str, dict, None] = None,
                    exact_link: bool = False, form: str = "path", label: str = "") -> Tracked:
        """Makes the address of the List-Unsubscribe header and of the unsubscribe page."""
        return self._make("u", "", (customer, campaign, recipient, link), sent, sealed, metadata, exact_link, form, label)

    def privacy(self, *, customer: Identifier = "", campaign: Identifier = "", recipient: Identifier = "", link: Identifier = "",
                sent: Optional[datetime] = None, sealed: bool = False, metadata: Union[str, dict, None] = None,
                exact_link: bool = False, form: str = "path", label: str = "") -> Tracked:
        """Makes the address of the page on which a recipient decides about tracking."""
        return self._make("p", "", (customer, campaign, recipient, link), sent, sealed, metadata, exact_link, form, label)

    def _make(self, kind, destination, fields, sent, sealed, metadata, exact_link, form, label) -> Tracked:
        if form not in ("path", "query"):
            raise FieldError("form", "must be path or query")
        metadata = _metadata(metadata, sealed)
        if kind == "c":
            destination = normalize_destination(destination)
        label = _label(label)
        customer, campaign, recipient, link = _identifiers(fields)
        seconds = _sent(sent)
        if not exact_link:
            link = new_link_id(link, self._random)
        elif not link:
            raise FieldError("link", "is empty, and is to be exact")
        signed = f"{customer}.{campaign}.{recipient}.{link}.{_base36(seconds)}"
        if sealed:
            plaintext = f"{kind}.{signed}\n{destination}" + (f"\n{metadata}" if metadata else "")
            token = self._box(plaintext.encode())
        else:
            token = f"{kind}{self.key}.{signed}"
            mac = self._sign.copy()
            mac.update(f"linkcore/v1\n{self.host}\n{token}\n{destination}".encode())
            token += "." + _base64url(mac.digest()[:16])
        clear_click = kind == "c" and not sealed
        if form == "query":
            url = f"{self._base}/{label}?id={token}" + (f"&url={_escape(destination)}" if clear_click else "/")
        else:
            url = f"{self._base}/{token}/{_escape(destination) if clear_click else label}"
        if len(url) > _MAX_URL:
            raise FieldError("destination", f"makes a tracked URL of {len(url)} bytes: {_MAX_URL} are the most that can be relied upon")
        warnings = list(self._base_warnings)
        if len(url) > 2048:
            warnings.append("the tracked URL is longer than 2048 bytes: some clients cut it there")
        elif len(url) > 900:
            warnings.append("the tracked URL is longer than 900 bytes: lines of a mail end at 998")
        if "#" in destination:
            warnings.append("the destination has a fragment: a gateway that decodes the link cuts it off, and no repair brings it back")
        if _BARE_PERCENT.search(destination):
            warnings.append("the destination has a % that two hex digits do not follow: some clients refuse such a URL; write %25 for a percent sign")
        if label and clear_click and form == "path":
            warnings.append("the label is left out: a clear click link has a place for one in the query form only")
        return Tracked(url, link, tuple(warnings))

    def _box(self, plaintext: bytes) -> str:
        """Seals by c2sp.org/XAES-256-GCM."""
        try:
            from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError as e:
            raise ImportError("a sealed link needs the package cryptography: pip install 'linktracker-signer[sealed]'") from e
        nonce = self._random(24)

        def encrypt(block: bytes) -> bytes:
            aes = Cipher(algorithms.AES(self._seal), modes.ECB()).encryptor()
            return aes.update(block) + aes.finalize()

        if self._cipher is None:
            n = int.from_bytes(encrypt(bytes(16)), "big") << 1
            self._cipher = (n ^ (n >> 128) * 0x87) & (1 << 128) - 1  # CMAC's first subkey
        k1 = self._cipher.to_bytes(16, "big")
        blocks = b"".join(bytes(a ^ b for a, b in zip(bytes((0, half, 0x58, 0)) + nonce[:12], k1)) for half in (1, 2))
        prefix = f"s{self.key}"
        sealed = AESGCM(encrypt(blocks)).encrypt(nonce[12:], plaintext, f"linkcore/v1\n{self.host}\n{prefix}".encode())
        return f"{prefix}.{_base64url(nonce + sealed)}"

    def return_path(
        self,
        mailbox: str,
        *,
        customer: Identifier = "",
        campaign: Identifier = "",
        recipient: Identifier = "",
        link: Identifier = "",
        sent: Optional[datetime] = None,
    ) -> str:
        """Makes the envelope sender (VERP) to which one mail's bounce comes back.

        ``mailbox`` is where bounces go: bounces.example.com, or
        bounces+@example.com. ``link`` is taken as it stands.
        """
        if not isinstance(mailbox, str):
            raise FieldError("return path", "must be a str")
        prefix, _, domain = mailbox.rpartition("@")
        if not domain.isascii() or not _mail_domain(domain.lower()):
            raise FieldError("return path", f"has {domain!r} for a domain: give letters, digits and - joined by dots, an international one as A-labels (xn--…)")
        domain = domain.lower()
        if prefix:
            if not re.fullmatch(r"[A-Za-z0-9_.+=-]+", prefix):
                raise FieldError("return path", f"begins with {prefix!r}: before the @, give A-Z a-z 0-9 . + - = _")
            if prefix[0] == "." or ".." in prefix:
                raise FieldError("return path", f"begins with {prefix!r}: a dot stands between other characters only")
            if prefix[-1] not in "+-=_" or "." in prefix[prefix.rfind("+") + 1:]:
                raise FieldError("return path", f"begins with {prefix!r}: let it end in + (or - = _, without a dot in it), as in bounces+@{domain}")
        identifiers = _identifiers((customer, campaign, recipient, link))
        seconds = _sent(sent)
        parts = [_case_encode(i) for i in identifiers]
        if not seconds and not identifiers[3]:
            parts.pop()
        longest = max(range(len(parts)), key=lambda i: len(parts[i]))
        token = ".".join([f"b{self.key}", *parts, *([_base36(seconds)] if seconds else [])])
        n = len(prefix) + len(token) + 1 + 16
        if n > 64:
            name = ("customer", "campaign", "recipient", "link")[longest]
            raise FieldError(name, f"takes {len(parts[longest])} bytes of a return path that would have {n} before the @, and mail systems take 64: give shorter identifiers, or leave link, time sent or campaign out")
        mac = self._verp.copy()
        mac.update(f"linkcore/v1\n{domain}\n{token}\n".encode())
        address = f"{prefix}{token}.{_base32(mac.digest()[:10])}@{domain}"
        if len(address) > 254:
            raise FieldError("return path", f"has {len(address)} bytes: mail systems take 254, so choose a shorter domain")
        return address


def read_keys(directory: str) -> "dict[str, str]":
    """Reads a key ring's directory as an endpoint does: one file a key, named by
    its id. Names that begin with a dot, and files that are no key, are left out."""
    keys = {}
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        if name.startswith(".") or not re.fullmatch("[a-z0-9]{1,16}", name):
            continue
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                continue
            with open(path, "rb") as f:
                content = f.read((64 << 10) + 1)
            decode_secret(content)
            keys[name] = content.decode()
        except (OSError, FieldError):
            continue
    if not keys:
        raise FieldError("secret", f"is missing: no key loads from {directory}")
    return keys


def decode_secret(content: Content) -> bytes:
    """Decodes what a key file, or a version of a secret, holds: base64 in either
    alphabet, padded or not, with white space around it. Errors never quote it."""
    if isinstance(content, (bytes, bytearray)):
        try:
            content = bytes(content).decode()
        except UnicodeDecodeError:
            raise FieldError("secret", "is not base64: give what the key file holds") from None
    if not isinstance(content, str):
        raise FieldError("secret", "must be what the key file holds, str or bytes")
    if len(content) > 64 << 10:
        raise FieldError("secret", "is longer than 64 KiB")
    text = content.strip("\t\n\v\f\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000")
    if not text:
        raise FieldError("secret", "is empty")
    stripped = text.rstrip("=")
    padding = len(text) - len(stripped)
    if padding and (len(text) % 4 or padding > 2):
        raise FieldError("secret", "has wrong padding of its base64")
    if not re.fullmatch(r"[A-Za-z0-9+/]+|[A-Za-z0-9_-]+", stripped) or len(stripped) % 4 == 1:
        raise FieldError("secret", "is not one line of base64: give what the key file holds")
    try:
        secret = base64.b64decode(stripped.replace("-", "+").replace("_", "/") + "=" * (-len(stripped) % 4), validate=True)
    except binascii.Error:
        raise FieldError("secret", "is not base64") from None
    if len(secret) < 32:
        raise FieldError("secret", f"has {len(secret)} bytes: 32 or more are needed, as `linkctl keys new` makes them")
    return secret


def new_link_id(name: str = "", random=secrets.token_bytes) -> str:
    """Makes the identifier of a link that is used once: 11 random characters,
    behind the name (its first 52 bytes) and a hyphen if there is one."""
    while True:
        link = _base64url(random(8))
        if not link.startswith(("hp_", "an_")):
            return f"{name[:52]}-{link}" if name else link


def normalize_destination(destination: str) -> str:
    """Converts a destination as signers do before they sign, and checks its grammar."""
    if not isinstance(destination, str):
        raise FieldError("destination", "must be a str")
    try:
        destination.encode()
    except UnicodeEncodeError:
        raise FieldError("destination", "is not UTF-8") from None
    if not destination.isascii():
        scheme, separator, rest = destination.partition("://")
        if not separator:
            raise FieldError("destination", "must begin with http:// or https://")
        end = re.search(r"[/?#]|\Z", rest).start()
        authority, rest = rest[:end], rest[end:]
        host, colon, port = authority.rpartition(":")
        if not colon or "]" in port:
            host, colon, port = authority, "", ""
        if "@" in authority:
            raise FieldError("destination", "has a user name or password, which destinations cannot have")
        if not host.isascii():
            try:
                host = to_ascii(host)
            except HostError:
                raise FieldError("destination", "has a host that is no international domain name (UTS 46)") from None
        destination = f"{scheme}://{host}{colon}{port}{_encode_rest(rest)}"
    if re.search(r"[^\x21-\x5b\x5d-\x7e]", destination):
        raise FieldError("destination", "has a control character, a space or a backslash")
    m = _AUTHORITY.match(destination)
    if not m or m[3] and int(m[3]) > 65535 or not _destination_host(m[2]):
        raise FieldError("destination", "is not http:// or https://, a host of the grammar, maybe a port, and a path")
    return m[0] + _encode_rest(destination[m.end():])


def _destination_host(host: str) -> bool:
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host[1:-1])
            return "%" not in host
        except ValueError:
            return False
    name = host[:-1] if host.endswith(".") else host
    labels = name.split(".")
    if len(name) > 253 or any(not 1 <= len(l) <= 63 or l[:4].lower() == "xn--" and l.endswith("-") for l in labels):
        return False
    if re.match(r"[0-9]+\Z|0[xX]", labels[-1]):
        return re.fullmatch(r"(0|[1-9][0-9]{0,2})(\.(0|[1-9][0-9]{0,2})){3}", host) is not None and all(int(l) < 256 for l in labels)
    return True


def _encode_rest(rest: str) -> str:
    out, escape = [], _PATH_ESCAPE
    for b in rest.encode():
        if b == 0x23:
            escape = _FRAGMENT_ESCAPE
        elif b == 0x3F and escape is _PATH_ESCAPE:
            escape = _QUERY_ESCAPE
        out.append(_ESCAPES[b] if b > 0x7F or b in escape else chr(b))
    return "".join(out)


def _escape(s: str) -> str:
    """Writes a destination, or a label's segment, as it stands in a link."""
    out = "".join([_UNRESERVED[b] for b in s.encode()])
    return out[:-1] + _ESCAPES[ord(out[-1])] if out[-1:] in (".", "-", "_", "~") else out


def _label(label: str) -> str:
    if label is None or label == "":
        return ""
    if not isinstance(label, str):
        raise FieldError("label", "must be a str")
    try:
        if len(label.encode()) > 128:
            raise FieldError("label", "has more than 128 bytes")
    except UnicodeEncodeError:
        raise FieldError("label", "is not UTF-8") from None
    segments = label.split("/")
    if any(s in ("", ".", "..") for s in segments):
        raise FieldError("label", "has a segment that is empty, . or .., which servers clean away")
    if segments[0] == "-":
        raise FieldError("label", "begins with -/, which is reserved")
    segments = [_escape(s) for s in segments]
    if _TOKEN.match(segments[0]):
        raise FieldError("label", "looks like a token")
    return "/".join(segments)


def _metadata(metadata: Union[str, dict, None], sealed: bool) -> str:
    if metadata is None or metadata == "":
        return ""
    if not sealed:
        raise FieldError("metadata", "needs a sealed link: the clear form has no place for it")

    def refuse(constant):
        raise ValueError(constant)

    try:
        if isinstance(metadata, dict):
            metadata = json.dumps(metadata, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        n = len(metadata.encode())
        if metadata[0] == "{" and metadata[-1] == "}":
            json.loads(metadata, parse_constant=refuse)
        else:
            n = 0
    except (ValueError, TypeError, AttributeError):
        n = 0
    if not 1 <= n <= 512 or re.search(r"[\x00-\x1f]", metadata):
        raise FieldError("metadata", "must be a JSON object of 1 to 512 bytes, from { to }, in one line")
    return metadata


def _identifiers(fields) -> list:
    values = []
    for name, value in zip(("customer", "campaign", "recipient", "link"), fields):
        if value is None:
            value = ""
        elif isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise FieldError(name, f"must be a str, not {type(value).__name__}")
        if not re.fullmatch("[A-Za-z0-9_-]{0,64}", value):
            raise FieldError(name, "must be at most 64 of A-Z a-z 0-9 _ -")
        values.append(value)
    return values


def _sent(sent: Optional[datetime]) -> int:
    """Returns whole seconds since 1970, 0 if it is not said."""
    if sent is None:
        return 0
    if not isinstance(sent, datetime) or sent.tzinfo is None or sent.utcoffset() is None:
        raise FieldError("sent", "must be a datetime with a time zone, such as datetime.now(timezone.utc)")
    seconds = (sent - _EPOCH) // timedelta(seconds=1)
    if not 1 <= seconds <= _LATEST_SENT:
        raise FieldError("sent", "must be a time after 1970-01-01T00:00:00Z and before the year 4453; leave it out where it is not known")
    return seconds


def _key_id(key) -> str:
    if isinstance(key, int) and not isinstance(key, bool):
        key = str(key)
    if not isinstance(key, str) or not re.fullmatch("[a-z0-9]{1,16}", key):
        raise FieldError("signing key", "must be a key id: 1 to 16 of a-z 0-9")
    return key


def _hkdf(secret: bytes, info: bytes) -> bytes:
    """RFC 5869 without a salt, one block."""
    return hmac.digest(hmac.digest(bytes(32), secret, "sha256"), info + b"\x01", "sha256")


def _base36(n: int) -> str:
    digits = ""
    while n:
        n, d = divmod(n, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[d] + digits
    return digits


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=").lower()


def _mail_domain(domain: str) -> bool:
    return len(domain) <= 253 and all(re.fullmatch("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", label) for label in domain.split("."))


def _case_encode(s: str) -> str:
    """Writes an identifier in letters of one case."""
    if s == "":
        return "="
    if s == s.lower():
        if re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", s):
            return "=0" + _base32(bytes.fromhex(s.replace("-", "")))
        return s
    if s == s.upper():
        return "=1" + s.lower()
    bits = "".join(f"{_BASE64.index(c):06b}" for c in s)
    bits += "0" * (-len(bits) % 5)
    return "=" + "".join(_BASE32[int(bits[i:i + 5], 2)] for i in range(0, len(bits), 5))
