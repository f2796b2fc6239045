// Every method of the vector store of `@mastra/vectorize` against the emulator.
import assert from "node:assert/strict";
import { setTimeout } from "node:timers/promises";
import { CloudflareVector } from "@mastra/vectorize";

const store = new CloudflareVector({
  accountId: process.env.CLOUDFLARE_ACCOUNT_ID,
  apiToken: process.env.CLOUDFLARE_API_TOKEN,
});
store.client.baseURL = process.env.VECTORIZE_API; // it has no option for it
const indexName = "docs";
const values = (...first) => [...first, ...Array(32 - first.length).fill(0)];

async function done(method) {
  console.log(`  ${method}`);
  await setTimeout(300); // until the write can be seen
}

async function found(filter) {
  const matches = await store.query({ indexName, queryVector: values(1), topK: 10, filter });
  return matches.map((match) => match.id).sort().join(" ");
}

await store.createIndex({ indexName, dimension: 32, metric: "cosine" });
await done("createIndex");
await store.createIndex({ indexName, dimension: 32, metric: "cosine" });
await assert.rejects(store.createIndex({ indexName, dimension: 64, metric: "cosine" }), /already exists with 32/);
await done("createIndex, of a name that exists");
assert.deepEqual(await store.listIndexes(), [indexName]);
await done("listIndexes");
assert.deepEqual(await store.describeIndex({ indexName }), { dimension: 32, count: 0, metric: "cosine" });
await done("describeIndex");
for (const [field, type] of [["price", "number"], ["code", "string"], ["optional", "string"], ["mixed", "string"]])
  await store.createMetadataIndex(indexName, field, type);
await done("createMetadataIndex");
assert.equal((await store.listMetadataIndexes(indexName)).length, 4);
await done("listMetadataIndexes");
const metadata = [
  { price: 100, code: "A123", optional: "exists", mixed: "string value" },
  { price: 200, code: "B456", optional: null, mixed: 10 },
  { price: 150, code: "C789", mixed: false },
  { price: 75, mixed: true },
];
const vectors = [values(1), values(1, 0.1), values(1, 0.2), values(1, 0.3)];
await store.upsert({ indexName, vectors, metadata, ids: ["a", "b", "c", "d"] });
await done("upsert, a null among the metadata");
const [first] = await store.query({ indexName, queryVector: values(1), topK: 1, includeVector: true });
assert.deepEqual([first.id, first.vector, first.metadata], ["a", values(1), metadata[0]]);
await done("query");
// What its authors' tests, run on the service, expect.
for (const [filter, ids] of [
  [{ price: { $gt: 150 } }, "b"], [{ price: { $gt: "150" } }, "b"], [{ price: { $gte: 75, $lte: 75 } }, "d"],
  [{ code: { $gt: "A123", $lt: "C789" } }, "b"], [{ code: { $gte: "A", $lt: "C" } }, "a b"],
  [{ optional: { $in: [null, "exists"] } }, "a"], [{ optional: { $ne: null } }, "a b c d"],
  [{ mixed: { $in: ["string value", 10, null] } }, "a b"],
  [{ mixed: { $in: ["string value", true] }, price: { $eq: 100 } }, "a"], [{}, "a b c d"],
]) {
  assert.equal(await found(filter), ids, JSON.stringify(filter));
  console.log(`  query, ${JSON.stringify(filter)}: ${ids}`);
}
for (const filter of [{ price: {} }, { price: { $gt: [] } }, { "": 1 }, { ["k".repeat(513)]: 1 }])
  await assert.rejects(found(filter), JSON.stringify(filter));
await done("query, refused filters");
await assert.rejects(store.upsert({ indexName, vectors: [[1, 0]] }), /expected 32 dimensions/);
await done("upsert, of other dimensions: refused");
await store.updateVector({ indexName, id: "a", update: { vector: values(0, 1), metadata: { price: 1 } } });
await done("updateVector");
await store.deleteMetadataIndex(indexName, "mixed");
await done("deleteMetadataIndex");
await store.deleteVector({ indexName, id: "a" });
await done("deleteVector");
await store.deleteIndex({ indexName });
assert.deepEqual(await store.listIndexes(), []);
await done("deleteIndex");
