import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, it, type TestContext } from "node:test";
import { AdmissionError, JobError, JournalError, SequencerUnreachable } from "../../../operator/settlement/errors.ts";
import { connectSequencer } from "../../../operator/settlement/http/sequencer-client.ts";
import { serveSequencer } from "../../../operator/settlement/http/sequencer-server.ts";
import type { JobRecord, Sequencer } from "../../../operator/settlement/sequencer.ts";
import { customersOf, Office } from "./office.ts";

const secret = "a secret of thirty-two characters or more";

async function officeAfar(t: TestContext, seed: number, options = {}, maxBodyBytes?: number) {
  const office = new Office(customersOf(seed), options);
  const server = await serveSequencer(office.sequencer, { secret, maxBodyBytes });
  t.after(async () => {
    await server.close();
    office.close();
  });
  return { office, customers: office.customers, url: server.url, afar: connectSequencer({ url: server.url, secret }) };
}

async function list(sequencer: Sequencer): Promise<JobRecord[]> {
  const jobs: JobRecord[] = [];
  for await (const job of sequencer.unfinished()) jobs.push(job);
  return jobs;
}

describe("the sequencer of another machine", () => {
  it("answers as the one in this process", async (t) => {
    const { office, customers, afar } = await officeAfar(t, 31);
    const asked = Array.from({ length: 3 }, () => customers.ask(customers.world.channels[0]));
    const [first, second, third] = await Promise.all(asked.map(({ paid }) => afar.admit(paid)));
    assert.deepEqual(await afar.admit(asked[0].paid), { ...first, status: "known" });
    const receipt = await afar.complete(first.jobId, asked[0].outcome);
    assert.deepEqual(await office.sequencer.complete(first.jobId, asked[0].outcome), receipt);
    assert.equal(await afar.fail(second.jobId, "the model is ill"), undefined);
    for (const { jobId } of [first, second, third]) {
      assert.deepEqual(await afar.job(jobId), await office.sequencer.job(jobId));
    }
    assert.equal(await afar.job(`0x${"0".repeat(64)}`), undefined);
    const [channel] = customers.world.channels;
    assert.deepEqual(await afar.channel(channel), await office.sequencer.channel(channel));
    assert.deepEqual((await afar.channel(channel, 1n)).receipts, []);
    const unfinished = await list(afar);
    assert.deepEqual(unfinished, await list(office.sequencer));
    assert.deepEqual(
      unfinished.map(({ jobId }) => jobId),
      [third.jobId],
    );
  });

  it("lists more jobs in flight than fit one page", async (t) => {
    const { customers, afar, office } = await officeAfar(t, 32);
    for (let i = 0; i < 150; i++) await office.sequencer.admit(customers.ask().paid);
    const jobs = await list(afar);
    assert.equal(new Set(jobs.map(({ jobId }) => jobId)).size, 150);
  });

  it("throws the same errors", async (t) => {
    const { customers, afar } = await officeAfar(t, 33, { journal: { maxBytes: 110_000 } });
    const asked = customers.ask();
    const { voucher } = asked.paid;
    const forged = { ...asked.paid, voucher: { ...voucher, cap: voucher.cap + 1n } };
    await assert.rejects(
      afar.admit(forged),
      (error) => error instanceof AdmissionError && error.code === "badSignature",
    );
    const { jobId } = await afar.admit(asked.paid);
    const lie = { ...asked.outcome, context: [{ id: 1, ppm: 5, via: 0 }] };
    await assert.rejects(
      afar.complete(jobId, lie),
      (error) => error instanceof JobError && error.details.verdict === "attributionSum",
    );
    const fill = async () => {
      for (;;) await afar.admit(customers.ask().paid);
    };
    await assert.rejects(fill, (error) => error instanceof JournalError && error.code === "full");
  });

  it("refuses callers without the secret, and calls that cannot be read", async (t) => {
    const { customers, url } = await officeAfar(t, 34, {}, 2_000);
    const { paid } = customers.ask();
    const stranger = connectSequencer({ url, secret: `${secret}!` });
    await assert.rejects(stranger.admit(paid), { code: "unauthorised" });
    const post = (path: string, body: string, headers = { authorization: `Bearer ${secret}` }) =>
      fetch(`${url}${path}`, { method: "POST", body, headers });
    assert.equal((await fetch(`${url}/sequencer/job`, { method: "POST", body: "{}" })).status, 401);
    assert.equal((await post("/sequencer/job", "{")).status, 400);
    assert.equal((await post("/sequencer/job", "[]")).status, 400);
    assert.equal((await post("/sequencer/job", '{"jobId":"0x12"}')).status, 400);
    assert.equal((await post("/sequencer/admit", '{"voucher":{"channel":-1}}')).status, 400);
    assert.equal((await post("/sequencer/channel", `{"channel":1,"since":{"$int":"${2n ** 63n}"}}`)).status, 400);
    assert.equal((await post("/sequencer/toString", "{}")).status, 404);
    assert.equal((await post("/else", "{}")).status, 404);
    assert.equal((await post("/sequencer/job", " ".repeat(2_001))).status, 413);
    await assert.rejects(serveSequencer({} as Sequencer, { secret: "short" }), { code: "weakSecret" });
  });

  it("is asked again when its answer was lost, and charges once all the same", async (t) => {
    const { office, customers, url } = await officeAfar(t, 35);
    const asked = customers.ask();
    // Every other answer is lost after the sequencer has done its work.
    let calls = 0;
    const lossy = createServer(async (request: IncomingMessage, response: ServerResponse) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const headers = { authorization: request.headers.authorization! };
      const answer = await fetch(`${url}${request.url}`, { method: "POST", body: Buffer.concat(chunks), headers });
      const call = calls++;
      if (call === 0) response.writeHead(502).end("<html>Bad gateway</html>");
      else if (call % 2 === 0) request.socket.destroy();
      else response.writeHead(answer.status).end(await answer.text());
    });
    await new Promise<void>((listening) => lossy.listen(0, "127.0.0.1", listening));
    t.after(() => lossy.close());
    const { port } = lossy.address() as AddressInfo;
    const afar = connectSequencer({ url: `http://127.0.0.1:${port}`, secret });
    const { jobId, status } = await afar.admit(asked.paid);
    assert.equal(status, "known", "the first answer was lost");
    const receipt = await afar.complete(jobId, asked.outcome);
    assert.equal(office.journal.lastPosition(), 1);
    assert.equal((await office.sequencer.channel(receipt.channel)).charged, receipt.price);
    assert.equal(calls, 4);
    const nowhere = connectSequencer({ url: "http://127.0.0.1:9", secret, attempts: 2 });
    await assert.rejects(nowhere.job(jobId), SequencerUnreachable);
    await assert.rejects(list(nowhere), SequencerUnreachable);
  });
});
