import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { webcrypto } from "node:crypto";

globalThis.crypto ??= webcrypto; // Node 18 has it behind a flag
const { VerificationError, brand, verify } = await import("./index.js");

const { vectors } = JSON.parse(readFileSync(new URL("../../docs/vectors.json", import.meta.url)));
const bytes = (text) => new TextEncoder().encode(text);
const good = vectors.find((vector) => vector.dialect === "optimaldial" && vector.valid);

const forms = { text: (text) => text, parsed: (text) => JSON.parse(text), null: () => null };

for (const vector of vectors) {
  test(`${vector.dialect}: ${vector.name}`, async () => {
    const scheme = vector.brand ? brand(vector.brand, { scheme: vector.scheme }) : vector.dialect;
    const body = (forms[vector.body_as] ?? bytes)(vector.body);
    const call = () => verify(scheme, vector.headers, body, vector.secrets, { now: vector.now });
    if (vector.valid) {
      const event = await call();
      assert.deepEqual([event.type, event.id], [vector.type, vector.id]);
    }
    else if (vector.mistake) await assert.rejects(call, TypeError);
    else await assert.rejects(call, (error) => error instanceof VerificationError && error.problem === vector.problem);
  });
}

test("headers are read from Headers, Node's objects, pairs and any case", async () => {
  const upper = Object.entries(good.headers).map(([name, value]) => [name.toUpperCase(), value]);
  for (const headers of [new Headers(good.headers), Object.fromEntries(upper), upper, new Map(upper)]) {
    const event = await verify("optimaldial", headers, bytes(good.body).buffer, good.secrets, { now: good.now });
    assert.equal(event.type, good.type);
  }
});

test("a body that is not bytes is refused with the remedy", async () => {
  for (const body of ["{}", {}, null, undefined]) {
    await assert.rejects(verify("optimaldial", good.headers, body, good.secrets), {
      problem: "malformed_body",
      message: /pass the raw body/,
    });
  }
});

test("malformed headers raise the verifier's own error", async () => {
  for (const headers of [null, undefined, "text", [1], {}, { "x-optimaldial-signature": "t=1,v1=\udcff" }]) {
    await assert.rejects(verify("optimaldial", headers, bytes("{}"), "s"), VerificationError);
  }
});

test("secrets and dialects that cannot be used are the caller's mistake", async () => {
  const headers = { "webhook-id": "1", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA v1a,AAAA" };
  for (const secrets of ["", [], ["x", ""], null]) await assert.rejects(verify("house", {}, bytes(""), secrets), TypeError);
  for (const secret of ["whpk_", "whpk_AAAA", "whsec_", "no base64!"]) {
    await assert.rejects(verify("standard", headers, bytes(""), secret), TypeError);
  }
  await assert.rejects(verify("morse", {}, bytes(""), "s"), TypeError);
});

test("a tolerance or a time that is not a number is the caller's mistake", async () => {
  for (const options of [{ tolerance: "300" }, { tolerance: NaN }, { tolerance: -1 }, { now: NaN }, { now: "1777034096" }]) {
    const call = verify("optimaldial", good.headers, bytes(good.body), good.secrets, { now: good.now, ...options });
    await assert.rejects(call, TypeError);
  }
});

test("a brand of its own has its own headers", async () => {
  const headers = { "X-Acme-Signature": good.headers["X-OptimalDial-Signature"] };
  assert.equal((await verify(brand("Acme"), headers, bytes(good.body), good.secrets, { now: good.now })).type, good.type);
  assert.throws(() => brand("Acme", { scheme: "x" }), TypeError);
});
