/** What is wrong with a request. */
export type Problem =
  | "missing_header"
  | "malformed_header"
  | "no_signature_matches"
  | "too_old"
  | "too_new"
  | "malformed_body";

/** The request must not be believed: `problem` says why in a word, `message` in a sentence. */
export class VerificationError extends Error {
  readonly problem: Problem;
  constructor(problem: Problem, message: string);
}

/** How a dialect signs; made by `brand`. */
export interface Scheme {
  readonly kind: "timestamped" | "versioned" | "standard";
  readonly header?: string;
  readonly timeHeader?: string;
}

export type Dialect = "optimaldial" | "default" | "house" | "dialbird" | "standard" | "standard-v1a" | "cloudevents";

/** A `Headers` object, an object of names and values as Node has it, or pairs. */
export type HeadersLike =
  | { forEach(callback: (value: string, name: string) => void): void }
  | Record<string, string | readonly string[] | undefined>
  | Iterable<readonly [string, string]>;

export interface Options {
  /** How far the request's time may be from this machine's, in seconds; 300 by default. */
  tolerance?: number;
  /** Unix seconds to go by instead of this machine's time. */
  now?: number;
}

/** The event of a request; envelopes of dialects differ in their other members. */
export interface WebhookEvent {
  type: string;
  /** The event's id in every dialect, also where a signed header holds it and the body does not. */
  id: string;
  data: unknown;
  [member: string]: unknown;
}

/**
 * The event that a request carries, if one of `secrets` signed it.
 *
 * `body` is the raw body: a body that was parsed and written again is another one. Several secrets serve a rotation.
 * Rejects with VerificationError for every fault of the request, with TypeError for an unknown dialect or a
 * secret that cannot be used.
 */
export function verify(
  dialect: Dialect | Scheme,
  headers: HeadersLike,
  body: Uint8Array | ArrayBuffer,
  secrets: string | readonly string[],
  options?: Options,
): Promise<WebhookEvent>;

/** The scheme of an installation that sends under its own brand: `X-<brand>-Signature`. */
export function brand(
  name: string,
  options?: { scheme?: "stripe" | "slack"; signatureHeader?: string; prefix?: string },
): Scheme;
