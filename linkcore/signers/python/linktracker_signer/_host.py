"""International hosts by UTS 46, with the flags that FORMAT.md names."""

from __future__ import annotations

import re

from . import _unicode as u

_EN, _NEUTRAL = u.EN + "0-9", u.NEUTRAL + "_-"
_DISALLOWED = re.compile(f"[{u.DISALLOWED}]")
_MARK = re.compile(f"[{u.MARK}]")
_BIDI = re.compile(f"[{u.R_AL}{u.AN}]")
_RIGHT_TO_LEFT = re.compile(f"[{u.R_AL}](?:[{u.R_AL}{u.AN}{_EN}{u.NSM}{_NEUTRAL}]*[{u.R_AL}{u.AN}{_EN}])?[{u.NSM}]*")
_LEFT_TO_RIGHT = re.compile(
    f"[^{u.R_AL}{u.AN}{_EN}{u.NSM}{u.OTHER}{_NEUTRAL}](?:[^{u.R_AL}{u.AN}{u.OTHER}]*[^{u.R_AL}{u.AN}{u.NSM}{u.OTHER}{_NEUTRAL}])?[{u.NSM}]*"
)


class HostError(ValueError):
    pass


def to_ascii(host: str) -> str:
    try:
        import idna
        from idna.core import valid_contextj
    except ImportError as e:
        raise ImportError("an international host needs the package idna: pip install 'linktracker-signer[idna]'") from e
    if len(host.encode()) > 4 * 254 or _DISALLOWED.search(host):
        raise HostError("too long, or a character that Unicode 15.0 does not allow")
    try:
        host = idna.uts46_remap(host.replace("\u1e9e", "ss"), std3_rules=False, transitional=False)
        labels, unicode_labels = [], []
        for label in host.split("."):
            if label.startswith("xn--"):
                decoded = label[4:].encode().decode("punycode")
                if decoded.isascii() or decoded.encode("punycode").decode() != label[4:] or idna.uts46_remap(decoded, std3_rules=False, transitional=False) != decoded:
                    raise HostError("punycode")
            else:
                decoded = label
            unicode_labels.append(decoded)
            labels.append(label if decoded.isascii() else "xn--" + decoded.encode("punycode").decode())
        bidi = any(_BIDI.search(label) for label in unicode_labels)
        for label in unicode_labels:
            if _DISALLOWED.search(label) or _MARK.match(label):
                raise HostError("a mark that begins a label")
            if any(c in "\u200c\u200d" and not valid_contextj(label, i) for i, c in enumerate(label)):
                raise HostError("joiner")
            if bidi and label and not _follows_bidi_rule(label):
                raise HostError("bidi")
    except (UnicodeError, IndexError) as e:  # idna's errors are UnicodeErrors
        raise HostError(str(e)) from None
    ascii = ".".join(labels)
    if not re.fullmatch("[A-Za-z0-9_.-]*", ascii):
        raise HostError("a character")
    return ascii


def _follows_bidi_rule(label: str) -> bool:
    """RFC 5893, section 2."""
    if _LEFT_TO_RIGHT.fullmatch(label):
        return True
    return bool(_RIGHT_TO_LEFT.fullmatch(label)) and not (re.search(f"[{_EN}]", label) and re.search(f"[{u.AN}]", label))
