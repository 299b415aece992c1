// A process that serves jobs until it is killed, and says on its output what was acknowledged: file, seed and round are
// its arguments.
import { openCapLedger } from "../../../operator/protocol/cap-ledger.ts";
import { customersOf, openOffice, settleLedger } from "./office.ts";

const [file, seed, round] = process.argv.slice(2);
const customers = customersOf(Number(seed));
const { world, ledgers } = customers;
// Other requests than in the rounds before.
world.dice.bytes(1_000 * Number(round));
const [, sequencer] = openOffice(file, customers, {}, { maxReceipts: 20 });
const say = (...words: string[]) => process.stdout.write(`${words.join(" ")}\n`);

for await (const { jobId } of sequencer.unfinished()) {
  await sequencer.fail(jobId, "the worker was killed");
  say("failed", jobId);
}
for (const channel of world.channels) {
  const { charged } = await sequencer.channel(channel);
  ledgers.set(channel, openCapLedger(charged, BigInt(100_000 * Number(round) + 1)));
}

await Promise.all(
  world.channels.map(async (channel) => {
    for (;;) {
      const asked = customers.ask(channel);
      const { jobId } = await sequencer.admit(asked.paid);
      say("admitted", jobId);
      if (world.dice.chance(0.2)) {
        await sequencer.fail(jobId, "the model is ill");
        say("failed", jobId);
        settleLedger(customers, asked, undefined);
      } else {
        const { price } = await sequencer.complete(jobId, asked.outcome);
        say("completed", jobId);
        settleLedger(customers, asked, price);
      }
    }
  }),
);
