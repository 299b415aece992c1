import { heading, line } from "./print.ts";
import type { World } from "./world.ts";

/** Prints how to talk to what is left running. */
export async function howToTalk({ folder, olga, payers, registry, rpc, addresses, readings }: World): Promise<void> {
  const [payer] = payers;
  const model = registry.agents[0].name;
  const { chainId } = payer.ledger.domain;
  heading("Everything goes on running; Ctrl-C ends it");
  line(`curl ${olga.url}/v1/models                        # agents with their prices`);
  line(`curl ${olga.url}/health                           # and /metrics, /openapi.json, /v1/batches`);
  line();
  line(`export OPENLEDGER_SESSION_KEY=${payer.sessionKey}   # ${payer.person.name}'s channel, this chain only`);
  line(`export OPENLEDGER_HOME=${folder}              # with the channel's ledger`);
  const from = `--operator-url ${olga.url} --channel ${payer.channel} --chain ${chainId} --addresses ${addresses}`;
  line(`npx openledger chat ${from} --model ${model} "What is the depth of Perdu harbour?"`);
  line(`npx openledger proxy ${from} --port 8788      # then any OpenAI client at http://127.0.0.1:8788/v1`);
  line();
  line(`The agent railways-live has a tool that knows: ${readings.map(({ subject }) => subject).join(", ")}`);
  line(
    `The chain is at ${rpc}, number ${chainId}. Its clock was put forward: the next batch waits for that time to pass.`,
  );
  const page = await fetch(olga.url);
  await page.body?.cancel();
  if (page.ok) line(`In a browser: ${olga.url}/`);
}
