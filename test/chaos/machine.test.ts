import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ChaosWorld } from "./chaos-world.ts";
import { type Reckoning, reckon } from "./reckoning.ts";
import type { Supervised } from "./supervised.ts";

const PATIENCE = 240_000;
const HOUR = 3_600;

interface Health {
  checks: { queue: { ok: boolean } };
  alarms: string[];
}

describe("An operator whose machine fails it", { timeout: 580_000 }, () => {
  let world: ChaosWorld;
  let settler: Supervised;
  before(async () => {
    // Time to post that outlasts the jump, as on the main network: what was begun before it may end after it.
    world = await ChaosWorld.open({ challenge: 5, posting: 3 * HOUR, thaw: 5.9 * HOUR, unbonding: 5.9 * HOUR });
  });
  after(() => world.close());

  const startAll = async () => {
    const all = ["settler", "worker", "gateway"].map((role) => world.start(role));
    await Promise.all(all.map((one) => one.ready()));
    settler = all[0];
  };
  const tip = async () => (await world.stage.contracts.settlement.read.chainOf([world.olga.id])).tip;
  const health = async (port: number) => (await fetch(`http://127.0.0.1:${port}/health`)).json() as Promise<Health>;
  const alarms = async () => (await health(world.ports.health)).alarms;
  const agrees = ({ wrong }: Reckoning) => assert.deepEqual(wrong, []);
  const answered = () =>
    world.customers.flatMap(({ asked }) => asked).filter(({ answer }) => answer !== undefined).length;
  const heard = (trouble: string) =>
    world.customers.reduce((sum, { troubles }) => sum + (troubles.get(trouble) ?? 0), 0);
  /** Customers ask one thing after another, whatever happens, until the end is told. */
  const keepAsking = (what: string) => {
    let isOver = false;
    const asking = world.customers.map(async (customer, i) => {
      for (let n = 0; !isOver && !customer.hasLeft; n++) {
        await customer.ask(`${what}: question ${n} of customer ${i}?`, { isStream: n % 2 === 0 });
      }
    });
    return async () => {
      isOver = true;
      await Promise.all(asking);
    };
  };
  /** Whoever was let in before the disk was full only waits, and all who ask may have been: so others come, one a second. */
  const comeUntilRefused = async () => {
    const latecomers: Promise<unknown>[] = [];
    await world.until(async () => {
      latecomers.push(world.customers[0].ask(`Is there still room for latecomer ${latecomers.length}?`));
      await sleep(1_000);
      return heard("status 503") > 0;
    });
    return latecomers;
  };
  const more = (count: number) => {
    const before = answered();
    return world.until(() => answered() >= before + count);
  };

  it("takes nothing while its disk is full, says so, and goes on when there is room", async (t) => {
    const [disk] = world.disks;
    if (!disk) return t.skip("neither mount (as root) nor prlimit is here to fill a disk with");
    t.diagnostic(disk.what);
    await startAll();
    const enough = keepAsking("Is there room");
    await more(3);
    disk.fill();
    const latecomers = await comeUntilRefused();
    const full = /No room for .*journal\.sqlite|Writing .*journal\.sqlite failed/;
    await world.until(async () => (await alarms()).some((alarm) => full.test(alarm)));
    // One that is killed meanwhile does not start with half a journal: it says why, and is there once there is room.
    settler.kill();
    await world.until(() => settler.unexpected.length > 0);
    disk.free();
    await settler.ready();
    for (const { lastWords } of settler.unexpected)
      assert.match(lastWords, /^openledger: (No room for|Writing .* failed)/m);
    await more(3);
    await Promise.all([enough(), ...latecomers]);
    assert.deepEqual(await alarms(), []);
    agrees(await reckon(world, Date.now() + PATIENCE));
  });

  it("charges and settles by the chain when its clock jumps two hours ahead, back, and two hours behind", async () => {
    await startAll();
    const height = await tip();
    const enough = keepAsking("What time is it");
    await more(3);
    world.setClock(2 * HOUR);
    await world.until(() => heard("refused expired") > 0);
    assert.equal((await health(world.ports.gateway)).checks.queue.ok, true);
    world.setClock(0);
    // What was found out two hours ahead is not repeated until it is as late as that.
    await world.redis.kill();
    await world.until(async () => !(await health(world.ports.gateway)).checks.queue.ok);
    await world.redis.revive();
    await more(3);
    world.setClock(-2 * HOUR);
    await more(3);
    const posted = await tip();
    await world.until(async () => (await tip()) > posted);
    await enough();
    agrees(await reckon(world, Date.now() + PATIENCE));
    assert.ok((await tip()) > height);
  });
});
