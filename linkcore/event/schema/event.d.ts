// The data of a message on the click topic, made from linkcore/event/EVENTS.md.
// Later versions add members and values; take them.

export type EventType = "click" | "open" | "unsubscribe" | "blocked" | "verdict" | "objection" | "objection_withdrawn" | (string & {});
export type Automation = "human" | "suspect" | "automated" | (string & {});
export type Signal = "head" | "prefetch" | "scanner_agent" | "image_proxy" | "no_agent" | "scanner_network" | "honeypot" | "before_send" | "instant" | "no_browser_headers" | "bare_request" | "burst" | (string & {});
export type Proxy = "apple" | "google" | "yahoo" | "fastmail" | "rambler" | "seznam" | "ukrnet" | (string & {});
export type PrivacySignal = "gpc" | "dnt" | (string & {});
export type Recovered = "decoded-query" | "decoded" | "double-encoding" | "quoted-printable" | "whitespace" | "html-entity" | "trailing" | "slash" | "dot" | "delimiters" | (string & {});

export interface Event {
  /** UUID version 7, made when the request came; duplicates have the same */
  event_id: string;
  /** click, open, unsubscribe, blocked, verdict, objection, objection_withdrawn */
  event_type: EventType;
  /** when the request came, always with six digits of microseconds; of a verdict, that of the event it speaks of */
  occurred_at: string;
  /** the key that signed the link */
  key_id?: string;
  /** host name of the link */
  host?: string;
  /** from the link, as the sender wrote them */
  customer?: string;
  /** from the link, as the sender wrote them */
  campaign?: string;
  /** from the link, as the sender wrote them */
  recipient?: string;
  /** from the link, as the sender wrote them */
  link?: string;
  /** from the link, in whole seconds */
  sent_at?: string;
  /** occurred_at − sent_at, to the microsecond; negative where the request came before */
  seconds_since_sent?: number;
  /** the link was of the sealed form; false is left out */
  sealed?: true;
  /** the JSON object that a sealed link carried, as a string */
  metadata?: string;
  /** as signed */
  destination?: string;
  /** where a rule sent the recipient instead */
  redirected_to?: string;
  /** the rule that matched, kind:value */
  rule?: string;
  /** cosmetic part of the link; like query, anyone who passes the link on can write what they like there */
  label?: string;
  /** the repair that the link needed, as FORMAT.md names them; left out where it needed none */
  recovered?: Recovered;
  /** from the request; query is what a gateway added, without what the link itself used; all of these are the stranger's words */
  method?: string;
  /** from the request; query is what a gateway added, without what the link itself used; all of these are the stranger's words */
  user_agent?: string;
  /** from the request; query is what a gateway added, without what the link itself used; all of these are the stranger's words */
  referer?: string;
  /** from the request; query is what a gateway added, without what the link itself used; all of these are the stranger's words */
  accept_language?: string;
  /** from the request; query is what a gateway added, without what the link itself used; all of these are the stranger's words */
  query?: string;
  /** from the header that COUNTRY_HEADER names, which the load balancer sets */
  country?: string;
  /** gpc or dnt, where the browser sent Sec-GPC: 1 or DNT: 1 (gpc if both) */
  privacy_signal?: PrivacySignal;
  /** the person is not to be tracked; false is left out */
  untracked?: true;
  /** client address; CLIENT_IP=full (default), truncated (IPv4 to /24, IPv6 to /48: the rest is zero) or none */
  ip?: string;
  /** human, suspect or automated */
  automation?: Automation;
  /** why, in the order of the table below; left out where there is none. Later versions add signals */
  signals?: Signal[];
  /** of a verdict: the event_id of the event that it speaks of */
  about?: string;
  /** nobody knows whether the person objected; false is left out */
  rules_unknown?: true;
  /** of an open: the mail provider whose picture proxy made the request, such as apple, google or yahoo */
  proxy?: Proxy;
}
