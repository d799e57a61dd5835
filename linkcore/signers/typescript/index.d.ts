/** A field that cannot be used. `field` is its name in FORMAT.md. */
export class FieldError extends Error {
  readonly field: string;
  readonly problem: string;
  constructor(field: string, problem: string);
}

/** A link that was made. */
export interface Tracked {
  url: string;
  /** The whole identifier that was signed. */
  link: string;
  warnings: string[];
}

/** What a key's file holds. */
export type Content = string | Uint8Array;

/** At most 64 of A-Z a-z 0-9 _ -; absent, null and undefined are empty. */
export type Identifier = string | number | null | undefined;

export interface Fields {
  customer?: Identifier;
  campaign?: Identifier;
  recipient?: Identifier;
  /** A name, to which random characters are added; with exactLink the whole identifier. */
  link?: Identifier;
  /** When the mail was sent, in whole seconds. */
  sent?: Date | null;
}

export interface Options extends Fields {
  exactLink?: boolean;
  /** Hides fields and destination. */
  sealed?: boolean;
  /** A JSON object of at most 512 bytes; sealed links only. */
  metadata?: string | Record<string, unknown>;
  form?: "path" | "query";
  /** Cosmetic, not authenticated; at most 128 bytes of UTF-8. */
  label?: string;
}

/** Makes links with one key for one base URL. Its methods throw FieldError. */
export class Signer {
  readonly key: string;
  readonly host: string;
  /** `key` may be left out while there is one only. */
  constructor(keys: Record<string, Content>, baseURL: string, key?: string | number);
  /** Makes a link that redirects to the destination. */
  click(destination: string, options?: Options): Tracked;
  /** Makes the address of a picture whose request says that a mail was opened. */
  open(options?: Options): Tracked;
  /** Makes the address of the List-Unsubscribe header and of the unsubscribe page. */
  unsubscribe(options?: Options): Tracked;
  /** Makes the address of the page on which a recipient decides about tracking. */
  privacy(options?: Options): Tracked;
  /** Makes the envelope sender (VERP) to which one mail's bounce comes back. `link` is taken as it stands. */
  returnPath(mailbox: string, fields?: Fields): string;
}

/** Reads a key ring's directory as an endpoint does. */
export function readKeys(directory: string): Record<string, string>;
/** Decodes what a key file, or a version of a secret, holds. */
export function decodeSecret(content: Content): Uint8Array;
/** Makes the identifier of a link that is used once. */
export function newLinkID(name?: string): string;
/** Converts a destination as signers do before they sign, and checks its grammar. */
export function normalizeDestination(destination: string): string;
