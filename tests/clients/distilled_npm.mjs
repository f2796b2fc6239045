// Every Vectorize operation of `@distilled.cloud/cloudflare` against the emulator.
import assert from "node:assert/strict";
import { setTimeout } from "node:timers/promises";
import { fromApiToken } from "@distilled.cloud/cloudflare";
import * as vectorize from "@distilled.cloud/cloudflare/vectorize";
import { Effect, Layer } from "effect";
import * as FetchHttpClient from "effect/unstable/http/FetchHttpClient";

const accountId = process.env.CLOUDFLARE_ACCOUNT_ID;
const live = Layer.mergeAll(
  FetchHttpClient.layer,
  fromApiToken({ apiToken: process.env.CLOUDFLARE_API_TOKEN, apiBaseUrl: process.env.VECTORIZE_API }),
);
const run = (operation, request) =>
  Effect.runPromise(vectorize[operation]({ accountId, ...request }).pipe(Effect.provide(live)));
/** The tag of the error that an operation fails with. */
const failed = (operation, request) =>
  Effect.runPromise(Effect.flip(vectorize[operation]({ accountId, ...request })).pipe(Effect.provide(live))).then(
    (error) => error._tag,
  );
const indexName = "docs";
const config = { dimensions: 32, metric: "cosine" };
const values = (number) => Array.from({ length: 32 }, (_, place) => (place === number ? 1 : 0));

async function done(operation) {
  console.log(`  ${operation}`);
  await setTimeout(300); // until the write can be seen
}

assert.equal((await run("createIndex", { name: indexName, config })).name, indexName);
await done("createIndex");
assert.equal(await failed("createIndex", { name: indexName, config }), "IndexAlreadyExists");
await done("createIndex, of a name that exists: IndexAlreadyExists");
assert.equal((await run("getIndex", { indexName })).config.dimensions, 32);
assert.equal(await failed("getIndex", { indexName: "nobody" }), "NotFound");
await done("getIndex, NotFound too");
assert.deepEqual((await run("listIndexes", {})).result.map((index) => index.name), [indexName]);
await done("listIndexes");
const property = { indexName, propertyName: "n", indexType: "number" };
assert.ok((await run("createIndexMetadataIndex", property)).mutationId);
assert.ok((await run("createIndexMetadataIndex", property)).mutationId, "again, before the first is applied");
await done("createIndexMetadataIndex, twice");
assert.equal(await failed("deleteIndexMetadataIndex", { indexName, propertyName: "x" }), "MetadataIndexNotFound");
await done("deleteIndexMetadataIndex, MetadataIndexNotFound");
for (const operation of ["insertIndex", "upsertIndex"]) {
  const body = [0, 1, 2].map((n) => JSON.stringify({ id: `v${n}`, values: values(n), metadata: { n } })).join("\n");
  assert.ok((await run(operation, { indexName, body: new Blob([body], { type: "application/x-ndjson" }) })).mutationId);
  await done(operation);
}
assert.equal((await run("infoIndex", { indexName })).vectorCount, 3);
await done("infoIndex");
const query = { indexName, vector: values(1), filter: { n: { $gte: 1 } }, returnMetadata: "all" };
assert.deepEqual((await run("queryIndex", query)).matches.map((match) => match.id), ["v1", "v2"]);
await done("queryIndex");
assert.equal((await run("getByIdsIndex", { indexName, ids: ["v1", "nobody"] }))[0].id, "v1");
await done("getByIdsIndex");
assert.equal((await run("listVectorsIndex", { indexName, count: 2 })).vectors.length, 2);
await done("listVectorsIndex");
const listed = await run("listIndexMetadataIndexes", { indexName });
assert.equal(listed.metadataIndexes[0].propertyName, "n");
await done("listIndexMetadataIndexes");
assert.ok((await run("deleteByIdsIndex", { indexName, ids: ["v1"] })).mutationId);
await done("deleteByIdsIndex");
assert.ok((await run("deleteIndexMetadataIndex", { indexName, propertyName: "n" })).mutationId);
await done("deleteIndexMetadataIndex");
await run("deleteIndex", { indexName });
await done("deleteIndex");
