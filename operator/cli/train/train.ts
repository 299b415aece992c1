import { availableParallelism } from "node:os";
import { join } from "node:path";
import { LORA_TARGETS, type LoraTarget } from "../../engine/model/lora.ts";
import { modelFolder } from "../../hub/locate.ts";
import { DEFAULT_ADAPTER_SETTINGS } from "../../training/lora/settings.ts";
import { trainAdapter } from "../../training/lora/train-adapter.ts";
import { EXIT } from "../exit-codes.ts";
import { interruptible } from "../interrupt.ts";
import { progressLine } from "../progress-line.ts";

interface TrainOptions {
  model: string;
  data: string[];
  out: string;
  epochs: number;
  rank: number;
  alpha: number;
  targets?: readonly LoraTarget[];
  batch: number;
  tokens: number;
  maxLength: number;
  learningRate: number;
  evaluation: number;
  seed: number;
  threads?: number;
  sketch: number;
  checkpoint: number;
  json: boolean;
}

/** Trains an adapter; progress goes to standard error, so that standard output holds the result alone. */
export async function train(options: TrainOptions): Promise<void> {
  const report = await interruptible(async (signal) => {
    const progress = progressLine(options.json);
    return trainAdapter({
      model: await modelFolder(options.model, { say: progressLine(), signal }),
      dataNets: options.data,
      output: options.out,
      settings: {
        ...DEFAULT_ADAPTER_SETTINGS,
        lora: { rank: options.rank, alpha: options.alpha, targets: options.targets ?? LORA_TARGETS },
        epochs: options.epochs,
        rowsPerStep: options.batch,
        tokensPerBatch: options.tokens,
        maxLength: options.maxLength,
        learningRate: options.learningRate,
        evaluation: options.evaluation,
        seed: options.seed,
      },
      threads: options.threads ?? availableParallelism(),
      checkpointEvery: options.checkpoint,
      sketch: options.sketch,
      onStart: ({ documents, evaluation, tooLong, steps }) => {
        const left = tooLong === 0 ? "" : `; ${tooLong} answers are too long and left out`;
        progress(`${documents} documents to train on, ${evaluation} to measure on, ${steps} steps${left}`, true);
      },
      onStep: ({ step, steps, loss, tokens, seconds }) => {
        const left = Math.round((steps - step) * seconds);
        const speed = Math.round(tokens / seconds);
        const text = `step ${step}/${steps}  loss ${loss.toFixed(4)}  ${speed} tokens/s  ${left} s left`;
        progress(text, step === steps || step % 20 === 0);
      },
      signal,
    });
  });
  if (report === undefined) {
    console.error(`Stopped. The same command goes on from ${join(options.out, ".training")}.`);
    process.exitCode = EXIT.interrupted;
    return;
  }
  const { manifest, manifestHash, seconds, tokensPerSecond } = report;
  const { lossBefore, lossAfter } = manifest.evaluation;
  if (options.json) {
    const { adapterHash } = manifest;
    const result = { out: options.out, adapterHash, manifestHash, lossBefore, lossAfter, seconds, tokensPerSecond };
    console.log(JSON.stringify(result));
    return;
  }
  console.log(`Adapter   ${options.out}`);
  console.log(`Lineage   ${manifestHash} (Keccak-256 of lineage.json)`);
  if (lossBefore !== null && lossAfter !== null) {
    console.log(`Held-out  loss ${lossBefore.toFixed(4)} before, ${lossAfter.toFixed(4)} after, per answer token`);
  }
  console.log(`Speed     ${Math.round(tokensPerSecond)} tokens/s, ${Math.round(seconds)} s`);
}
