// Every Vectorize method of the `cloudflare` package of npm against the emulator.
import assert from "node:assert/strict";
import { setTimeout } from "node:timers/promises";
import Cloudflare from "cloudflare";

const account_id = process.env.CLOUDFLARE_ACCOUNT_ID;
const client = new Cloudflare({
  apiToken: process.env.CLOUDFLARE_API_TOKEN,
  baseURL: process.env.VECTORIZE_API,
});
const indexes = client.vectorize.indexes;
const ndjson = { headers: { "Content-Type": "application/x-ndjson" } };
const values = (number) => Array.from({ length: 32 }, (_, place) => (place === number ? 1 : 0));
const vectors = Array.from({ length: 30 }, (_, n) => ({ id: `v${n}`, values: values(n), metadata: { n } }));
const body = new TextEncoder().encode(vectors.map((vector) => JSON.stringify(vector)).join("\n"));

async function done(method) {
  console.log(`  ${method}`);
  await setTimeout(300); // until the write can be seen
}

const index = await indexes.create({ account_id, name: "docs", config: { dimensions: 32, metric: "cosine" } });
assert.equal(index.name, "docs");
await done("create");
const names = [];
for await (const item of indexes.list({ account_id })) names.push(item.name);
assert.deepEqual(names, ["docs"]);
await done("list");
assert.equal((await indexes.get("docs", { account_id })).config.dimensions, 32);
await done("get");
const created = await indexes.metadataIndex.create("docs", { account_id, indexType: "number", propertyName: "n" });
assert.ok(created.mutationId);
await done("metadataIndex.create");
const listed = await indexes.metadataIndex.list("docs", { account_id });
assert.equal(listed.metadataIndexes[0].propertyName, "n");
await done("metadataIndex.list");
await assert.rejects(
  indexes.insert("docs", { account_id, body }, { headers: { "Content-Type": "application/json" } }),
  (error) => error.status === 400 && error.errors[0].code === 1005,
);
await done("insert, labelled JSON: refused with code 1005");
assert.ok((await indexes.insert("docs", { account_id, body }, ndjson)).mutationId);
await done("insert");
const { mutationId } = await indexes.upsert("docs", { account_id, body, "unparsable-behavior": "discard" }, ndjson);
await done("upsert");
const info = await indexes.info("docs", { account_id });
assert.deepEqual([info.vectorCount, info.processedUpToMutation], [30, mutationId]);
await done("info");
const found = await indexes.query("docs", {
  account_id,
  vector: values(7),
  filter: { n: { $lt: 10 } },
  topK: 10,
  returnMetadata: "all",
});
assert.deepEqual([found.count, found.matches[0].id, found.matches[0].metadata], [10, "v7", { n: 7 }]);
await done("query");
assert.equal((await indexes.getByIDs("docs", { account_id, ids: ["v1", "nobody"] }))[0].id, "v1");
await done("getByIDs");
const page = await indexes.listVectors("docs", { account_id, count: 20 });
const rest = await indexes.listVectors("docs", { account_id, count: 20, cursor: page.nextCursor });
assert.deepEqual([page.count, rest.count, rest.isTruncated], [20, 10, false]);
await done("listVectors");
assert.ok((await indexes.deleteByIDs("docs", { account_id, ids: ["v1"] })).mutationId);
await done("deleteByIDs");
assert.ok((await indexes.metadataIndex.delete("docs", { account_id, propertyName: "n" })).mutationId);
await done("metadataIndex.delete");
await indexes.delete("docs", { account_id });
await done("delete");
