import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import OpenAI from "openai";
import { type PaidOutcome, type PayingFetchOptions, payingFetch } from "../../../operator/payments/paying-fetch.ts";
import { PaymentError } from "../../../operator/payments/payment-error.ts";
import { settleAdrift } from "../../../operator/payments/settle-adrift.ts";
import { openTill, type Till } from "./till.ts";

const ask = (content = "Where do rivers flow?", maxTokens?: number) => ({
  model: "rivers",
  messages: [{ role: "user" as const, content }],
  ...(maxTokens === undefined ? {} : { max_tokens: maxTokens }),
});
const askStreaming = () => ({ ...ask(), stream: true as const });
const isCode = (code: string) => (error: unknown) => {
  const found = error instanceof PaymentError ? error : (error as Error).cause;
  return found instanceof PaymentError && found.code === code;
};

async function payer(t: TestContext, seed: number, options: Partial<PayingFetchOptions> = {}) {
  const till = await openTill(t, seed);
  const ledger = till.openLedger();
  const outcomes: PaidOutcome[] = [];
  const paid = payingFetch({ ledger, backoff: 1, onOutcome: (outcome) => outcomes.push(outcome), ...options });
  const client = new OpenAI({ baseURL: `${till.url}/v1`, apiKey: "none", fetch: paid, maxRetries: 0 });
  return { till, ledger, client, outcomes, paid };
}

const statementOf = ({ office, channel }: Till) => office.sequencer.channel(channel);
const charged = async (till: Till) => (await statementOf(till)).charged;
const receiptsOf = async (till: Till) => (await statementOf(till)).receipts.length;

describe("a fetch that pays, under the official client", () => {
  it("pays what is asked, and from the second request on sends the voucher along", async (t) => {
    const { till, ledger, client, outcomes } = await payer(t, 61);
    const answer = await client.chat.completions.create(ask());
    assert.equal(answer.choices[0].message.content, "Rivers flow downhill.");
    assert.deepEqual(till.requests, { paid: 1, unpaid: 1 });
    const again = await client.chat.completions.create(ask("Where do the longest of all rivers flow to, and why?"));
    assert.notEqual(again.id, answer.id);
    assert.deepEqual(till.requests, { paid: 2, unpaid: 1 });
    assert.deepEqual(
      outcomes.map(({ jobId, model, outcome }) => [jobId, model, outcome.state]),
      [
        [answer.id, "rivers", "completed"],
        [again.id, "rivers", "completed"],
      ],
    );
    const total = await charged(till);
    assert.ok(total > 0n);
    assert.deepEqual(ledger.balance(), {
      charged: total,
      unresolved: 0n,
      jobs: 0,
      exposure: ledger.balance().exposure,
    });
    assert.equal(ledger.since, 2n);
  });

  it("passes a stream's words on before the end is known, and takes the receipt from its last event", async (t) => {
    const { till, ledger, client } = await payer(t, 62);
    const gate = Promise.withResolvers<void>();
    till.tricks.hold = gate.promise;
    const stream = await client.chat.completions.create(askStreaming());
    let text = "";
    for await (const chunk of stream) {
      text += chunk.choices[0].delta.content ?? "";
      if (text === "Rivers flow downhill.") gate.resolve();
    }
    assert.equal(text, "Rivers flow downhill.");
    assert.equal(ledger.balance().charged, await charged(till));
    assert.equal(ledger.balance().jobs, 0);
  });

  it("signs anew as often as its voucher is overtaken by later ones on the way", async (t) => {
    let overtaken = 0;
    const slow: typeof fetch = async (input, init) => {
      const isSlow = String(init?.body).includes("slow") && new Headers(init?.headers).has("payment-signature");
      if (isSlow && overtaken < 4) {
        overtaken += 1;
        await client.chat.completions.create(ask(`Overtaking for the time ${overtaken}`));
      }
      return fetch(input, init);
    };
    const { till, ledger, client, outcomes } = await payer(t, 73, { fetch: slow });
    const answer = await client.chat.completions.create(ask("slow"));
    assert.equal(answer.choices[0].message.content, "Rivers flow downhill.");
    assert.equal(overtaken, 4);
    assert.equal(outcomes.length, 5);
    assert.equal(await receiptsOf(till), 5);
    assert.equal(ledger.balance().charged, await charged(till));
    assert.equal(ledger.balance().jobs, 0);
  });

  it("asks again where the last quote cannot tell the price of a request", async (t) => {
    const { till, client } = await payer(t, 63);
    await client.chat.completions.create(ask());
    await client.chat.completions.create(ask("Why?", 5));
    await client.chat.completions.create(ask("How?", 400));
    assert.deepEqual(till.requests, { paid: 3, unpaid: 2 });
  });

  it("leaves what costs nothing alone", async (t) => {
    const { till, paid } = await payer(t, 64);
    assert.equal(await (await paid(`${till.url}/v1/models`)).text(), "free");
    assert.equal(await (await paid(`${till.url}/v1/else`, { method: "POST", body: "no JSON" })).text(), "free");
    const body = JSON.stringify(ask());
    assert.equal(await (await paid(`${till.url}/v1/else`, { method: "POST", body })).text(), "free");
    assert.equal(till.requests.paid, 0);
  });

  it("leaves a request that is no question as it came, with its body", async (t) => {
    const { till, paid } = await payer(t, 67);
    const request = new Request(`${till.url}/v1/else`, { method: "PUT", body: "text" });
    assert.equal(await (await paid(request)).text(), "free");
  });

  it("leaves it to the operator to refuse a number of tokens that is none, though it knows the prices", async (t) => {
    const { till, ledger, client } = await payer(t, 68);
    await client.chat.completions.create(ask("Why?", 5));
    till.tricks.received = (_request, response) => {
      response.writeHead(400).end();
      return true;
    };
    await assert.rejects(client.chat.completions.create(ask("Why?", 7.5)), { status: 400 });
    assert.equal(ledger.history().length, 1);
  });

  it("signs nothing for a caller who has left before", async (t) => {
    const { till, ledger, client, paid } = await payer(t, 69);
    await client.chat.completions.create(ask());
    const { exposure } = ledger.balance();
    const signal = AbortSignal.abort();
    const asked = paid(`${till.url}/v1/chat/completions`, {
      method: "POST",
      body: JSON.stringify(ask("Why?")),
      signal,
    });
    await assert.rejects(asked, { name: "AbortError" });
    assert.deepEqual([ledger.history().length, ledger.balance().exposure], [1, exposure]);
  });

  it("signs nothing beyond the limits that were set", async (t) => {
    const { till, ledger, client } = await payer(t, 65, { maxPricePerRequest: 10n ** 15n });
    await assert.rejects(client.chat.completions.create(ask()), isCode("priceAboveLimit"));
    assert.equal(ledger.balance().exposure, 0n);
    const maxTotal = 2n * 10n ** 15n;
    const small = new OpenAI({
      baseURL: `${till.url}/v1`,
      apiKey: "none",
      fetch: payingFetch({ ledger, maxTotal }),
      maxRetries: 0,
    });
    await small.chat.completions.create(ask());
    await assert.rejects(small.chat.completions.create(ask()), isCode("totalAboveLimit"));
    assert.ok(ledger.balance().exposure <= maxTotal);
  });

  it("forgets a job that the operator gave up, which costs nothing", async (t) => {
    const { till, ledger, client, outcomes } = await payer(t, 66);
    await assert.rejects(client.chat.completions.create(ask("break")), /no gauge/);
    assert.equal(till.requests.paid, 1, "a job that has failed is not sent again");
    assert.equal(outcomes[0].outcome.state, "failed");
    assert.deepEqual([ledger.balance().charged, ledger.balance().jobs], [0n, 0]);
    await client.chat.completions.create(ask());
  });
});

describe("a request whose fate is unknown", () => {
  it("is sent again with the same voucher, and is one job", async (t) => {
    const { till, ledger, client } = await payer(t, 71);
    till.tricks.received = (request, response, at) => {
      if (request.headers["payment-signature"] === undefined || at > 1) return false;
      if (at === 0) response.writeHead(503, { "content-type": "text/plain" }).end("starting");
      else request.socket.destroy();
      return true;
    };
    let cuts = 0;
    till.tricks.served = (response) => {
      // Charged, and then the line breaks.
      if (cuts++ === 0) response.socket!.destroy();
      return cuts === 1;
    };
    const answer = await client.chat.completions.create(ask());
    assert.equal(till.requests.paid, 4);
    assert.equal(await receiptsOf(till), 1);
    assert.equal(ledger.balance().charged, await charged(till));
    assert.equal(ledger.history().length, 1);
    assert.equal(ledger.history()[0].jobId, answer.id);
  });

  it("is the same job when the caller makes it again after the attempts were used up", async (t) => {
    const { till, ledger, client } = await payer(t, 72, { attempts: 1 });
    till.tricks.served = (response) => {
      response.writeHead(502).end();
      return true;
    };
    await assert.rejects(client.chat.completions.create(ask()), { status: 502 });
    till.tricks = {};
    await client.chat.completions.create(ask());
    assert.deepEqual([ledger.history().length, await receiptsOf(till)], [1, 1]);
    await client.chat.completions.create(ask());
    assert.deepEqual([ledger.history().length, await receiptsOf(till)], [2, 2]);
  });

  it("is the same job also when its receipt came with another request meanwhile", async (t) => {
    const { till, ledger, client } = await payer(t, 76, { attempts: 1 });
    till.tricks.served = (response) => {
      response.writeHead(502).end();
      return true;
    };
    await assert.rejects(client.chat.completions.create(ask()), { status: 502 });
    till.tricks = {};
    await client.chat.completions.create(ask("And lakes?"));
    assert.deepEqual([ledger.balance().jobs, await receiptsOf(till)], [0, 2]);
    await client.chat.completions.create(ask());
    assert.deepEqual([ledger.history().length, await receiptsOf(till)], [2, 2]);
  });

  it("is learned of later, when its stream broke or its reader left", async (t) => {
    const { till, ledger, client } = await payer(t, 73);
    const gate = Promise.withResolvers<void>();
    till.tricks.hold = gate.promise;
    const stream = await client.chat.completions.create(askStreaming());
    for await (const _ of stream) break;
    gate.resolve();
    await client.chat.completions.create(ask("And lakes?"));
    assert.deepEqual([ledger.balance().jobs, ledger.history().length], [0, 2]);
    assert.equal(ledger.balance().charged, await charged(till));
  });

  it("is not sent again for a caller who left, unless that caller says that it tries again", async (t) => {
    const { till, ledger, paid } = await payer(t, 75, { backoff: 60_000 });
    const leaving = new AbortController();
    till.tricks.admitted = (response) => {
      response.writeHead(503).end();
      // The pause before the next attempt is cut short.
      setTimeout(() => leaving.abort(), 20);
      return true;
    };
    const send = (headers = {}, signal?: AbortSignal) =>
      paid(`${till.url}/v1/chat/completions`, { method: "POST", body: JSON.stringify(ask()), headers, signal });
    await assert.rejects(send({}, leaving.signal), { name: "AbortError" });
    assert.equal(till.requests.paid, 1);
    till.tricks = {};
    await (await send({ "x-stainless-retry-count": "1" })).json();
    assert.deepEqual([ledger.history().length, await receiptsOf(till)], [1, 1]);
  });

  it("is not waited for where the operator does not say what became of it", async (t) => {
    const { till, ledger, client } = await payer(t, 77, { attempts: 1 });
    till.tricks.served = (response) => {
      response.socket!.destroy();
      return true;
    };
    await assert.rejects(client.chat.completions.create(ask("break")));
    let asked = 0;
    till.tricks = {
      received: (request) => {
        const isLookUp = request.url!.startsWith("/v1/jobs/");
        if (isLookUp) asked++;
        return isLookUp;
      },
    };
    const { signal } = new AbortController();
    const operator = { url: `${till.url}/v1/chat/completions`, headers: new Headers(), signal };
    await settleAdrift(ledger, operator, fetch, 50);
    assert.deepEqual([asked, ledger.adrift().length], [1, 1]);
  });

  it("is looked up where no statement tells: a job that failed unseen", async (t) => {
    const { till, ledger, client } = await payer(t, 74, { attempts: 1 });
    till.tricks.served = (response) => {
      response.socket!.destroy();
      return true;
    };
    await assert.rejects(client.chat.completions.create(ask("break")));
    till.tricks = {};
    await client.chat.completions.create(ask("Another question"));
    assert.deepEqual(
      ledger.history().map(({ state }) => state),
      ["charged", "forgotten"],
    );
  });
});

describe("a request that never came to the operator", () => {
  it("does not keep others from being paid for, however many these are", async (t) => {
    const { till, ledger, client } = await payer(t, 78, { attempts: 1 });
    till.tricks.received = (request, response) => {
      if (request.headers["payment-signature"] === undefined) return false;
      response.socket!.destroy();
      return true;
    };
    await assert.rejects(client.chat.completions.create(ask("lost")));
    till.tricks = {};
    const [lost] = ledger.history();
    for (let i = 0; i < 255; i++) await client.chat.completions.create(ask(`Question ${i}`));
    assert.equal(ledger.job(lost.jobId)!.state, "signed");
    await assert.rejects(
      client.chat.completions.create(ask("One more")),
      ({ cause }) => cause.code === "tooManyUnresolved",
    );
    till.time += 30;
    await client.chat.completions.create(ask("One more"));
    assert.equal(ledger.job(lost.jobId)!.state, "forgotten");
    assert.equal(ledger.balance().jobs, 0);
  });
});

describe("a ledger that knows less than the operator", () => {
  it("is corrected by the receipts in the refusal", async (t) => {
    const { till, client, ledger } = await payer(t, 81);
    await client.chat.completions.create(ask());
    const [first] = ledger.history();
    // It is made to believe that these failed: its next cap is too low by what they cost.
    till.tricks.served = (response) => {
      response.writeHead(400).end();
      return true;
    };
    const lost = Array.from({ length: 9 }, (_, i) => client.chat.completions.create(ask(`Question ${i}`)));
    for (const { status } of await Promise.allSettled(lost)) assert.equal(status, "rejected");
    till.tricks = {};
    assert.equal(ledger.balance().charged, first.price);
    await client.chat.completions.create(ask());
    assert.equal(ledger.balance().charged, await charged(till));
    assert.equal(await receiptsOf(till), 11);
    assert.ok(ledger.history().every(({ state, voucher }) => state === "charged" || voucher.nonce === 11n));
  });

  it("is rebuilt from the operator's receipts when its file was lost", async (t) => {
    const { till, client } = await payer(t, 82);
    for (let i = 0; i < 8; i++) await client.chat.completions.create(ask(`Question ${i}`));
    const ledger = till.openLedger({ file: `${till.ledgerFile}-new` });
    const paid = payingFetch({ ledger });
    const anew = new OpenAI({ baseURL: `${till.url}/v1`, apiKey: "none", fetch: paid, maxRetries: 0 });
    await anew.chat.completions.create(ask());
    assert.equal(ledger.history().length, 9);
    assert.equal(ledger.balance().charged, await charged(till));
  });
});
