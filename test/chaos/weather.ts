import { type Random, uniform } from "../../scripts/bench/random.ts";
import type { ChaosWorld } from "./chaos-world.ts";
import type { FullDisk } from "./full-disk.ts";

/** Seconds that the clock may be wrong: less than vouchers live, so that none is refused by the rules. */
const WRONG = 600;

type Snapshot = Awaited<ReturnType<ChaosWorld["stage"]["connection"]["networkHelpers"]["takeSnapshot"]>>;

/** What befalls a machine and a chain beside kills. Each lasts until the weather changes again. */
export class Weather {
  readonly counts = { jumps: 0, fullDisks: 0, reorgs: 0 };
  readonly #world: ChaosWorld;
  readonly #random: Random;
  #full: FullDisk | undefined;
  #snapshot: Snapshot | undefined;

  constructor(world: ChaosWorld, random: Random) {
    this.#world = world;
    this.#random = random;
  }

  async change(): Promise<void> {
    await this.#clearUp();
    const { disks, stage } = this.#world;
    const dice = uniform(this.#random);
    if (dice < 0.12) {
      this.counts.jumps++;
      this.#world.setClock(Math.round(WRONG * (2 * uniform(this.#random) - 1)));
    } else if (dice < 0.2 && disks.length > 0) {
      this.counts.fullDisks++;
      this.#full = disks[Math.floor(uniform(this.#random) * disks.length)];
      this.#full.fill();
    } else if (dice < 0.28) {
      this.#snapshot = await stage.connection.networkHelpers.takeSnapshot();
    }
  }

  /** Everything is as it should be from now on. */
  async clear(): Promise<void> {
    await this.#clearUp();
    this.#world.setClock(0);
  }

  async #clearUp(): Promise<void> {
    this.#full?.free();
    this.#full = undefined;
    if (!this.#snapshot) return;
    this.counts.reorgs++;
    await this.#snapshot.restore();
    this.#snapshot = undefined;
  }
}
