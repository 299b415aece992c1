import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Engine } from "../../../../operator/engine/engine.ts";
import { connectRemoteEngine } from "../../../../operator/engine/remote/connect.ts";
import { parseServerSentEvents } from "../../../../operator/engine/remote/server-sent-events.ts";
import { refusedAs } from "./refused-as.ts";
import { collect, only, QUICK, type Reply, startPeer } from "./scripted-peer.ts";
import { startVllm } from "./vllm-peer.ts";

const piece = (text: string, finish: string | null = null) => ({
  model: "base",
  choices: [{ index: 0, text, token_ids: [1], finish_reason: finish, stop_reason: null }],
});

/** A vLLM whose completions are scripted by the test. */
async function scripted(
  context: Parameters<typeof startVllm>[0],
  completions: (reply: Reply) => unknown,
  options = QUICK,
) {
  const { peer, handler } = await startVllm(context);
  const engine = await connectRemoteEngine(`vllm+${peer.url}`, options);
  peer.script(async (request, reply) => {
    if (request.path !== "/v1/completions") return handler(request, reply);
    await completions(reply);
  });
  return { peer, engine };
}

const ask = (engine: Engine, signal?: AbortSignal) =>
  collect(engine.generate({ prompt: { text: "a" }, maxTokens: 9, stop: ["END"] }, signal));

test("a stream that is cut off is an error, however far it came", async (context) => {
  const endings: ((reply: Reply) => void)[] = [
    (reply) => reply.cut(),
    (reply) => reply.end(),
    (reply) => {
      reply.raw('data: {"model":"base","choi');
      reply.end();
    },
    (reply) => {
      reply.event("[DONE]");
      reply.end();
    },
  ];
  for (const end of endings) {
    const { engine } = await scripted(context, (reply) => {
      reply.stream();
      reply.event(piece("some"));
      end(reply);
    });
    await assert.rejects(ask(engine), refusedAs("unavailable"));
  }
});

test("pieces that make no sense are an error and never text", async (context) => {
  const pieces: unknown[] = [
    "not json",
    "null",
    "[]",
    { choices: 3 },
    { choices: [{}] },
    { choices: [{ index: 0, text: 4 }] },
    { choices: [{ index: 7, text: "x" }] },
    { choices: [{ index: 0, text: "x", token_ids: [-1] }] },
    { choices: [{ index: 0, text: "x", finish_reason: "abort" }] },
  ];
  for (const bad of pieces) {
    const { engine } = await scripted(context, (reply) => {
      reply.stream();
      reply.event(bad);
      reply.event("[DONE]");
      reply.end();
    });
    await assert.rejects(ask(engine), refusedAs("failed"), JSON.stringify(bad));
  }
});

test("an error inside the stream ends it with its meaning", async (context) => {
  const { engine } = await scripted(context, (reply) => {
    reply.stream();
    reply.event(piece("so"));
    reply.event({ error: { message: "maximum context length exceeded", type: "BadRequestError", code: 400 } });
    reply.event("[DONE]");
    reply.end();
  });
  await assert.rejects(ask(engine), refusedAs("context_too_long"));
});

test("an answer that is no stream is an error", async (context) => {
  const { engine } = await scripted(context, (reply) => reply.json(piece("whole", "stop")));
  await assert.rejects(ask(engine), refusedAs("failed"));
});

test("a peer that falls silent is given up after the idle time, before and inside the stream", async (context) => {
  const options = { ...QUICK, timeouts: { ...QUICK.timeouts, firstByte: 40, idle: 40 } };
  const silent = await scripted(context, () => undefined, options);
  await assert.rejects(ask(silent.engine), refusedAs("timeout"));
  const patient = { ...QUICK, timeouts: { ...QUICK.timeouts, firstByte: 60_000, idle: 40 } };
  const mute = await scripted(context, (reply) => reply.stream(), patient);
  await assert.rejects(ask(mute.engine), refusedAs("timeout"));
  const stuck = await scripted(
    context,
    (reply) => {
      reply.stream();
      reply.event(piece("so"));
    },
    patient,
  );
  await assert.rejects(ask(stuck.engine), refusedAs("timeout"));
});

test("comments keep a slow stream alive", async (context) => {
  const options = { ...QUICK, timeouts: { ...QUICK.timeouts, idle: 1000 } };
  const { engine } = await scripted(
    context,
    async (reply) => {
      reply.stream();
      for (let i = 0; i < 12; i++) {
        reply.raw(": still here\n\n");
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      reply.event(piece("late", "stop"));
      reply.event("[DONE]");
      reply.end();
    },
    options,
  );
  assert.deepEqual((await ask(engine)).texts, ["late"]);
});

test("a server that comes back is reached again, one that stays away is reported", async (context) => {
  let refusals = 2;
  const { peer, engine } = await scripted(context, (reply) => {
    if (refusals-- > 0) return reply.cut();
    reply.stream();
    reply.event(piece("back", "stop"));
    reply.event("[DONE]");
    reply.end();
  });
  assert.deepEqual((await ask(engine)).texts, ["back"]);
  await peer.stop();
  await assert.rejects(ask(engine), refusedAs("unavailable"));
  await assert.rejects(connectRemoteEngine(`vllm+${peer.url}`, QUICK), refusedAs("unavailable"));
});

/** A stream that goes on until the client leaves. */
function endless(gone: (value: string) => void) {
  return async (reply: Reply) => {
    reply.stream();
    reply.event(piece("a"));
    reply.event(piece("b"));
    await reply.gone();
    gone("gone");
  };
}

test("a fired signal ends the iterator as cancelled and the connection with it", async (context) => {
  const left = Promise.withResolvers<string>();
  const { engine } = await scripted(context, endless(left.resolve));
  const controller = new AbortController();
  const run = (async () => {
    for await (const event of engine.generate({ prompt: { text: "a" }, maxTokens: 9 }, controller.signal)) {
      if (event.type === "token") controller.abort();
    }
  })();
  await assert.rejects(run, refusedAs("cancelled"));
  assert.equal(await left.promise, "gone");
});

test("leaving the loop ends the connection", async (context) => {
  const left = Promise.withResolvers<string>();
  const { engine } = await scripted(context, endless(left.resolve));
  for await (const event of engine.generate({ prompt: { text: "a" }, maxTokens: 9, n: 2 })) {
    if (event.type === "token") break;
  }
  assert.equal(await left.promise, "gone");
});

test("draining lets what runs end and takes nothing new; closing ends it at once", async (context) => {
  const go = Promise.withResolvers<void>();
  const { engine } = await scripted(context, async (reply) => {
    reply.stream();
    reply.event(piece("slow"));
    await go.promise;
    reply.event(piece("ly", "stop"));
    reply.event("[DONE]");
    reply.end();
  });
  const first = engine.generate({ prompt: { text: "a" }, maxTokens: 9 })[Symbol.asyncIterator]();
  assert.equal((await first.next()).value?.type, "start");
  const drained = engine.drain();
  await assert.rejects(ask(engine), refusedAs("draining"));
  go.resolve();
  while (!(await first.next()).done) {}
  await drained;

  const left = Promise.withResolvers<string>();
  const other = await scripted(context, endless(left.resolve));
  const running = ask(other.engine);
  running.catch(() => undefined);
  while ((await other.engine.metrics())[0].samples[0].value === 0) await new Promise(setImmediate);
  await other.engine.close();
  await assert.rejects(running, refusedAs("closed"));
  await assert.rejects(ask(other.engine), refusedAs("closed"));
});

test("closing does not wait for a caller that has stopped reading", async (context) => {
  const left = Promise.withResolvers<string>();
  const { engine } = await scripted(context, endless(left.resolve));
  const abandoned = engine.generate({ prompt: { text: "a" }, maxTokens: 9 })[Symbol.asyncIterator]();
  await abandoned.next();
  const drained = engine.drain();
  await engine.close();
  await drained;
  assert.equal(await left.promise, "gone");
});

test("more requests in flight than allowed are refused as overloaded", async (context) => {
  const { engine } = await scripted(
    context,
    endless(() => undefined),
    { ...QUICK, maxInFlight: 1 },
  );
  const first = engine.generate({ prompt: { text: "a" }, maxTokens: 9 })[Symbol.asyncIterator]();
  await first.next();
  await assert.rejects(ask(engine), refusedAs("overloaded"));
  await first.return?.();
});

test("a stop string that the server lets pass is cut, wherever the pieces end", async (context) => {
  const left = Promise.withResolvers<string>();
  const { engine } = await scripted(context, async (reply) => {
    reply.stream();
    for (const text of ["We E", "N", "D here"]) reply.event(piece(text));
    await reply.gone();
    left.resolve("gone");
  });
  const answer = await ask(engine);
  assert.deepEqual(answer.texts, ["We "]);
  assert.equal(only(answer, "finish").stopString, "END");
  assert.equal(await left.promise, "gone");
});

test("server-sent events come out the same however the bytes are cut", async () => {
  const text =
    'data: {"a":"é🎈"}\r\n\r\n: ping\n\ndata:one\ndata: two\n\nerror: bad\r\revent: x\nid: 4\ndata\n\ndata: cut';
  const bytes = new TextEncoder().encode(text);
  const expected = [
    { data: '{"a":"é🎈"}', error: false },
    { data: "one\ntwo", error: false },
    { data: "bad", error: true },
    { data: "", error: false },
  ];
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 9 })), async (sizes) => {
      async function* cut() {
        let at = 0;
        for (const size of sizes) yield bytes.subarray(at, (at += size));
        yield bytes.subarray(at);
      }
      const events = [];
      for await (const event of parseServerSentEvents(cut())) events.push(event);
      assert.deepEqual(events, expected);
    }),
    { numRuns: 300 },
  );
});

test("an event without end is an error, not memory", async () => {
  async function* flood() {
    const mebibyte = new Uint8Array(1 << 20).fill(97);
    yield new TextEncoder().encode("data: ");
    for (let i = 0; i < 64; i++) yield mebibyte;
  }
  await assert.rejects(async () => {
    for await (const _ of parseServerSentEvents(flood()));
  }, refusedAs("failed"));
});

test("redirects are not followed, so a key stays with its host", async (context) => {
  const thief = await startPeer(context, (_, reply) => reply.json({ data: [] }));
  const peer = await startPeer(context, (_, reply) => {
    reply.response.writeHead(307, { location: `${thief.url}/v1/models` }).end();
  });
  await assert.rejects(connectRemoteEngine(`vllm+${peer.url}`, { ...QUICK, apiKey: "secret" }));
  assert.equal(thief.received.length, 0);
});
