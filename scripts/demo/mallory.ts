import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { basename, join } from "node:path";
import type { ChainReader } from "../../operator/chain/mirror/sync.ts";
import { RegistryMirror } from "../../operator/chain/mirror.ts";
import { openChannelFor } from "../../operator/cli/chain/channel.ts";
import { settlingTime } from "../../operator/protocol/bounds.ts";
import { toHex } from "../../operator/protocol/bytes.ts";
import { headerWitness } from "../../operator/protocol/fraud-proof.ts";
import { keccak } from "../../operator/protocol/keccak.ts";
import { openData } from "../../operator/protocol/replay.ts";
import { saltedHash } from "../../operator/protocol/salted-hash.ts";
import { addressOf, signDigest } from "../../operator/protocol/signature.ts";
import { voucherDigest } from "../../operator/protocol/voucher.ts";
import { Journal } from "../../operator/settlement/journal/journal.ts";
import { LocalSequencer } from "../../operator/settlement/local-sequencer.ts";
import { publishData } from "../../operator/settlement/publication.ts";
import type { Stage } from "../stage/stage.ts";
import { stealOneWei } from "./lie.ts";
import { becomeOperator } from "./olga.ts";
import type { People } from "./people.ts";
import type { Agent } from "./registry.ts";

const OPEN = 10n ** 18n;

/** Where an operator without a node publishes its batches. */
export interface PublishedFolder {
  origin: string;
  close: () => void;
}

/** Serves `/published/NAME` out of a folder. */
export async function servePublished(folder: string): Promise<PublishedFolder> {
  const server = createServer(async ({ url = "" }, response) => {
    const data = url.startsWith("/published/") && (await readFile(join(folder, basename(url))).catch(() => undefined));
    response.writeHead(data ? 200 : 404).end(data || undefined);
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

export interface LiarOptions {
  stage: Stage;
  people: People;
  folder: string;
  published: string;
  origin: string;
  agent: Agent;
  count: number;
}

/**
 * Mallory becomes an operator, takes jobs from Quinn, makes up the answers without any model, and posts a batch in which
 * one wei of a contributor is hers. All but that wei is by the book.
 *
 * @returns Her number, and how many receipts she posted.
 */
export async function postLie(options: LiarOptions): Promise<{ operator: number; receipts: number }> {
  const { stage, people, folder, published, origin, agent, count } = options;
  const { deployment, separator, client, parameters } = stage;
  const mallory = await people.get("Mallory");
  const quinn = await people.get("Quinn");
  const operator = await becomeOperator({ stage, people }, mallory, origin);
  await people.give(quinn, OPEN);
  const key = randomBytes(32);
  const asked = { operator, amount: OPEN, sessionKey: addressOf(key) };
  const { channel } = await openChannelFor(quinn.session, asked);

  const reader = client as unknown as ChainReader;
  const mirror = new RegistryMirror({ file: ":memory:", reader, deployment, confirmations: 0 });
  await mirror.sync();
  const journal = new Journal({ file: join(folder, "mallory.sqlite"), operator, separator });
  try {
    const { windows } = parameters;
    const sequencer = new LocalSequencer({
      ...{ journal, registry: mirror },
      windows: { ...windows, settling: settlingTime(windows) },
    });
    const { dataNets } = mirror.composition(agent.id, 1)!;
    const [victim] = mirror.contributionsOf(dataNets[0].id, dataNets[0].version);
    for (let nonce = 1n; nonce <= BigInt(count); nonce++) {
      const [request, salt, response, trace] = Array.from({ length: 4 }, () => randomBytes(32));
      const maxPrice = OPEN / 100n;
      const expiry = BigInt(Math.floor(Date.now() / 1_000) + 600);
      const requestHash = saltedHash(salt, request);
      const { id, version } = { id: agent.id, version: 1 };
      const voucher = {
        ...{ channel, nonce, agent: id, version, requestHash, maxPrice, expiry },
        cap: maxPrice * nonce,
      };
      const signature = toHex(signDigest(voucherDigest(separator, voucher), key));
      const { jobId } = await sequencer.admit({ voucher, signature, request, salt: toHex(salt) });
      await sequencer.complete(jobId, {
        responseHash: toHex(saltedHash(salt, response)),
        traceHash: toHex(keccak(trace)),
        ...{ promptTokens: 300, completionTokens: 20, response, trace },
        ...{ context: [{ id: victim, ppm: 1_000_000, via: 0 }], training: [], tools: [] },
      });
    }
    await sequencer.seal();
    const [{ header }] = journal.batches();
    const honest = openData(header!, journal.published(header!.dataHash)!)!;
    const lie = stealOneWei(honest, sequencer.stateAfter(Number(header!.sequence)), victim);
    await publishData(published, lie.header.dataHash, lie.data);
    await mallory.session.transact("Posting a batch", "settlement", "submitBatch", [headerWitness(lie.header)]);
    return { operator, receipts: count };
  } finally {
    journal.close();
    mirror.close();
  }
}
