import { seeded } from "../../operator/training/random.ts";
import type { Fact } from "../train/facts.ts";
import { type Answer, ask, type Payer } from "./payers.ts";
import { line } from "./print.ts";
import { type KnownQuestion, questionFor, readFacts, suits } from "./questions.ts";
import type { Agent } from "./registry.ts";

/** A question for an agent, and what came of it. */
export interface Asked extends KnownQuestion {
  agent: Agent;
}
export interface Served extends Asked {
  got: Answer;
}

/** Draws questions whose answers stand in the documents, or are the tool's to know: the agents take turns. */
export function drawQuestions(
  agents: readonly Agent[],
  readings: readonly Fact[],
  count: number,
  seed: number,
): Asked[] {
  const random = seeded(seed, "questions");
  const facts = new Map<string, Fact[]>();
  const factsOf = (net: string) => {
    if (!facts.has(net)) facts.set(net, readFacts(net));
    return facts.get(net)!;
  };
  return Array.from({ length: count }, (_, i) => {
    const agent = agents[i % agents.length];
    // Every other question to the agent with the tool is one that no document answers.
    const isForTool = agent.usesTool && Math.floor(i / agents.length) % 2 === 0;
    const known = isForTool ? readings : agent.nets.flatMap(factsOf);
    const fact = random.pick(known.filter((one) => suits(one, agent.skill ?? {})));
    return { agent, ...questionFor(fact, agent.skill, random) };
  });
}

/**
 * Asks all questions with so many in flight, the payers in turns.
 *
 * @throws The first failure, once the others have ended.
 */
export async function askAll(
  payers: readonly Payer[],
  questions: readonly Asked[],
  inFlight: number,
): Promise<{ served: Served[]; milliseconds: number }> {
  const started = performance.now();
  const served: Served[] = [];
  let next = 0;
  const failures: unknown[] = [];
  const news = setInterval(() => line(`... ${served.length} of ${questions.length} answered`), 5_000);
  const asker = async () => {
    while (next < questions.length && failures.length === 0) {
      const at = next++;
      const asked = questions[at];
      try {
        served.push({ ...asked, got: await ask(payers[at % payers.length], asked.agent.name, asked.question) });
      } catch (error) {
        failures.push(error);
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: inFlight }, asker));
  } finally {
    clearInterval(news);
  }
  if (failures.length > 0) throw failures[0];
  return { served, milliseconds: performance.now() - started };
}
