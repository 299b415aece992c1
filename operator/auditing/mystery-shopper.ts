import { randomInt } from "node:crypto";
import type { RegistryMirror } from "../chain/mirror.ts";
import type { Hex } from "../protocol/bytes.ts";
import { toHex } from "../protocol/bytes.ts";
import type { Composition } from "../protocol/composition.ts";
import type { DataNetShelf } from "../serving/data-net-shelf.ts";
import { draw } from "./draw.ts";
import { drawQuestion } from "./draw-question.ts";

export interface MysteryShopperOptions {
  mirror: RegistryMirror;
  shelf: Pick<DataNetShelf, "take">;
  /** Of the base model that the answers will be done again with. */
  modelHash: Hex;
  /** Where the channel's operator answers, without `/v1`. */
  operatorUrl: string;
  /** A `fetch` that pays within its limits. */
  pay: typeof fetch;
  signal?: AbortSignal;
}

/** An answer that was bought. */
export interface Purchase {
  agent: string;
  question: string;
  job: Hex;
}

/** An agent that can be asked about something: it has documents. */
interface Wanted {
  name: string;
  composition: Composition;
}

/** Tokens of a bought answer at most: drawn anew each time, as people's limits differ. */
const FEWEST_TOKENS = 16;
const MOST_TOKENS = 128;

/**
 * Buys an answer as anybody would, so that there is a job to do again: an agent drawn at random, asked about a passage
 * of its DataNets that was drawn at random. It is drawn for doing again with all other jobs of the channel.
 *
 * @returns Undefined when there is no agent of the base model that has documents.
 * @throws {PaymentError} When a limit is reached or the operator is caught, whatever fetching throws, and Error with what
 *   the operator answered in place of an answer.
 */
export async function buyAnswer(options: MysteryShopperOptions): Promise<Purchase | undefined> {
  const { operatorUrl, pay, signal } = options;
  const [wanted] = draw(agentsOf(options), 1);
  const question = wanted && (await questionFor(wanted.composition, options));
  if (question === undefined) return undefined;
  const response = await pay(`${operatorUrl}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      model: wanted.name,
      messages: [{ role: "user", content: question }],
      max_tokens: randomInt(FEWEST_TOKENS, MOST_TOKENS + 1),
    }),
    ...(signal && { signal }),
  });
  const text = await response.text();
  const job = response.headers.get("x-openledger-job");
  if (response.ok && job !== null) return { agent: wanted.name, question, job: job as Hex };
  throw new Error(`${wanted.name} was not answered: status ${response.status}, ${text.slice(0, 300)}`);
}

function agentsOf({ mirror, modelHash }: MysteryShopperOptions): Wanted[] {
  return mirror.agents().flatMap(({ id, name, head }) => {
    const composition = mirror.composition(id, head);
    // A name leads to whoever registered it first.
    const isReached = mirror.agentByName(name)?.id === id;
    const isWanted = composition && composition.dataNets.length > 0 && toHex(composition.baseModel) === modelHash;
    return isReached && isWanted ? [{ name, composition }] : [];
  });
}

async function questionFor({ dataNets }: Composition, { shelf }: MysteryShopperOptions): Promise<string | undefined> {
  const net = await shelf.take(draw(dataNets, 1)[0]);
  if (!net) return undefined;
  try {
    // Most passages have words; a few draws find one.
    for (let tries = 0; tries < 8 && net.index.chunks > 0; tries++) {
      const question = drawQuestion(net.index.passage(randomInt(net.index.chunks)));
      if (question !== undefined) return question;
    }
    return undefined;
  } finally {
    net.release();
  }
}
