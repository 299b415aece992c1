import { join } from "node:path";
import { type Hex, type LocalAccount, type PublicClient, parseEther } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { openSession, type Session } from "../../operator/cli/chain/chain-session.ts";
import type { Stage } from "../stage/stage.ts";

/** Somebody with a wallet that holds some of the chain's coin. */
export interface Person {
  name: string;
  account: LocalAccount;
  privateKey: Hex;
  /** Sends from the wallet. */
  session: Session & { close: () => void };
}

/** Everybody in the story, each with a wallet of their own, made when first named. */
export class People {
  readonly #stage: Stage;
  readonly #folder: string;
  readonly #people = new Map<string, Promise<Person>>();
  readonly #handedOver = new Set<Person>();

  /** @param folder For the journals of their transactions. */
  constructor(stage: Stage, folder: string) {
    this.#stage = stage;
    this.#folder = folder;
  }

  /** Somebody by name. */
  get(name: string): Promise<Person> {
    let person = this.#people.get(name);
    if (!person) {
      person = this.#enter(name);
      this.#people.set(name, person);
    }
    return person;
  }

  all(): Promise<Person[]> {
    return Promise.all(this.#people.values());
  }

  /** Gives somebody OPEN out of the supply, which the deployer of a local chain holds. */
  async give({ account }: Person, amount: bigint): Promise<void> {
    const { contracts, gasOf } = this.#stage;
    await gasOf(contracts.token.write.transfer([account.address, amount]));
  }

  async balance({ account }: Pick<Person, "account">): Promise<bigint> {
    return this.#stage.contracts.token.read.balanceOf([account.address]);
  }

  /** Lets another part of the program send from somebody's wallet. */
  handOver(person: Person): void {
    person.session.close();
    this.#handedOver.add(person);
  }

  async close(): Promise<void> {
    for (const person of await this.all()) if (!this.#handedOver.has(person)) person.session.close();
  }

  async #enter(name: string): Promise<Person> {
    const { client, deployment, connection } = this.#stage;
    const privateKey = generatePrivateKey();
    const account = privateKeyToAccount(privateKey);
    await connection.networkHelpers.setBalance(account.address, parseEther("100"));
    const file = join(this.#folder, `${deployment.chainId}-${account.address.toLowerCase()}.sqlite`);
    const view = { client: client as unknown as PublicClient, deployment };
    const sending = { file, confirmations: 1, timeout: 60_000, interval: 50, say: () => {} };
    return { name, account, privateKey, session: await openSession(view, account, sending) };
  }
}
