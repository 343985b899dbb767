// Verifies webhooks with Web Crypto, which Node, Deno, Bun and workers have. Types and documentation: index.d.ts.

const DEFAULT_TOLERANCE = 300;
const MOST_SIGNATURES = 16; // senders send one, in a rotation two
const encoder = new TextEncoder();

export class VerificationError extends Error {
  constructor(problem, message) {
    super(message);
    this.name = "VerificationError";
    this.problem = problem;
  }
}

export function brand(name, { scheme = "stripe", signatureHeader, prefix = `X-${name}-` } = {}) {
  const header = signatureHeader ?? `${prefix}Signature`;
  if (scheme === "stripe") return { kind: "timestamped", header };
  if (scheme === "slack") return { kind: "versioned", header, timeHeader: `${prefix}Timestamp` };
  throw new TypeError(`unknown scheme ${scheme}; known are stripe and slack`);
}

const SCHEMES = new Map([
  ["optimaldial", brand("OptimalDial")],
  ["default", brand("OptimalDial")],
  ["house", brand("OptimalDial")],
  ["dialbird", brand("Dialbird")],
  ["standard", { kind: "standard" }],
  ["standard-v1a", { kind: "standard" }],
  ["cloudevents", { kind: "standard" }],
]);

export async function verify(dialect, headers, body, secrets, { tolerance = DEFAULT_TOLERANCE, now } = {}) {
  const scheme = typeof dialect === "string" ? SCHEMES.get(dialect) : dialect;
  if (!scheme) throw new TypeError(`unknown dialect ${dialect}; known are ${[...SCHEMES.keys()].join(", ")}`);
  const known = listSecrets(secrets);
  const moment = now ?? Date.now() / 1000;
  // Comparisons with NaN are false, and those with text join it: the time would not be checked.
  if (!(typeof tolerance === "number" && tolerance >= 0) || typeof moment !== "number" || Number.isNaN(moment)) {
    throw new TypeError("`tolerance` must be 0 or more seconds, and `now` Unix seconds");
  }
  const content = rawBody(body);
  const claim = readClaim(scheme, readHeaders(headers));
  const message = concatenate(encoder.encode(claim.prefix), content);
  // The signature first: only then is the time the sender's own.
  let matches = false;
  for (const secret of known) matches = (await isSigned(scheme, secret, claim.signatures, message)) || matches;
  if (!matches) {
    fail("no_signature_matches", "No signature matches: another secret signed it, or the body is not what was sent.");
  }
  checkTime(claim.timestamp, moment, tolerance);
  const event = parse(content);
  if (claim.id !== undefined && event.id === undefined) event.id = claim.id;
  return event;
}

function fail(problem, message) {
  throw new VerificationError(problem, message);
}

function listSecrets(secrets) {
  const known = typeof secrets === "string" ? [secrets] : [...(secrets ?? [])];
  if (!known.length || !known.every((secret) => typeof secret === "string" && secret)) {
    throw new TypeError("verification needs at least one secret, and each must be text that is not empty");
  }
  if (known.some((secret) => /\s/.test(secret))) {
    throw new TypeError("a secret holds white space: pass several as a list, each without the line feed of its file");
  }
  return known;
}

function rawBody(body) {
  if (ArrayBuffer.isView(body)) return new Uint8Array(body.buffer, body.byteOffset, body.byteLength);
  if (Object.prototype.toString.call(body) === "[object ArrayBuffer]") return new Uint8Array(body);
  return fail(
    "malformed_body",
    `The body is ${body === null ? "null" : typeof body}, not bytes: pass the raw body as it was received, before it is ` +
      "decoded or parsed.",
  );
}

function readHeaders(headers) {
  const found = new Map();
  // A header that came in several lines is one whose values are joined with commas.
  const add = (name, value) => {
    if (value === undefined || value === null) return;
    const [key, text] = [String(name).toLowerCase(), String(value).trim()];
    found.set(key, found.has(key) ? `${found.get(key)},${text}` : text);
  };
  if (headers === null || typeof headers !== "object") fail("malformed_header", "The headers are missing.");
  if (typeof headers[Symbol.iterator] === "function") {
    for (const pair of headers) {
      if (!Array.isArray(pair)) fail("malformed_header", "The headers are not pairs of name and value.");
      add(pair[0], pair[1]);
    }
  } else if (typeof headers.forEach === "function") headers.forEach((value, name) => add(name, value));
  else for (const [name, value] of Object.entries(headers)) add(name, value);
  return (name) => found.get(name.toLowerCase()) || fail("missing_header", `The request has no ${name} header.`);
}

function readClaim(scheme, header) {
  if (scheme.kind === "standard") return readStandard(header);
  const time = scheme.kind === "versioned" ? header(scheme.timeHeader) : undefined;
  const parts = header(scheme.header).split(",").map((part) => part.trim());
  const named = (name) => parts.filter((part) => part.startsWith(`${name}=`)).map((part) => part.slice(name.length + 1));
  if (scheme.kind === "versioned") {
    const signatures = named("v0");
    if (!signatures.length) fail("malformed_header", `${scheme.header} must read v0=<hex>.`);
    return { timestamp: readTime(time, scheme.timeHeader), prefix: `v0:${time}:`, signatures };
  }
  const [times, signatures] = [named("t"), named("v1")];
  if (times.length !== 1 || !signatures.length) fail("malformed_header", `${scheme.header} must read t=<unix>,v1=<hex>.`);
  return { timestamp: readTime(times[0], scheme.header), prefix: `${times[0]}.`, signatures };
}

function readStandard(header) {
  const [id, time, marks] = [header("webhook-id"), header("webhook-timestamp"), header("webhook-signature")];
  const signatures = marks.split(" ").filter((mark) => /^v1a?,/.test(mark)).slice(0, MOST_SIGNATURES);
  if (!signatures.length) fail("malformed_header", "webhook-signature holds no v1 or v1a signature.");
  return { timestamp: readTime(time, "webhook-timestamp"), prefix: `${id}.${time}.`, signatures, id };
}

function readTime(text, header) {
  if (!/^[0-9]{1,12}$/.test(text)) fail("malformed_header", `The time in ${header} must be Unix seconds.`);
  return Number(text);
}

async function isSigned(scheme, secret, signatures, message) {
  if (scheme.kind !== "standard") {
    const expected = hex(await hmac(encoder.encode(secret), message));
    return anyEqual(signatures, expected);
  }
  if (secret.startsWith("whpk_")) return isSignedByKey(decodeSecret(secret, "whpk_"), signatures, message);
  const expected = `v1,${base64(await hmac(decodeSecret(secret, "whsec_"), message))}`;
  return anyEqual(signatures, expected);
}

async function isSignedByKey(key, signatures, message) {
  if (key.length !== 32) throw new TypeError("the secret is not an ed25519 public key");
  const imported = await crypto.subtle.importKey("raw", key, { name: "Ed25519" }, false, ["verify"]);
  let found = false;
  for (const mark of signatures.filter((one) => one.startsWith("v1a,"))) {
    const signature = fromBase64(mark.slice("v1a,".length));
    const isValid = signature?.length === 64 && (await crypto.subtle.verify("Ed25519", imported, signature, message));
    found = isValid || found;
  }
  return found;
}

async function hmac(key, message) {
  const imported = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", imported, message));
}

// Every signature is compared, each in a time that does not depend on where it differs.
function anyEqual(signatures, expected) {
  const right = encoder.encode(expected);
  let found = false;
  for (const signature of signatures) {
    const left = encoder.encode(signature);
    let difference = left.length ^ right.length;
    for (let index = 0; index < right.length; index += 1) difference |= right[index] ^ (left[index] ?? 0);
    found = difference === 0 || found;
  }
  return found;
}

function decodeSecret(secret, prefix) {
  const key = fromBase64(secret.startsWith(prefix) ? secret.slice(prefix.length) : secret);
  if (!key?.length) throw new TypeError("the secret is not base64; give the one that the registration answered");
  return key;
}

function fromBase64(text) {
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text)) return undefined;
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

const base64 = (bytes) => btoa(String.fromCharCode(...bytes));
const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

function concatenate(left, right) {
  const joined = new Uint8Array(left.length + right.length);
  joined.set(left);
  joined.set(right, left.length);
  return joined;
}

function checkTime(timestamp, now, tolerance) {
  const age = Math.round(now - timestamp);
  if (timestamp < now - tolerance) {
    fail("too_old", `It was signed ${age} s ago, ${tolerance} s are allowed: an old request, or this clock is fast.`);
  }
  if (timestamp > now + tolerance) {
    fail("too_new", `It was signed ${-age} s in the future, ${tolerance} s are allowed: this machine's clock is slow.`);
  }
}

function parse(content) {
  let event;
  try {
    event = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(content));
  } catch {
    event = undefined;
  }
  if (event === null || typeof event !== "object" || Array.isArray(event)) {
    fail("malformed_body", "The body is signed, but it is not a JSON object.");
  }
  return event;
}
