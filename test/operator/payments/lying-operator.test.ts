import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, it, type TestContext } from "node:test";
import { type PaidOutcome, payingFetch } from "../../../operator/payments/paying-fetch.ts";
import { PaymentError } from "../../../operator/payments/payment-error.ts";
import { openTill, PATH, type Tricks } from "./till.ts";

async function payer(t: TestContext, seed: number, tricks: Tricks = {}) {
  const till = await openTill(t, seed);
  till.tricks = tricks;
  const ledger = till.openLedger();
  const outcomes: PaidOutcome[] = [];
  const paid = payingFetch({ ledger, backoff: 1, onOutcome: (outcome) => outcomes.push(outcome) });
  const ask = (more: object = {}) => {
    const body = JSON.stringify({ model: "rivers", messages: [{ role: "user", content: "Where?" }], ...more });
    return paid(`${till.url}${PATH}`, { method: "POST", body });
  };
  const charged = async () => (await till.office.sequencer.channel(till.channel)).charged;
  return { till, ledger, outcomes, ask, charged };
}

const malformed = (message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof PaymentError, String(error));
  assert.equal(error.code, "malformed");
  assert.match(error.message, message);
  return true;
};

const lied = (error: unknown) => {
  assert.ok(error instanceof PaymentError, String(error));
  assert.equal(error.code, "operatorLied");
  return true;
};

const ASIDE = '{"choices":[{"index":0,\n"delta":{"content":"Sell. "}}]}';
const inOneLine = ASIDE.replace("\n", "");

describe("an answer that is not the one of its receipt", () => {
  const lies: [string, Tricks, object][] = [
    ["a whole one", { answer: "Rivers flow uphill." }, {}],
    ["a whole one that counts fewer tokens than it charges", { completionTokens: 3 }, {}],
    ["a streamed one", { answer: "Rivers flow uphill." }, { stream: true }],
    ["one whose stream says its price first", { answer: "Rivers.", isEarly: true }, { stream: true }],
    ["one with more, over two lines", { aside: `data: ${ASIDE.replace("\n", "\ndata: ")}\n\n` }, { stream: true }],
    ["one with more, in an event with a name", { aside: `event: note\ndata:${inOneLine}\n\n` }, { stream: true }],
    ["one with more, after other ends of lines", { aside: `id: 1\r\ndata: ${inOneLine}\r\n\r\n` }, { stream: true }],
  ];
  for (const [i, [what, tricks, more]] of lies.entries()) {
    it(`is found out, and nothing more is signed: ${what}`, async (t) => {
      const { till, ledger, outcomes, ask, charged } = await payer(t, 91 + i, tricks);
      await assert.rejects(async () => (await ask(more)).text(), lied);
      assert.deepEqual([ledger.balance().charged, outcomes.length], [await charged(), 1]);
      till.tricks = {};
      const { exposure } = ledger.balance();
      await assert.rejects(ask({ ...more, max_tokens: 7 }), lied);
      assert.equal(ledger.balance().exposure, exposure);
    });
  }

  it("is not confused with an honest one, whole or streamed", async (t) => {
    const { ledger, ask, charged } = await payer(t, 95);
    await (await ask()).json();
    assert.match(await (await ask({ stream: true })).text(), /downhill/);
    assert.match(await (await ask({ stream: true, logprobs: true })).text(), /downhill/);
    assert.deepEqual([ledger.balance().charged, ledger.balance().jobs], [await charged(), 0]);
  });
});

describe("a stream that nobody can follow", () => {
  it("is broken off when one event does not end", async (t) => {
    const { till, ask } = await payer(t, 110, { aside: `data: ${"x".repeat(17 << 20)}` });
    await assert.rejects(async () => (await ask({ stream: true })).text(), malformed(/event of more than 16777216/));
    till.tricks = {};
    assert.match(await (await ask({ stream: true })).text(), /downhill/);
  });

  it("is let go of when its head is about another job", async (t) => {
    let hasLeft: Promise<unknown> | undefined;
    const { ask } = await payer(t, 111, {
      isEarly: true,
      hold: new Promise(() => {}),
      outcome: (outcome) => ({ ...outcome, jobId: `0x${"77".repeat(32)}` }),
      served: (response) => {
        hasLeft = once(response, "close");
        return false;
      },
    });
    await assert.rejects(ask({ stream: true }), malformed(/answers for job 0x7777/));
    await hasLeft;
  });
});

describe("an answer that breaks off in its middle", () => {
  it("is asked for again with the same voucher: it is charged already", async (t) => {
    let breaks = 1;
    const { till, ledger, ask, charged } = await payer(t, 96, { breaks: () => breaks-- > 0 });
    const answer = (await (await ask()).json()) as { choices: unknown[] };
    assert.equal(answer.choices.length, 1);
    assert.equal(till.requests.paid, 2);
    assert.deepEqual([ledger.history().length, ledger.balance().charged], [1, await charged()]);
  });
});

describe("an operator that sends a payer elsewhere", () => {
  it("is not followed, neither with the voucher nor without", async (t) => {
    let visits = 0;
    const elsewhere = createServer((_, response) => {
      visits++;
      response.end();
    });
    await new Promise<void>((listening) => elsewhere.listen(0, "127.0.0.1", listening));
    t.after(() => elsewhere.close());
    const location = `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}/`;
    const { till, ask, ledger } = await payer(t, 97);
    for (const isPaid of [false, true]) {
      till.tricks.received = (request, response) => {
        if ((request.headers["payment-signature"] !== undefined) !== isPaid) return false;
        response.writeHead(307, { location }).end();
        return true;
      };
      assert.equal((await ask()).status, 307);
    }
    assert.equal(visits, 0);
    assert.equal(ledger.balance().charged, 0n);
  });
});
