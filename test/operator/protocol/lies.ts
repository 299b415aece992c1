import { encodeReceipt, type Receipt } from "../../../operator/protocol/receipt.ts";
import { signDigest } from "../../../operator/protocol/signature.ts";
import type { StateSummary } from "../../../operator/protocol/state.ts";
import { stateRoot, summarise } from "../../../operator/protocol/state.ts";
import { VERDICT, type Verdict } from "../../../operator/protocol/verdict.ts";
import { domainSeparator, type VoucherDomain, voucherDigest } from "../../../operator/protocol/voucher.ts";
import { ATTRIBUTION_LIES } from "./attribution-lies.ts";
import { resigned } from "./jobs.ts";
import { committing, committingBytes, type Lie, type Scene, withVoucher } from "./liar.ts";
import { STATE_LIES } from "./state-lies.ts";

/** A lie that changes the victim and keeps everything else true to it. */
function receiptLie(name: string, verdict: Verdict, change: (scene: Scene) => Receipt, needsHistory = false): Lie {
  return { name, verdict, needsHistory, tell: (scene) => committing(scene, change(scene)) };
}

/** A lie in the bytes of the victim's body. */
function bodyLie(name: string, change: (body: Uint8Array) => Uint8Array): Lie {
  const tell = (scene: Scene) => committingBytes(scene, change(encodeReceipt(scene.victim)));
  return { name, verdict: VERDICT.malformedBody, tell };
}

/** A lie about the final state in the header alone. */
function headerLie(name: string, change: (state: StateSummary, earlier: StateSummary) => Partial<StateSummary>): Lie {
  return {
    name,
    verdict: VERDICT.finalStateMismatch,
    header: (header, earlier) => ({
      ...header,
      state: { ...header.state, ...change(header.state, summarise(earlier)) },
    }),
  };
}

/** A voucher's field changed after it was signed. */
function forgery(name: string, change: (scene: Scene) => Partial<Receipt["voucher"]>): Lie {
  return receiptLie(name, VERDICT.badSignature, (scene) => ({
    ...scene.victim,
    voucher: { ...scene.victim.voucher, ...change(scene) },
  }));
}

/** The signature's bytes changed. */
function signatureForgery(name: string, change: (signature: Uint8Array) => void): Lie {
  return forgery(name, ({ victim }) => {
    const signature = victim.voucher.signature.slice();
    change(signature);
    return { signature };
  });
}

/** A voucher signed for another contract or chain. */
function otherDomain(name: string, change: (domain: VoucherDomain) => VoucherDomain): Lie {
  return forgery(name, ({ world, victim }) => {
    const separator = domainSeparator(change(world.domain));
    return { signature: signDigest(voucherDigest(separator, victim.voucher), world.keys.get(victim.voucher.channel)!) };
  });
}

const edited = (body: Uint8Array, at: number, value: number): Uint8Array => {
  const copy = body.slice();
  copy[at] = value;
  return copy;
};

const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

/** The same signature with `s` in the upper half and the other `v`: valid to ecrecover, refused by the rules. */
function highTwin(signature: Uint8Array): void {
  let s = 0n;
  for (const byte of signature.subarray(32, 64)) s = s * 256n + BigInt(byte);
  let twin = ORDER - s;
  for (let i = 63; i >= 32; i--) {
    signature[i] = Number(twin & 255n);
    twin >>= 8n;
  }
  signature[64] = signature[64] === 27 ? 28 : 27;
}

/** Every kind of lie, each with the verdict it deserves. */
export const LIES: Lie[] = [
  {
    name: "a leaf is left out",
    verdict: VERDICT.missingReceipt,
    tell: (scene) => ({ receipt: null, after: scene.before }),
  },
  {
    name: "a body of 1,025 bytes",
    verdict: VERDICT.oversizedBody,
    tell: (scene) => committingBytes(scene, new Uint8Array(1_025).fill(1)),
  },
  {
    name: "a leaf that claims 65,535 bytes for a proper body",
    verdict: VERDICT.oversizedBody,
    tell: (scene) => {
      const told = committing(scene, scene.victim);
      return { ...told, receipt: { ...told.receipt!, length: 65_535 } };
    },
  },
  headerLie("the header's total is one wei more", (state) => ({ totalSpent: state.totalSpent + 1n })),
  headerLie("the header's treasury has one wei more", (state) => ({ treasuryEarned: state.treasuryEarned + 1n })),
  headerLie("the header's operator has one wei more", (state) => ({ operatorEarned: state.operatorEarned + 1n })),
  headerLie("the header's earners are those before the last receipt", (_, { earnersRoot }) => ({ earnersRoot })),
  headerLie("the header's channels are those before the last receipt", (_, { channelsRoot }) => ({ channelsRoot })),
  {
    name: "the header counts one receipt less than led to its state",
    verdict: VERDICT.finalStateMismatch,
    header: (header) => ({ ...header, count: header.count - 1 }),
  },
  {
    name: "a leaf that claims one byte more than the body has",
    verdict: VERDICT.lengthMismatch,
    tell: (scene) => {
      const told = committing(scene, scene.victim);
      return { ...told, receipt: { ...told.receipt!, length: told.receipt!.length + 1 } };
    },
  },
  {
    name: "a leaf that claims a length of zero",
    verdict: VERDICT.lengthMismatch,
    tell: (scene) => {
      const told = committing(scene, scene.victim);
      return { ...told, receipt: { ...told.receipt!, length: 0 } };
    },
  },
  bodyLie("a byte after the body's end", (body) => Uint8Array.from([...body, 0])),
  bodyLie("a body that lacks its last byte", (body) => body.slice(0, -1)),
  bodyLie("an empty body", () => new Uint8Array()),
  bodyLie("a body of format 2", (body) => edited(body, 0, 2)),
  bodyLie("a pool that counts one entry more than it has", (body) => edited(body, 242, body[242] + 1)),
  bodyLie("thirteen entries of context", (body) => {
    const long = new Uint8Array(245 + 8 * 13);
    long.set(body.subarray(0, 245));
    long.set([13, 0, 0], 242);
    return long;
  }),
  receiptLie("a channel that does not exist", VERDICT.unknownChannel, ({ world, victim }) => ({
    ...victim,
    voucher: resigned(world, { ...victim.voucher, channel: 4_000_000 }, world.keys.get(world.spareChannel)),
  })),
  receiptLie("a channel with another operator", VERDICT.unknownChannel, (scene) =>
    withVoucher(scene, { channel: scene.world.foreignChannel }),
  ),
  receiptLie("a voucher signed by another key", VERDICT.badSignature, ({ world, victim }) => ({
    ...victim,
    voucher: resigned(world, victim.voucher, world.keys.get(world.poorChannel)),
  })),
  signatureForgery("the signature's upper twin", highTwin),
  signatureForgery("a v of 0 or 1", (signature) => {
    signature[64] -= 27;
  }),
  signatureForgery("the other v", (signature) => {
    signature[64] = 55 - signature[64];
  }),
  signatureForgery("an r of zero", (signature) => signature.fill(0, 0, 32)),
  signatureForgery("an s of zero", (signature) => signature.fill(0, 32, 64)),
  signatureForgery("an r above the group's order", (signature) => signature.fill(255, 0, 32)),
  otherDomain("a voucher for another chain", (domain) => ({ ...domain, chainId: domain.chainId + 1n })),
  otherDomain("a voucher for another contract", (domain) => ({
    ...domain,
    verifyingContract: "0x000000000000000000000000000000000000dead",
  })),
  forgery("a nonce that was not signed", ({ victim }) => ({ nonce: victim.voucher.nonce + 1n })),
  forgery("an agent that was not asked", ({ world }) => ({ ...world.agents[1] })),
  forgery("a request that was not signed", ({ world }) => ({ requestHash: world.dice.bytes(32) })),
  forgery("a maximum price that was not signed", ({ victim }) => ({ maxPrice: victim.voucher.maxPrice + 1n })),
  forgery("a cap that was not signed", ({ victim }) => ({ cap: victim.voucher.cap + 1n })),
  forgery("an expiry that was not signed", ({ victim }) => ({ expiry: victim.voucher.expiry + 1n })),
  receiptLie("an agent that does not exist", VERDICT.unknownAgentVersion, (scene) =>
    withVoucher(scene, { agent: 4_000_000 }),
  ),
  receiptLie("a version that does not exist", VERDICT.unknownAgentVersion, (scene) =>
    withVoucher(scene, { version: scene.victim.voucher.version + 100 }),
  ),
  receiptLie("a version zero", VERDICT.unknownAgentVersion, (scene) => withVoucher(scene, { version: 0 })),
  receiptLie("a version published after the registry time", VERDICT.unknownAgentVersion, (scene) =>
    withVoucher(scene, scene.world.lateAgent),
  ),
  receiptLie("a voucher that lives a second too long", VERDICT.voucherTooLong, (scene) =>
    withVoucher(scene, { expiry: BigInt(scene.world.now + scene.world.windows.voucherLife + 1) }),
  ),
  receiptLie("a voucher that lives for ever", VERDICT.voucherTooLong, (scene) =>
    withVoucher(scene, { expiry: 2n ** 64n - 1n }),
  ),
  receiptLie("a receipt posted a second too late", VERDICT.voucherExpired, (scene) =>
    withVoucher(scene, { expiry: BigInt(scene.world.now - scene.world.windows.posting - 1) }),
  ),
  receiptLie("a nonce used twice", VERDICT.nonceUsed, (scene) => withVoucher(scene, { nonce: 300n }), true),
  receiptLie("the newest nonce used twice", VERDICT.nonceUsed, (scene) => withVoucher(scene, { nonce: 301n }), true),
  receiptLie("a nonce just below the window", VERDICT.nonceUsed, (scene) => withVoucher(scene, { nonce: 45n }), true),
  receiptLie("a price above the voucher's maximum", VERDICT.priceAboveMaximum, (scene) =>
    withVoucher(scene, { maxPrice: scene.victim.price - 1n }),
  ),
  receiptLie("a price one wei too high", VERDICT.wrongPrice, ({ victim }) => ({ ...victim, price: victim.price + 1n })),
  receiptLie("a price one wei too low", VERDICT.wrongPrice, ({ victim }) => ({ ...victim, price: victim.price - 1n })),
  receiptLie("a price of nothing", VERDICT.wrongPrice, ({ victim }) => ({ ...victim, price: 0n })),
  receiptLie("a prompt token more than was charged", VERDICT.wrongPrice, ({ victim }) => ({
    ...victim,
    promptTokens: victim.promptTokens + 1,
  })),
  receiptLie("a completion token less than was charged", VERDICT.wrongPrice, ({ victim }) => ({
    ...victim,
    completionTokens: victim.completionTokens - 1,
  })),
  receiptLie("a charge one wei above every cap", VERDICT.capExceeded, (scene) =>
    withVoucher(scene, { cap: scene.victim.price - 1n }),
  ),
  receiptLie("a charge above the channel's deposit", VERDICT.depositExceeded, (scene) =>
    withVoucher(scene, { channel: scene.world.poorChannel }),
  ),
  ...ATTRIBUTION_LIES,
  ...STATE_LIES,
  {
    name: "a state root out of the air",
    verdict: VERDICT.wrongState,
    needsSuccessor: true,
    tell: (scene) => {
      const told = committing(scene, scene.victim);
      return { ...told, receipt: { ...told.receipt!, stateRoot: scene.world.dice.bytes(32) } };
    },
  },
  {
    name: "the state root before the receipt",
    verdict: VERDICT.wrongState,
    needsSuccessor: true,
    tell: (scene) => {
      const told = committing(scene, scene.victim);
      return { ...told, receipt: { ...told.receipt!, stateRoot: stateRoot(summarise(scene.before)) } };
    },
  },
];
