"""The data of a message on the click topic, made from linkcore/event/EVENTS.md.
Later versions add members and values; take them."""

from typing import List, Literal, TypedDict, Union

EventType = Union[Literal["click", "open", "unsubscribe", "blocked", "verdict", "objection", "objection_withdrawn"], str]
Automation = Union[Literal["human", "suspect", "automated"], str]
Signal = Union[Literal["head", "prefetch", "scanner_agent", "image_proxy", "no_agent", "scanner_network", "honeypot", "before_send", "instant", "no_browser_headers", "bare_request", "burst"], str]
Proxy = Union[Literal["apple", "google", "yahoo", "fastmail", "rambler", "seznam", "ukrnet"], str]
PrivacySignal = Union[Literal["gpc", "dnt"], str]
Recovered = Union[Literal["decoded-query", "decoded", "double-encoding", "quoted-printable", "whitespace", "html-entity", "trailing", "slash", "dot", "delimiters"], str]


class _Always(TypedDict):
    event_id: str  # UUID version 7, made when the request came; duplicates have the same
    event_type: EventType  # click, open, unsubscribe, blocked, verdict, objection, objection_withdrawn
    occurred_at: str  # when the request came, always with six digits of microseconds; of a verdict, that of the event it speaks of


class Event(_Always, total=False):
    key_id: str  # the key that signed the link
    host: str  # host name of the link
    customer: str  # from the link, as the sender wrote them
    campaign: str  # from the link, as the sender wrote them
    recipient: str  # from the link, as the sender wrote them
    link: str  # from the link, as the sender wrote them
    sent_at: str  # from the link, in whole seconds
    seconds_since_sent: float  # occurred_at − sent_at, to the microsecond; negative where the request came before
    sealed: Literal[True]  # the link was of the sealed form; false is left out
    metadata: str  # the JSON object that a sealed link carried, as a string
    destination: str  # as signed
    redirected_to: str  # where a rule sent the recipient instead
    rule: str  # the rule that matched, kind:value
    label: str  # cosmetic part of the link; like query, anyone who passes the link on can write what they like there
    recovered: Recovered  # the repair that the link needed, as FORMAT.md names them; left out where it needed none
    method: str  # from the request; query is what a gateway added, without what the link itself used; all of these are the stranger's words
    user_agent: str  # from the request; query is what a gateway added, without what the link itself used; all of these are the stranger's words
    referer: str  # from the request; query is what a gateway added, without what the link itself used; all of these are the stranger's words
    accept_language: str  # from the request; query is what a gateway added, without what the link itself used; all of these are the stranger's words
    query: str  # from the request; query is what a gateway added, without what the link itself used; all of these are the stranger's words
    country: str  # from the header that COUNTRY_HEADER names, which the load balancer sets
    privacy_signal: PrivacySignal  # gpc or dnt, where the browser sent Sec-GPC: 1 or DNT: 1 (gpc if both)
    untracked: Literal[True]  # the person is not to be tracked; false is left out
    ip: str  # client address; CLIENT_IP=full (default), truncated (IPv4 to /24, IPv6 to /48: the rest is zero) or none
    automation: Automation  # human, suspect or automated
    signals: List[Signal]  # why, in the order of the table below; left out where there is none. Later versions add signals
    about: str  # of a verdict: the event_id of the event that it speaks of
    rules_unknown: Literal[True]  # nobody knows whether the person objected; false is left out
    proxy: Proxy  # of an open: the mail provider whose picture proxy made the request, such as apple, google or yahoo
