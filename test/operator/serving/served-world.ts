import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { ContentFetcher } from "../../../operator/chain/content.ts";
import type { ChainReader } from "../../../operator/chain/mirror/sync.ts";
import { RegistryMirror } from "../../../operator/chain/mirror.ts";
import { listFolder, publishContent } from "../../../operator/cli/register/publish.ts";
import { adapterHash } from "../../../operator/engine/model/adapter-folder.ts";
import { hashModel } from "../../../operator/engine/runtime/compiled-model.ts";
import { fromHex, type Hex, toHex } from "../../../operator/protocol/bytes.ts";
import { type Composition, EMPTY_POOL, encodeComposition } from "../../../operator/protocol/composition.ts";
import { keccak } from "../../../operator/protocol/keccak.ts";
import { cast, type Person } from "../../../scripts/stage/cast.ts";
import { openStage } from "../../../scripts/stage/stage.ts";
import { MODEL } from "../engine/worker/tiny-model.ts";

/** Base model of every agent here, as the engine hashes it. */
export const BASE_MODEL: Hex = `0x${hashModel(MODEL)}`;

/** Half to the context where there is one. */
function splitFor({ dataNets = [] }: Partial<Composition>): Composition["split"] {
  const context = dataNets.length > 0 ? 500_000 : 0;
  const none = { adapters: 0, prompt: 0, training: 0, tool: 0 };
  return { operator: 300_000, publisher: 700_000 - context, context, ...none };
}

/** Registries on a real chain inside this process, with contents in a folder that is fetched from. */
/** @param options.blockEvery as the stage takes it */
export async function openServedWorld(options: { blockEvery?: number } = {}) {
  const stage = await openStage(options);
  const people = cast(stage);
  const root = mkdtempSync(join(tmpdir(), "serving-"));
  const published = join(root, "published");
  mkdirSync(published);
  const { contracts: c, gasOf } = stage;
  const mirror = new RegistryMirror({
    file: ":memory:",
    reader: stage.client as unknown as ChainReader,
    deployment: stage.deployment,
    confirmations: 0,
  });
  const fetcher = () =>
    new ContentFetcher({ cache: mkdtempSync(join(root, "cache-")), ipfsGateways: [], folders: [published] });
  const lastId = () => c.allocator.read.lastId();
  const rest = (uri: string) => [uri, "CC-BY-4.0", []] as const;

  const publishText = (text: string) => {
    const hash = toHex(keccak(Buffer.from(text)));
    const path = join(published, hash.slice(2));
    writeFileSync(path, text);
    return { hash, uri: pathToFileURL(path).href };
  };
  const publishDocuments = (documents: Record<string, string>) => {
    const folder = mkdtempSync(join(root, "documents-"));
    for (const [path, text] of Object.entries(documents)) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), text);
    }
    const { files, root: hash } = listFolder(folder);
    return { hash, files: files.length, uri: publishContent(hash, folder, { publish: published }, files) };
  };

  return {
    stage,
    people,
    root,
    published,
    mirror,
    fetcher,
    /** A DataNet of one version with a contribution from each of these people. */
    async dataNet(contributions: readonly { owner: Person; documents: Record<string, string>; uri?: string }[]) {
      const { account } = people.Ada;
      await gasOf(c.dataNets.write.createDataNet(["Net", `0x${"01".repeat(32)}`, ...rest("ipfs://x")], { account }));
      const id = await lastId();
      const ids: number[] = [];
      for (const { owner, documents, uri } of contributions) {
        const given = publishDocuments(documents);
        const args = [id, given.hash, uri ?? given.uri, "CC-BY-4.0", given.files, 1_000, []] as const;
        await gasOf(c.dataNets.write.submit(args, { account: owner.account }));
        ids.push(await lastId());
      }
      await gasOf(c.dataNets.write.accept([ids], { account }));
      await gasOf(c.dataNets.write.publishVersion([id], { account }));
      return { id, version: 1, contributions: ids };
    },
    async prompt(text: string) {
      const { hash, uri } = publishText(text);
      await gasOf(c.prompts.write.register(["Prompt", hash, [], ...rest(uri)], { account: people.Emil.account }));
      return { id: await lastId(), version: 1 };
    },
    async tool(manifest: unknown, endpoint: string) {
      const { hash, uri } = publishText(JSON.stringify(manifest));
      await gasOf(c.tools.write.register(["Tool", hash, endpoint, ...rest(uri)], { account: people.Gita.account }));
      return { id: await lastId(), version: 1, hash };
    },
    /** @param lie publish other weights than those registered */
    async adapter(folder: string, options: { lineage?: { dataNet: number; version: number }[]; lie?: string } = {}) {
      const weightsHash: Hex = `0x${adapterHash(folder)}`;
      const place = join(published, weightsHash.slice(2));
      cpSync(options.lie ?? folder, place, { recursive: true });
      const version = { baseModel: BASE_MODEL, weightsHash, rank: 4, targetModules: "q_proj" };
      const args = ["Adapter", { ...version, lineage: options.lineage ?? [] }] as const;
      const { account } = people.Dora;
      await gasOf(c.adapters.write.register([...args, ...rest(pathToFileURL(place).href)], { account }));
      return { id: await lastId(), version: 1 };
    },
    /** Publishes an agent. What is not given is absent; prices are wei. */
    async agent(name: string, composition: Partial<Composition>) {
      const { account } = people.Fatima;
      await gasOf(c.agents.write.create([name, `0x${"02".repeat(32)}`, ...rest("ipfs://x")], { account }));
      const id = await lastId();
      const whole: Composition = {
        baseModel: fromHex(BASE_MODEL),
        pricePerJob: 1_000n,
        pricePerPromptToken: 1n,
        pricePerCompletionToken: 10n,
        split: splitFor(composition),
        emptyContext: EMPTY_POOL.proRata,
        emptyTraining: EMPTY_POOL.proRata,
        emptyTool: EMPTY_POOL.proRata,
        contextMeasure: 0,
        trainingMeasure: 0,
        prompt: null,
        adapters: [],
        dataNets: [],
        tools: [],
        ...composition,
      };
      await gasOf(c.agents.write.publishVersion([id, toHex(encodeComposition(whole))], { account }));
      await mirror.sync();
      return { agent: id, version: 1 };
    },
    async close() {
      mirror.close();
      await stage.close();
      rmSync(root, { recursive: true, force: true });
    },
  };
}
