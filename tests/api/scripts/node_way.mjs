// openai-node: files, uploads, jobs, events, models with a slash, chat, and a stream that fails half-way.
import assert from "node:assert";
import fs from "node:fs";
import OpenAI, { toFile } from "openai";

const [base, tuned, data, lost] = process.argv.slice(2);
const client = new OpenAI({ maxRetries: 0 });

const file = await client.files.create({ file: fs.createReadStream(data), purpose: "fine-tune" });
assert.equal((await client.files.waitForProcessing(file.id)).status, "processed");
const named = await client.files.create({ file: await toFile(Buffer.from("abc"), "训练.txt"), purpose: "user_data" });
assert.equal(named.filename, "训练.txt");
assert.equal(await (await client.files.content(named.id)).text(), "abc");
const upload = await client.uploads.create({ bytes: 6, filename: "u.txt", mime_type: "text/plain", purpose: "user_data" });
const part = await client.uploads.parts.create(upload.id, { data: await toFile(Buffer.from("abcdef"), "part") });
assert.equal((await client.uploads.complete(upload.id, { part_ids: [part.id] })).status, "completed");

const job = await client.fineTuning.jobs.create({ model: base, training_file: file.id, metadata: { a: "b" },
  method: { type: "supervised", supervised: { hyperparameters: { n_epochs: 2 } } } });
assert.equal(job.method.supervised.hyperparameters.n_epochs, 2);
for (let i = 0; i < 4; i++) await client.fineTuning.jobs.create({ model: base, training_file: file.id });
const all = [];
for await (const one of client.fineTuning.jobs.list({ limit: 2 })) all.push(one.id);
assert.equal(new Set(all).size, 5);
const events = [];
for await (const event of client.fineTuning.jobs.listEvents(job.id, { limit: 1 })) events.push(event.message);
assert.ok(events.includes(`Created fine-tuning job: ${job.id}`), events);
for (const id of all) assert.equal((await client.fineTuning.jobs.cancel(id)).status, "cancelled");

assert.equal((await client.models.retrieve(tuned)).id, tuned); // its name holds a slash
const permission = await client.fineTuning.checkpoints.permissions.create(tuned, { project_ids: ["proj_x"] });
assert.equal(permission.data[0].project_id, "proj_x");
const messages = [{ role: "user", content: "Hi" }];
const answer = await client.chat.completions.create({ model: tuned, messages });
assert.equal(answer.choices[0].message.content, "Hello there");
let said = "";
const asked = { model: tuned, messages, stream: true, stream_options: { include_usage: true } };
let usage = null;
for await (const chunk of await client.chat.completions.create(asked)) {
  said += chunk.choices[0]?.delta.content ?? "";
  usage = chunk.usage ?? usage;
}
assert.equal(said, "Hello there");
assert.ok(usage.completion_tokens > 0);
await assert.rejects(async () => {
  const question = { role: "user", content: lost };
  for await (const _ of await client.chat.completions.create({ model: tuned, messages: [question], stream: true }));
}, (error) => error instanceof OpenAI.APIError && error.code === "worker_lost");
await assert.rejects(client.files.retrieve("file-none"), OpenAI.NotFoundError);
await assert.rejects(client.models.delete(base), OpenAI.PermissionDeniedError);
assert.ok((await client.models.delete(tuned)).deleted);
console.log("whole");
