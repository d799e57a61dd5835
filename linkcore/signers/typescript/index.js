// Makes tracked links, and return paths, that a linktracker endpoint accepts.
// The contract is FORMAT.md. What an endpoint would refuse is refused here, by a
// FieldError that names the field.

import { createCipheriv, createHmac, randomBytes } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { isIPv6 } from "node:net";
import { join } from "node:path";
import { domainToASCII, domainToUnicode } from "node:url";
import * as unicode from "./unicode.js";

const FIELDS = "(?:[\\w-]{0,64}\\.){3}[\\w-]{1,64}\\.(?:[1-9a-z][0-9a-z]{0,6})?";
const TOKEN = new RegExp(
  `^(?:c[a-z0-9]{1,16}\\.${FIELDS}\\.[\\w-]{22}$|[oup][a-z0-9]{1,16}\\.${FIELDS}\\.[\\w-]{22}(?![\\w-])|s[a-z0-9]{1,16}\\.[\\w-]{64})`,
);
const BASE = /^(https?):\/\/([\w.-]+)(?::([0-9]*))?(\/[\w.~/-]*)?$/i;
const AUTHORITY = /^(https?):\/\/(\[[^\]%]*\]|[\w.-]*)(?::([0-9]{1,5}))?(?=[/?#]|$)/i;
const ESCAPES = Array.from({ length: 256 }, (_, b) => "%" + b.toString(16).toUpperCase().padStart(2, "0"));
const MAX_URL = 8000;
const LATEST_SENT = 36 ** 7 - 1;
const BASE32 = "abcdefghijklmnopqrstuvwxyz234567";
const BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const IDENTIFIERS = ["customer", "campaign", "recipient", "link"];

export class FieldError extends Error {
  constructor(field, problem) {
    super(`${field} ${problem}`);
    this.name = "FieldError";
    this.field = field;
    this.problem = problem;
  }
}

export class Signer {
  #sign;
  #seal;
  #verp;
  #k1; // CMAC's first subkey
  #base;
  #warnings = [];
  _random = randomBytes;

  constructor(keys, baseURL, key) {
    const secrets = new Map(Object.entries(keys ?? {}).map(([id, content]) => [keyID(id), decodeSecret(content)]));
    const ids = [...secrets.keys()].sort().join(", ");
    if (key === undefined || key === null || key === "") {
      if (secrets.size !== 1) throw new FieldError("signing key", `must be named, since there are ${secrets.size}: ${ids}`);
      [key] = secrets.keys();
    }
    this.key = keyID(key);
    const secret = secrets.get(this.key);
    if (!secret) throw new FieldError("signing key", `"${this.key}" is not among the keys: ${ids}`);
    this.#sign = hkdf(secret, "linkcore/v1 sign");
    this.#seal = hkdf(secret, "linkcore/v1 seal");
    this.#verp = hkdf(secret, "linkcore/v1 verp");
    this.#setBase(baseURL);
  }

  #setBase(baseURL) {
    const refuse = (problem) => {
      throw new FieldError("base URL", problem);
    };
    if (typeof baseURL !== "string" || baseURL === "") refuse("is missing: it is the scheme, host and port of the links, such as https://links.example.com");
    const m = BASE.exec(baseURL);
    if (!m) refuse("must be scheme, host, port and path in ASCII, an international host as A-labels (xn--…)");
    const [scheme, host, port] = [m[1].toLowerCase(), m[2].toLowerCase().replace(/\.$/, ""), m[3] ?? ""];
    const path = (m[4] ?? "").replace(/\/$/, "");
    if (host.length > 253 || host.split(".").includes("")) refuse("has a host that no endpoint accepts: letters, digits, - and _ joined by dots, at most 253 bytes");
    if (port.length > 5 || Number(port) > 65535) refuse("has a port above 65535");
    if (path && path.slice(1).split("/").some((s) => s === "" || s === "." || s === "..")) refuse("has a path that not every gateway leaves as it is");
    this.host = host;
    this.#base = `${scheme}://${host}${port && ":" + port}${path}`;
    if (scheme === "http") this.#warnings.push("the base URL is plain http, which anyone on the path can read and change; use https");
    if (host.endsWith(".run.app")) this.#warnings.push("the base URL is the platform's own *.run.app: links made on it can never move to another service; use a domain of your own");
  }

  click(destination, options) {
    return this.#make("c", destination, options);
  }

  open(options) {
    return this.#make("o", "", options);
  }

  unsubscribe(options) {
    return this.#make("u", "", options);
  }

  privacy(options) {
    return this.#make("p", "", options);
  }

  #make(kind, destination, options) {
    const { sealed = false, exactLink = false, form = "path" } = options ?? {};
    if (form !== "path" && form !== "query") throw new FieldError("form", "must be path or query");
    const metadata = checkMetadata(options?.metadata, sealed);
    if (kind === "c") destination = normalizeDestination(destination);
    const label = encodeLabel(options?.label);
    const identifiers = checkIdentifiers(options);
    const sent = checkSent(options?.sent);
    if (!exactLink) identifiers[3] = linkID(identifiers[3], this._random);
    else if (!identifiers[3]) throw new FieldError("link", "is empty, and is to be exact");
    const signed = `${identifiers.join(".")}.${sent ? sent.toString(36) : ""}`;
    let token;
    if (sealed) {
      token = this.#box(`${kind}.${signed}\n${destination}${metadata && "\n" + metadata}`);
    } else {
      token = `${kind}${this.key}.${signed}`;
      const mac = createHmac("sha256", this.#sign).update(`linkcore/v1\n${this.host}\n${token}\n${destination}`).digest();
      token += "." + mac.toString("base64url", 0, 16);
    }
    const clearClick = kind === "c" && !sealed;
    const url =
      form === "query"
        ? `${this.#base}/${label}?id=${token}${clearClick ? "&url=" + escape(destination) : "/"}`
        : `${this.#base}/${token}/${clearClick ? escape(destination) : label}`;
    if (url.length > MAX_URL) throw new FieldError("destination", `makes a tracked URL of ${url.length} bytes: ${MAX_URL} are the most that can be relied upon`);
    const warnings = [...this.#warnings];
    if (url.length > 2048) warnings.push("the tracked URL is longer than 2048 bytes: some clients cut it there");
    else if (url.length > 900) warnings.push("the tracked URL is longer than 900 bytes: lines of a mail end at 998");
    if (destination.includes("#")) warnings.push("the destination has a fragment: a gateway that decodes the link cuts it off, and no repair brings it back");
    if (/%(?![0-9A-Fa-f]{2})/.test(destination)) warnings.push("the destination has a % that two hex digits do not follow: some clients refuse such a URL; write %25 for a percent sign");
    if (label && clearClick && form === "path") warnings.push("the label is left out: a clear click link has a place for one in the query form only");
    return { url, link: identifiers[3], warnings };
  }

  // Seals by c2sp.org/XAES-256-GCM.
  #box(plaintext) {
    const encrypt = (blocks) => createCipheriv("aes-256-ecb", this.#seal, null).setAutoPadding(false).update(blocks);
    if (!this.#k1) {
      const l = BigInt("0x" + encrypt(Buffer.alloc(16)).toString("hex")) << 1n;
      this.#k1 = Buffer.from(BigInt.asUintN(128, l ^ ((l >> 128n) * 0x87n)).toString(16).padStart(32, "0"), "hex");
    }
    const nonce = this._random(24);
    const blocks = Buffer.concat([1, 2].map((half) => Buffer.concat([Buffer.from([0, half, 0x58, 0]), nonce.subarray(0, 12)])));
    for (let i = 0; i < blocks.length; i++) blocks[i] ^= this.#k1[i % 16];
    const cipher = createCipheriv("aes-256-gcm", encrypt(blocks), nonce.subarray(12));
    cipher.setAAD(Buffer.from(`linkcore/v1\n${this.host}\ns${this.key}`));
    const box = Buffer.concat([nonce, cipher.update(plaintext, "utf8"), cipher.final(), cipher.getAuthTag()]);
    return `s${this.key}.${box.toString("base64url")}`;
  }

  returnPath(mailbox, fields) {
    const refuse = (problem) => {
      throw new FieldError("return path", problem);
    };
    if (typeof mailbox !== "string") refuse("must be a string");
    const at = mailbox.lastIndexOf("@");
    const prefix = mailbox.slice(0, Math.max(at, 0));
    const domain = mailbox.slice(at + 1);
    if (!/^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/i.test(domain))
      refuse(`has "${domain}" for a domain: give letters, digits and - joined by dots, an international one as A-labels (xn--…)`);
    if (prefix) {
      if (!/^[\w.+=-]+$/.test(prefix)) refuse(`begins with "${prefix}": before the @, give A-Z a-z 0-9 . + - = _`);
      if (prefix.startsWith(".") || prefix.includes("..")) refuse(`begins with "${prefix}": a dot stands between other characters only`);
      if (!/[+=_-]$/.test(prefix) || prefix.slice(prefix.lastIndexOf("+") + 1).includes("."))
        refuse(`begins with "${prefix}": let it end in + (or - = _, without a dot in it), as in bounces+@${domain}`);
    }
    const identifiers = checkIdentifiers(fields);
    const sent = checkSent(fields?.sent);
    const parts = identifiers.map(caseEncode);
    if (!sent && !identifiers[3]) parts.pop();
    const longest = parts.reduce((best, part, i) => (part.length > parts[best].length ? i : best), 0);
    const token = [`b${this.key}`, ...parts, ...(sent ? [sent.toString(36)] : [])].join(".");
    const n = prefix.length + token.length + 1 + 16;
    if (n > 64)
      throw new FieldError(
        IDENTIFIERS[longest],
        `takes ${parts[longest].length} bytes of a return path that would have ${n} before the @, and mail systems take 64: give shorter identifiers, or leave link, time sent or campaign out`,
      );
    const mac = createHmac("sha256", this.#verp).update(`linkcore/v1\n${domain.toLowerCase()}\n${token}\n`).digest();
    const address = `${prefix}${token}.${base32(mac.subarray(0, 10))}@${domain.toLowerCase()}`;
    if (address.length > 254) refuse(`has ${address.length} bytes: mail systems take 254, so choose a shorter domain`);
    return address;
  }
}

export function readKeys(directory) {
  const keys = {};
  for (const id of readdirSync(directory)) {
    if (!/^[a-z0-9]{1,16}$/.test(id)) continue;
    try {
      if (!statSync(join(directory, id)).isFile()) continue;
      const content = readFileSync(join(directory, id), "utf8");
      decodeSecret(content);
      keys[id] = content;
    } catch {
      continue; // as an endpoint leaves out what is no key
    }
  }
  if (Object.keys(keys).length === 0) throw new FieldError("secret", `is missing: no key loads from ${directory}`);
  return keys;
}

export function decodeSecret(content) {
  const refuse = (problem) => {
    throw new FieldError("secret", problem);
  };
  if (content instanceof Uint8Array) content = Buffer.from(content).toString("utf8");
  if (typeof content !== "string") refuse("must be what the key file holds, a string or bytes");
  if (content.length > 64 << 10) refuse("is longer than 64 KiB");
  const text = content.replace(/^[\s\u0085]+|[\s\u0085]+$/g, (space) => (space.includes("\ufeff") ? space : ""));
  if (!text) refuse("is empty");
  const stripped = text.replace(/=+$/, "");
  const padding = text.length - stripped.length;
  if (padding && (text.length % 4 || padding > 2)) refuse("has wrong padding of its base64");
  if (!/^(?:[A-Za-z0-9+/]+|[\w-]+)$/.test(stripped) || stripped.length % 4 === 1) refuse("is not one line of base64: give what the key file holds");
  const secret = Buffer.from(stripped, "base64"); // takes both alphabets
  if (secret.length < 32) refuse(`has ${secret.length} bytes: 32 or more are needed, as \`linkctl keys new\` makes them`);
  return secret;
}

export function newLinkID(name = "") {
  return linkID(name, randomBytes);
}

function linkID(name, random) {
  for (;;) {
    const link = random(8).toString("base64url");
    if (!link.startsWith("hp_") && !link.startsWith("an_")) return name ? `${name.slice(0, 52)}-${link}` : link;
  }
}

export function normalizeDestination(destination) {
  const refuse = (problem) => {
    throw new FieldError("destination", problem);
  };
  if (typeof destination !== "string") refuse("must be a string");
  if (!destination.isWellFormed()) refuse("is not UTF-8");
  if (/[^\x00-\x7f]/.test(destination)) {
    const separator = destination.indexOf("://");
    if (separator < 0) refuse("must begin with http:// or https://");
    const scheme = destination.slice(0, separator);
    let [, authority, rest] = /^([^/?#]*)([^]*)$/.exec(destination.slice(separator + 3));
    if (authority.includes("@")) refuse("has a user name or password, which destinations cannot have");
    let [, host, port] = /^([^]*?)(:[^:\]]*)?$/.exec(authority);
    if (/[^\x00-\x7f]/.test(host)) {
      host = hostToASCII(host);
      if (host === undefined) refuse("has a host that is no international domain name (UTS 46)");
    }
    destination = `${scheme}://${host}${port ?? ""}${encodeRest(rest)}`;
  }
  if (/[^\x21-\x5b\x5d-\x7e]/.test(destination)) refuse("has a control character, a space or a backslash");
  const m = AUTHORITY.exec(destination);
  if (!m || Number(m[3] ?? 0) > 65535 || !isDestinationHost(m[2])) refuse("is not http:// or https://, a host of the grammar, maybe a port, and a path");
  return m[0] + encodeRest(destination.slice(m[0].length));
}

// UTS 46 with the flags that FORMAT.md names, of which Node has all but the Bidi
// rule. The label behind the host keeps Node from reading it as an IPv4 address.
function hostToASCII(host) {
  if (Buffer.byteLength(host) > 4 * 254 || /[^\w.\-\x80-\u{10ffff}]/u.test(host) || DISALLOWED.test(host)) return undefined;
  const ascii = domainToASCII(host + ".a");
  const labels = domainToUnicode(ascii).split(".");
  if (!/^[\w.-]*\.a$/.test(ascii) || labels.some((l) => MARK.test(l) || DISALLOWED.test(l)) || (labels.some((l) => BIDI.test(l)) && !labels.every(followsBidiRule))) return undefined;
  return ascii.slice(0, -2);
}

const { R_AL, AN, EN, NEUTRAL, NSM, OTHER } = {
  ...unicode,
  EN: unicode.EN + "0-9",
  NEUTRAL: unicode.NEUTRAL + "_\\-",
};
const DISALLOWED = new RegExp(`[${unicode.DISALLOWED}]`, "u");
const MARK = new RegExp(`^[${unicode.MARK}]`, "u");
const BIDI = new RegExp(`[${R_AL}${AN}]`, "u");
const EUROPEAN = new RegExp(`[${EN}]`, "u");
const ARABIC = new RegExp(`[${AN}]`, "u");
const RIGHT_TO_LEFT = new RegExp(`^[${R_AL}](?:[${R_AL}${AN}${EN}${NEUTRAL}${NSM}]*[${R_AL}${AN}${EN}])?[${NSM}]*$`, "u");
const LEFT_TO_RIGHT = new RegExp(`^[^${R_AL}${AN}${EN}${NEUTRAL}${NSM}${OTHER}](?:[^${R_AL}${AN}${OTHER}]*[^${R_AL}${AN}${NEUTRAL}${NSM}${OTHER}])?[${NSM}]*$`, "u");

// RFC 5893, section 2.
function followsBidiRule(label) {
  return label === "" || LEFT_TO_RIGHT.test(label) || (RIGHT_TO_LEFT.test(label) && !(EUROPEAN.test(label) && ARABIC.test(label)));
}

function isDestinationHost(host) {
  if (host.startsWith("[")) return isIPv6(host.slice(1, -1));
  const name = host.replace(/\.$/, "");
  const labels = name.split(".");
  if (name.length > 253 || labels.some((l) => l.length < 1 || l.length > 63 || /^xn--.*-$|^xn---?$/i.test(l))) return false;
  if (/^[0-9]+$|^0x/i.test(labels.at(-1))) return /^(?:0|[1-9][0-9]{0,2})(?:\.(?:0|[1-9][0-9]{0,2})){3}$/.test(host) && labels.every((l) => Number(l) < 256);
  return true;
}

function encodeRest(rest) {
  let set = '"<>^`{}';
  let out = "";
  for (const b of Buffer.from(rest)) {
    const c = String.fromCharCode(b);
    if (c === "#") set = '"<>`';
    else if (c === "?" && set.length === 7) set = "\"'<>";
    out += b > 0x7f || set.includes(c) ? ESCAPES[b] : c;
  }
  return out;
}

// Writes a destination, or a label's segment, as it stands in a link.
function escape(s) {
  return encodeURIComponent(s)
    .replace(/[!'()*]/g, (c) => ESCAPES[c.charCodeAt(0)])
    .replace(/[.\-_~]$/, (c) => ESCAPES[c.charCodeAt(0)]);
}

function encodeLabel(label) {
  if (label === undefined || label === null || label === "") return "";
  if (typeof label !== "string" || !label.isWellFormed()) throw new FieldError("label", "must be a string that UTF-8 can hold");
  if (Buffer.byteLength(label) > 128) throw new FieldError("label", "has more than 128 bytes");
  const segments = label.split("/");
  if (segments.some((s) => s === "" || s === "." || s === "..")) throw new FieldError("label", "has a segment that is empty, . or .., which servers clean away");
  if (segments[0] === "-") throw new FieldError("label", "begins with -/, which is reserved");
  const escaped = segments.map(escape);
  if (TOKEN.test(escaped[0])) throw new FieldError("label", "looks like a token");
  return escaped.join("/");
}

function checkMetadata(metadata, sealed) {
  if (metadata === undefined || metadata === null || metadata === "") return "";
  if (!sealed) throw new FieldError("metadata", "needs a sealed link: the clear form has no place for it");
  if (typeof metadata === "object") metadata = JSON.stringify(metadata);
  let valid = typeof metadata === "string" && metadata.isWellFormed() && Buffer.byteLength(metadata) <= 512 && /^\{[^\x00-\x1f]*\}$/.test(metadata);
  try {
    if (valid) JSON.parse(metadata);
  } catch {
    valid = false;
  }
  if (!valid) throw new FieldError("metadata", "must be a JSON object of 1 to 512 bytes, from { to }, in one line");
  return metadata;
}

function checkIdentifiers(fields) {
  return IDENTIFIERS.map((name) => {
    let value = fields?.[name] ?? "";
    if (Number.isSafeInteger(value)) value = String(value);
    if (typeof value !== "string") throw new FieldError(name, `must be a string, not ${typeof value}`);
    if (!/^[\w-]{0,64}$/.test(value)) throw new FieldError(name, "must be at most 64 of A-Z a-z 0-9 _ -");
    return value;
  });
}

// Returns whole seconds since 1970, 0 if it is not said.
function checkSent(sent) {
  if (sent === undefined || sent === null) return 0;
  const seconds = sent instanceof Date ? Math.floor(sent.getTime() / 1000) : NaN;
  if (!(seconds >= 1 && seconds <= LATEST_SENT)) throw new FieldError("sent", "must be a Date after 1970-01-01T00:00:00Z and before the year 4453; leave it out where it is not known");
  return seconds;
}

function keyID(id) {
  if (Number.isSafeInteger(id)) id = String(id);
  if (typeof id !== "string" || !/^[a-z0-9]{1,16}$/.test(id)) throw new FieldError("signing key", "must be a key id: 1 to 16 of a-z 0-9");
  return id;
}

// RFC 5869 without a salt, one block.
function hkdf(secret, info) {
  const prk = createHmac("sha256", Buffer.alloc(32)).update(secret).digest();
  return createHmac("sha256", prk).update(info + "\x01").digest();
}

function base32(bytes) {
  let [out, bits, n] = ["", 0, 0];
  for (const b of bytes) {
    bits = (bits << 8) | b;
    for (n += 8; n >= 5; bits &= (1 << n) - 1) {
      n -= 5;
      out += BASE32[bits >> n];
    }
  }
  return n ? out + BASE32[bits << (5 - n)] : out;
}

// Writes an identifier in letters of one case.
function caseEncode(s) {
  if (s === "") return "=";
  if (s === s.toLowerCase()) return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(s) ? "=0" + base32(Buffer.from(s.replaceAll("-", ""), "hex")) : s;
  if (s === s.toUpperCase()) return "=1" + s.toLowerCase();
  let bits = Array.from(s, (c) => BASE64.indexOf(c).toString(2).padStart(6, "0")).join("");
  bits = bits.padEnd(Math.ceil(bits.length / 5) * 5, "0");
  return "=" + bits.replace(/.{5}/g, (b) => BASE32[parseInt(b, 2)]);
}
