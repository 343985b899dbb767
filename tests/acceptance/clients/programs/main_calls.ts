// The main calls with the types of openapi-typescript and the client openapi-fetch.

import { readFileSync } from "node:fs";
import createClient from "openapi-fetch";
import type { components, paths } from "./api";

const PATIENCE_MS = 30_000;

const [baseUrl, key, receiver, numbers] = process.argv.slice(2) as [string, string, string, string];
const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${key}` } });

function existing<T>(result: { data?: T; error?: unknown }): T {
  if (result.data === undefined) throw new Error(JSON.stringify(result.error));
  return result.data;
}

async function eventually<T>(find: () => Promise<T | undefined>): Promise<T> {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await find();
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error("nothing was found in time");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function main() {
  const created = existing(await client.POST("/api/v1/webhooks", { body: { url: receiver } }));
  const webhook: components["schemas"]["WebhookEndpoint"] = created.webhook;
  const refused = await client.POST("/api/v1/webhooks", { body: { url: "https://10.0.0.1/" } });
  const event = existing(
    await client.POST("/api/v1/events", { body: { type: "upload.completed", data: { upload: { id: "1" } } } }),
  );
  const found = await eventually(async () => {
    const query = { endpoint_id: webhook.id };
    return existing(await client.GET("/operator/v1/dead-letters", { params: { query } })).data[0];
  });
  const letter = existing(
    await client.GET("/operator/v1/dead-letters/{dead_letter_id}", { params: { path: { dead_letter_id: found.id } } }),
  );
  const replay = existing(
    await client.POST("/operator/v1/replays", {
      body: { filter: { endpoint_id: webhook.id } },
    }),
  );
  const completed = await eventually(async () => {
    const path = { replay_id: replay.id! };
    const now = existing(await client.GET("/operator/v1/replays/{replay_id}", { params: { path } }));
    return now.state === "completed" ? now : undefined;
  });
  const rows = readFileSync(numbers, "utf8").trim().split("\n").slice(1);
  const upload = existing(await client.POST("/api/v1/uploads", { body: { phone_numbers: rows } }));
  const uploadPath = { params: { path: { upload_id: upload.id } } };
  const webhookPath = { params: { path: { webhook_id: webhook.id } } };
  return {
    secret_characters: created.secret?.length,
    refusal: refused.error?.detail,
    deliveries: event.deliveries,
    listed: existing(await client.GET("/api/v1/webhooks")).filter((one) => one.id === webhook.id).length,
    url: existing(await client.GET("/api/v1/webhooks/{webhook_id}", webhookPath)).url,
    reason: letter.reason,
    response_status: letter.response?.status,
    replayed: completed.succeeded,
    valid_rows: existing(await client.GET("/api/v1/uploads/{upload_id}", uploadPath)).valid_row_count,
  };
}

main().then((answers) => process.stdout.write(JSON.stringify(answers)));
