/**
 * What differs between networks: windows, the timelock, the bond, and whether a faucet exists. Read by the deployment,
 * its dry run and the documentation's table; nothing else in the repository knows a network's numbers.
 */
export interface NetworkParameters {
  /** Name in `hardhat.config.ts`. */
  name: string;
  chainId: number;
  /** Real value is at stake: no faucet, full windows, and a treasury that must be named. */
  main: boolean;
  windows: WindowSeconds;
  /** Delay of the timelock that owns the parameters, in seconds; longer than thaw + challenge. */
  timelockDelay: number;
  /** Treasury's share of each price, in parts per million; at most 50,000. */
  protocolShare: number;
  /** Smallest bond of an operator, in wei of OPEN. */
  minimumBond: bigint;
  /** Flat fee of a data demand, in wei of the chain's coin. */
  demandFee: bigint;
  /** What the faucet gives each address a day, in wei of OPEN. */
  faucetDrip: bigint;
}

/** docs/protocol.md §9, in seconds. The contracts refuse windows whose inequalities do not hold. */
export interface WindowSeconds {
  voucherLife: number;
  posting: number;
  challenge: number;
  reveal: number;
  check: number;
  collect: number;
  thaw: number;
  unbonding: number;
}

const minutes = (n: number) => n * 60;
const hours = (n: number) => n * 3600;
const OPEN = 10n ** 18n;

/** A day to post, a day to challenge;. */
const mainWindows: WindowSeconds = {
  voucherLife: hours(1),
  posting: hours(24),
  challenge: hours(24),
  reveal: hours(12),
  check: hours(12),
  collect: hours(24),
  thaw: hours(120),
  unbonding: hours(120),
};

/** The same proportions, short enough to try a whole cycle in an afternoon. */
const testWindows: WindowSeconds = {
  voucherLife: minutes(30),
  posting: minutes(60),
  challenge: minutes(30),
  reveal: minutes(15),
  check: minutes(15),
  collect: minutes(30),
  thaw: hours(5),
  unbonding: hours(5),
};

const test = (name: string, chainId: number): NetworkParameters => ({
  name,
  chainId,
  main: false,
  windows: testWindows,
  timelockDelay: hours(6),
  protocolShare: 20_000,
  minimumBond: 1_000n * OPEN,
  demandFee: 10n ** 15n,
  faucetDrip: 10_000n * OPEN,
});

export const networks: NetworkParameters[] = [
  test("local", 31337),
  test("localhost", 31337),
  test("sepolia", 11155111),
  test("baseSepolia", 84532),
  test("opSepolia", 11155420),
  test("arbitrumSepolia", 421614),
  test("openledgerTestnet", 161201),
  {
    ...test("openledger", 1612),
    main: true,
    windows: mainWindows,
    timelockDelay: hours(7 * 24),
    minimumBond: 50_000n * OPEN,
    demandFee: 10n ** 16n,
  },
];

/** @throws Error naming the networks there are */
export function networkParameters(name: string): NetworkParameters {
  const found = networks.find((network) => network.name === name);
  if (found) return found;
  throw new Error(`No network "${name}". There are: ${networks.map((network) => network.name).join(", ")}.`);
}
