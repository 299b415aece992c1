import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { ChaosWorld } from "./chaos-world.ts";
import { type Reckoning, reckon } from "./reckoning.ts";

const PATIENCE = 240_000;

describe("An operator whose chain loses what it has said", { timeout: 580_000 }, () => {
  let world: ChaosWorld;
  before(async () => {
    world = await ChaosWorld.open({ challenge: 5 });
  });
  after(() => world.close());

  const tip = async () => (await world.stage.contracts.settlement.read.chainOf([world.olga.id])).tip;
  const askAll = (what: string) =>
    Promise.all(world.customers.map((customer, i) => customer.ask(`${what}, asked by customer ${i}?`)));
  const startAll = async () => {
    const all = ["settler", "worker", "gateway"].map((role) => world.start(role));
    await Promise.all(all.map((one) => one.ready()));
    return { settler: all[0] };
  };
  const agrees = ({ wrong }: Reckoning) => assert.deepEqual(wrong, []);

  it("posts a batch once whose settler was killed between sending and writing down that it was mined", async () => {
    const { settler } = await startAll();
    const height = await tip();
    world.door.fate = (methods) => (methods.includes("eth_sendRawTransaction") ? "lost" : "answered");
    world.door.onLost = () => {
      settler.kill();
      world.door.fate = () => "answered";
    };
    await askAll("What is killed between two steps");
    await world.until(() => settler.kills === 1);
    agrees(await reckon(world, Date.now() + PATIENCE));
    assert.ok((await tip()) > height);
    world.door.onLost = () => {};
  });

  it("posts again what a re-org took back, and asks nobody for more", async () => {
    await startAll();
    const height = await tip();
    const snapshot = await world.stage.connection.networkHelpers.takeSnapshot();
    await askAll("What does a re-org take back");
    await world.until(async () => (await tip()) > height);
    // The chain as it was, and blocks without the batch: from now on another history is the longest.
    await snapshot.restore();
    agrees(await reckon(world, Date.now() + PATIENCE));
    assert.ok((await tip()) > height);
  });
});
