import assert from "node:assert/strict";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { BlockNotFoundError, createPublicClient, http, keccak256, toBytes } from "viem";
import type { ChainReader } from "../../../operator/chain/mirror/sync.ts";
import { RegistryMirror } from "../../../operator/chain/mirror.ts";
import { toHex } from "../../../operator/protocol/bytes.ts";
import { compositionHash, encodeComposition } from "../../../operator/protocol/composition.ts";
import { cast, type Person, type Registered, registerEverything } from "../../../scripts/stage/cast.ts";
import { openStage, type Stage } from "../../../scripts/stage/stage.ts";

let stage: Stage;
let people: Record<string, Person>;
let registered: Registered;
let channel: number;
const OPEN = 10n ** 18n;
const WEEK = 7 * 86_400;

before(async () => {
  stage = await openStage();
  people = cast(stage);
  registered = await registerEverything(stage, people);
  const { contracts: c, gasOf } = stage;
  await gasOf(c.operators.write.register(["https://one.example", people.Olga.account.address]));
  await gasOf(c.token.write.approve([c.channels.address, 100n * OPEN]));
  await gasOf(c.channels.write.open([1, people.Paul.account.address, 3n * OPEN]));
  channel = await c.channels.read.channelCount();
});
after(() => stage.close());

const reader = () => stage.client as unknown as ChainReader;
const newFile = () => join(mkdtempSync(join(tmpdir(), "mirror-")), "mirror.sqlite");

function openMirror(options: Partial<ConstructorParameters<typeof RegistryMirror>[0]> = {}): RegistryMirror {
  const { deployment } = stage;
  return new RegistryMirror({ file: ":memory:", reader: reader(), deployment, confirmations: 0, ...options });
}

async function undone(work: () => Promise<void>): Promise<void> {
  const snapshot = await stage.connection.networkHelpers.takeSnapshot();
  try {
    await work();
  } finally {
    await snapshot.restore();
  }
}

const text = ["ipfs://x", "MIT", []] as const;
const register = (name: string) =>
  stage.gasOf(stage.contracts.prompts.write.register([name, keccak256(toBytes(name)), [], ...text]));

test("it answers what the protocol's rules ask as the contracts do", async () => {
  const mirror = openMirror();
  assert.equal(await mirror.sync(), true);
  assert.equal(await mirror.sync(), false, "nothing new");
  const { contracts: c } = stage;
  const { agent, composition, contributions } = registered;
  const [hash, publishedAt] = await c.agents.read.versionOf([agent, 1]);
  const version = mirror.agentVersion(agent, 1)!;
  assert.equal(toHex(compositionHash(version.bytes)), hash);
  assert.equal(version.publishedAt, publishedAt);
  assert.deepEqual(version.composition, composition);
  assert.equal(mirror.agentVersion(agent, 2), undefined);
  assert.equal(mirror.agentVersion(contributions[0], 1), undefined);
  for (const id of contributions) {
    const told = mirror.contribution(id)!;
    const { dataNet, fromVersion, untilVersion, acceptedAt, withdrawnAt } = told;
    const record = [dataNet, fromVersion, untilVersion, acceptedAt, withdrawnAt];
    assert.deepEqual(record, await c.dataNets.read.contributionOf([id]));
    assert.ok(acceptedAt > 0);
  }
  for (const id of [composition.dataNets[0].id, 99]) assert.equal(mirror.contribution(id), undefined);
  const { id } = composition.adapters[0];
  const { dataNet, version: pinned } = mirror.lineage(id, 1, 0)!;
  assert.deepEqual([dataNet, pinned], await c.adapters.read.lineageAt([id, 1, 0n]));
  assert.equal(mirror.lineage(id, 1, 1), undefined);
  const seen = mirror.channel(channel)!;
  const { operator, sessionKey, deposit } = seen;
  assert.deepEqual([operator, sessionKey, deposit], await c.channels.read.channelOf([channel]));
  assert.equal(seen.payer, await c.channels.read.payerOf([channel]));
  const now = await stage.now();
  assert.equal(mirror.protocolShareAt(now), await c.parameters.read.protocolShareAt([BigInt(now)]));
  assert.ok(mirror.protocolShareAt(now) > 0);
  assert.equal(mirror.head()!.time, now);
});

test("names, versions, contents, owners and endpoints are told as they were registered", async () => {
  const mirror = openMirror();
  await mirror.sync();
  const { agent, composition, contributions, tool } = registered;
  assert.deepEqual(mirror.agentByName("river-guide"), {
    id: agent,
    name: "river-guide",
    owner: (await stage.contracts.agents.read.ownerOf([BigInt(agent)])) as string,
    head: 1,
  });
  assert.equal(mirror.agentByName("river"), undefined);
  const content = mirror.contentOf(composition.adapters[0].id)!;
  assert.equal(content.kind, "adapter");
  assert.equal(content.version, 1);
  assert.equal(content.contentHash, keccak256(toBytes("weights")));
  assert.equal(content.licence, "CC-BY-4.0");
  assert.equal(content.uri, "ipfs://content-is-addressed-by-its-hash");
  assert.equal(mirror.contentOf(composition.adapters[0].id, 2), undefined);
  assert.equal(mirror.contentOf(contributions[1])!.kind, "data");
  assert.equal(mirror.contentOf(composition.dataNets[0].id)!.kind, "dataNet");
  assert.equal(mirror.contentOf(1_000), undefined);
  assert.equal(mirror.toolEndpoint(tool, 1), "https://gauge.example/mcp");
  assert.deepEqual(mirror.promptVariables(composition.prompt!.id, 1), ["question"]);
  assert.equal(mirror.operator(1)!.endpoint, "https://one.example");
  assert.deepEqual(mirror.operators(), [1]);
});

test("a version of a DataNet holds what was accepted before it and not withdrawn", () =>
  undone(async () => {
    const { dataNets } = stage.contracts;
    const [net] = registered.composition.dataNets;
    const [first, ...rest] = registered.contributions;
    const account = people.Ada.account;
    await stage.gasOf(dataNets.write.withdraw([first], { account }));
    await stage.gasOf(dataNets.write.submit([net.id, keccak256("0x01"), ...text.slice(0, 2), 1, 1, []] as never));
    const late = await stage.contracts.allocator.read.lastId();
    const mirror = openMirror();
    await mirror.sync();
    assert.deepEqual(mirror.undecided(net.id), [late]);
    await stage.gasOf(dataNets.write.accept([[late]], { account }));
    await stage.gasOf(dataNets.write.publishVersion([net.id], { account }));
    await mirror.sync();
    assert.deepEqual(mirror.contributionsOf(net.id, 1), registered.contributions);
    assert.deepEqual(mirror.contributionsOf(net.id, 2), [...rest, late]);
    assert.equal(mirror.dataNetHead(net.id), 2);
    assert.deepEqual(mirror.undecided(net.id), []);
    assert.equal(mirror.dataNetHead(late), undefined);
  }));

test("payees are those that the contract pays, before and after a change and a transfer take effect", () =>
  undone(async () => {
    const { adapters } = stage.contracts;
    const { id } = registered.composition.adapters[0];
    const account = people.Dora.account;
    const list = [
      { account: people.Ada.account.address, sharePpm: 400_000 },
      { account: people.Ben.account.address, sharePpm: 600_000 },
    ];
    const mirror = openMirror();
    const agree = async (expected: unknown[]) => {
      await stage.connection.networkHelpers.mine();
      await mirror.sync();
      const payees = mirror.payeesOf(id).map(({ account, sharePpm }) => ({ account: account.toLowerCase(), sharePpm }));
      assert.deepEqual(payees, expected);
      assert.equal((await adapters.read.payeesHashOf([id])) === `0x${"0".repeat(64)}`, expected.length === 0);
    };
    await stage.gasOf(adapters.write.setPayees([id, list], { account }));
    await agree([]);
    await stage.wait(WEEK);
    await agree(list);
    const to = people.Ben.account.address;
    await stage.gasOf(adapters.write.transferFrom([account.address, to, BigInt(id)], { account }));
    await agree(list);
    assert.equal(mirror.contentOf(id)!.owner.toLowerCase(), to);
    await stage.wait(WEEK);
    await agree([]);
  }));

test("deposits, thaws and withdrawals of a channel are followed", () =>
  undone(async () => {
    const { channels } = stage.contracts;
    const mirror = openMirror();
    await stage.gasOf(channels.write.deposit([channel, OPEN]));
    await stage.gasOf(channels.write.startThaw([channel, 4n * OPEN]));
    await mirror.sync();
    const [, readyAt] = await channels.read.thawOf([channel]);
    const { deposit, thawing, thawReadyAt } = mirror.channel(channel)!;
    assert.deepEqual([deposit, thawing, thawReadyAt], [4n * OPEN, 4n * OPEN, readyAt]);
    await stage.gasOf(channels.write.cancelThaw([channel]));
    await mirror.sync();
    assert.equal(mirror.channel(channel)!.thawing, 0n);
    await stage.gasOf(channels.write.startThaw([channel, OPEN]));
    await stage.wait(stage.parameters.windows.thaw);
    await stage.gasOf(channels.write.withdraw([channel]));
    await mirror.sync();
    assert.deepEqual([mirror.channel(channel)!.deposit, mirror.channel(channel)!.thawing], [3n * OPEN, 0n]);
  }));

test("what a re-org takes back is forgotten, what replaces it is read", async () => {
  const file = newFile();
  const mirror = openMirror({ file });
  await mirror.sync();
  const next = (await stage.contracts.allocator.read.lastId()) + 1;
  await undone(async () => {
    await register("taken back");
    await mirror.sync();
    assert.equal(mirror.contentOf(next)!.name, "taken back");
  });
  await undone(async () => {
    await register("stands");
    await register("stands too");
    await mirror.sync();
    assert.equal(mirror.contentOf(next)!.name, "stands");
    assert.equal(mirror.contentOf(next + 1)!.name, "stands too");
  });
  // Now the chain is shorter than what was read: that is waited out, and then put right.
  assert.equal(await mirror.sync(), false);
  await stage.connection.networkHelpers.mine(5);
  await mirror.sync();
  assert.equal(mirror.contentOf(next), undefined);
  mirror.close();
});

test("an answer from a block that was taken back is forgotten, though reading on failed before and after", async () => {
  let reads = Number.POSITIVE_INFINITY;
  const failing: ChainReader = {
    getBlock: (which) => reader().getBlock(which),
    getLogs: async (range) => {
      if (reads-- <= 0) throw new Error("the node is away");
      return reader().getLogs(range);
    },
  };
  const mirror = openMirror({ reader: failing, maxRange: 1 });
  await mirror.sync();
  const { agents } = stage.contracts;
  const create = (name: string) => stage.gasOf(agents.write.create([name, keccak256("0x01"), ...text]));
  await undone(async () => {
    await create("taken back");
    await create("not read");
    reads = 1;
    await assert.rejects(mirror.sync(), /away/);
    assert.ok(mirror.agentByName("taken back"));
  });
  await undone(async () => {
    await stage.connection.networkHelpers.mine(5);
    await assert.rejects(mirror.sync(), /away/);
    assert.equal(mirror.agentByName("taken back"), undefined);
    reads = Number.POSITIVE_INFINITY;
    assert.equal(await mirror.sync(), true, "there was something new, since the last time that it worked");
  });
});

test("a name is that of the agent that was registered with it first", () =>
  undone(async () => {
    const { agents } = stage.contracts;
    await stage.gasOf(agents.write.create(["river-guide", keccak256("0x01"), ...text]));
    const mirror = openMirror();
    await mirror.sync();
    assert.equal(mirror.agents().length, 2);
    assert.equal(mirror.agentByName("river-guide")!.id, registered.agent);
  }));

test("with confirmations, blocks that may yet be replaced are not read", () =>
  undone(async () => {
    const mirror = openMirror({ confirmations: 3 });
    await register("young");
    const id = await stage.contracts.allocator.read.lastId();
    await stage.connection.networkHelpers.mine(2);
    await mirror.sync();
    assert.equal(mirror.contentOf(id), undefined);
    await stage.connection.networkHelpers.mine(1);
    await mirror.sync();
    assert.equal(mirror.contentOf(id)!.name, "young");
  }));

test("without a number of confirmations the node's finalised block is the edge", async () => {
  const mirror = openMirror({ confirmations: undefined });
  await mirror.sync();
  const { number } = await stage.client.getBlock({ blockTag: "finalized" });
  assert.equal(mirror.head()?.block, Number(number) < stage.deployment.fromBlock ? undefined : Number(number));
});

test("it goes on where it stopped, and starts anew for another deployment", async () => {
  const file = newFile();
  const first = openMirror({ file });
  await first.sync();
  const { block } = first.head()!;
  first.close();
  await undone(async () => {
    await register("later");
    const asked: bigint[] = [];
    const spy: ChainReader = {
      getBlock: (which) => reader().getBlock(which),
      getLogs: (range) => {
        asked.push(range.fromBlock);
        return reader().getLogs(range);
      },
    };
    const second = openMirror({ file, reader: spy });
    assert.ok(second.agentByName("river-guide"), "known before anything is asked");
    await second.sync();
    assert.deepEqual(asked, [BigInt(block + 1)]);
    assert.equal(second.contentOf(await stage.contracts.allocator.read.lastId())!.name, "later");
    second.close();
  });
  const { contracts } = stage.deployment;
  const other = { ...stage.deployment, contracts: { ...contracts, agents: contracts.tools } };
  const third = openMirror({ file, deployment: other });
  assert.equal(third.head(), undefined);
  third.close();
});

test("two mirrors share a file: each sees what the other has read", async () => {
  const file = newFile();
  const [one, two] = [openMirror({ file }), openMirror({ file })];
  // At the same time, as the processes of a node do at their start: whoever is second goes on from where the first is.
  await Promise.all([one.sync(), two.sync()]);
  assert.deepEqual(one.head(), two.head());
  assert.equal(two.agents().length, 1);
  await undone(async () => {
    await register("shared");
    const id = await stage.contracts.allocator.read.lastId();
    await one.sync();
    await two.sync();
    assert.equal(two.contentOf(id)!.name, "shared");
  });
  one.close();
  two.close();
});

test("a node that allows few blocks at once is asked for fewer", async () => {
  const spans: number[] = [];
  const strict: ChainReader = {
    getBlock: (which) => reader().getBlock(which),
    getLogs: async (range) => {
      const span = Number(range.toBlock - range.fromBlock) + 1;
      spans.push(span);
      if (span > 3) throw new Error("query returned more than 10000 results");
      return reader().getLogs(range);
    },
  };
  const mirror = openMirror({ reader: strict });
  await mirror.sync();
  const direct = openMirror();
  await direct.sync();
  assert.deepEqual(mirror.head(), direct.head());
  assert.deepEqual(mirror.agentByName("river-guide"), direct.agentByName("river-guide"));
  assert.ok(spans.some((span) => span > 3) && spans.some((span) => span <= 3));
});

test("a chain that changes between two requests is not taken for one that stands", () =>
  undone(async () => {
    const mirror = openMirror({
      reader: {
        getBlock: (which) => reader().getBlock(which),
        getLogs: async (range) => {
          const logs = await reader().getLogs(range);
          return logs.map((log) => ({ ...log, blockHash: keccak256("0x02") }));
        },
      },
    });
    await assert.rejects(mirror.sync(), { name: "ChainMoved" });
    assert.equal(mirror.head(), undefined, "nothing was kept");
    assert.match(mirror.health().lastError!, /changed/);
  }));

test("a block that a re-org takes away while it is read says that the chain moved, and is read again", () =>
  undone(async () => {
    let shorter = true;
    const mirror = openMirror({
      reader: {
        getBlock: async (which) => {
          if ("blockNumber" in which && shorter) throw new BlockNotFoundError(which);
          return reader().getBlock(which);
        },
        getLogs: (range) => reader().getLogs(range),
      },
    });
    await assert.rejects(mirror.sync(), { name: "ChainMoved" });
    shorter = false;
    assert.equal(await mirror.sync(), true);
  }));

test("a mirror that the disk does not take says which file it is", () => {
  const file = join(tmpdir(), "openledger-nowhere", "mirror.sqlite");
  assert.throws(() => openMirror({ file }), { message: `Writing ${file} failed: unable to open database file.` });
});

test("following outlives failures and ends with its signal", () =>
  undone(async () => {
    let failing = true;
    const flaky: ChainReader = {
      getBlock: async (which) => {
        if (failing) throw new Error("the node is away");
        return reader().getBlock(which);
      },
      getLogs: (range) => reader().getLogs(range),
    };
    const mirror = openMirror({ reader: flaky });
    const controller = new AbortController();
    const errors: string[] = [];
    await mirror.follow(controller.signal, {
      interval: 1,
      onError: (error) => {
        errors.push(error.message);
        failing = errors.length < 3;
      },
      onChange: () => controller.abort(),
    });
    assert.deepEqual(errors, Array(3).fill("the node is away"));
    assert.ok(mirror.health().lastSuccess);
    assert.equal(mirror.health().lastError, undefined);
  }));

test("the newest of several versions of an agent is counted, each is told apart", () =>
  undone(async () => {
    const { agent, composition } = registered;
    const bytes = encodeComposition({ ...composition, pricePerJob: 7n });
    const hex = `0x${Buffer.from(bytes).toString("hex")}` as const;
    await stage.gasOf(stage.contracts.agents.write.publishVersion([agent, hex], { account: people.Fatima.account }));
    const mirror = openMirror();
    await mirror.sync();
    assert.equal(mirror.agentByName("river-guide")!.head, 2);
    assert.equal(mirror.composition(agent, 2)!.pricePerJob, 7n);
    assert.equal(mirror.composition(agent, 1)!.pricePerJob, composition.pricePerJob);
    assert.deepEqual(mirror.batches(1), []);
  }));

test("an endpoint's key is not told by what is told of its failure", async () => {
  const url = "http://127.0.0.1:1/v2/secret-key";
  const away = createPublicClient({ transport: http(url, { retryCount: 0 }) });
  const mirror = openMirror({ reader: away as unknown as ChainReader });
  await assert.rejects(mirror.sync());
  assert.match(mirror.health().lastError!, /HTTP request failed/);
  assert.doesNotMatch(mirror.health().lastError!, /secret-key/);
});
