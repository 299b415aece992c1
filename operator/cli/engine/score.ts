import { interruptible } from "../interrupt.ts";
import { type EngineOptions, openEngine, printSettings } from "./open-engine.ts";
import { optionText } from "./prompt-text.ts";

interface ScoreOptions extends EngineOptions {
  readonly context: string;
  readonly continuation: string;
}

/** `openledger engine score` */
export async function score(options: ScoreOptions): Promise<void> {
  await interruptible(async (signal) => {
    const { engine, adapters } = await openEngine(options, signal);
    try {
      if (!options.json) await printSettings(engine);
      const context = { text: await optionText(options.context) };
      const continuation = { text: options.continuation };
      const result = await engine.score({ contexts: [context], continuation, adapters }, signal);
      const [{ logprob, tokenLogprobs, contextTokens }] = result.scores;
      const { continuationTokenIds } = result;
      if (options.json) {
        const { sparse } = await engine.info();
        console.log(JSON.stringify({ logprob, tokenLogprobs, continuationTokenIds, contextTokens, sparse }));
      } else {
        const perToken = logprob / tokenLogprobs.length;
        console.log(`${logprob.toFixed(4)} (${tokenLogprobs.length} tokens, ${perToken.toFixed(4)} each on average)`);
      }
    } finally {
      await engine.close();
    }
  });
}
