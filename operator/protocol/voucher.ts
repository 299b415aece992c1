import { ByteWriter, fromHex, type Hex } from "./bytes.ts";
import { keccak } from "./keccak.ts";

/** What a payer's session key signs for one job. Amounts are wei of OPEN, times seconds since 1970. */
export interface Voucher {
  channel: number;
  nonce: bigint;
  agent: number;
  version: number;
  /** Salted hash of the request, 32 bytes. */
  requestHash: Uint8Array;
  /** The most that this job may cost. */
  maxPrice: bigint;
  /** The most that the operator may have collected from the channel in all. */
  cap: bigint;
  expiry: bigint;
}

/** A voucher with the session key's signature of 65 bytes. */
export interface SignedVoucher extends Voucher {
  signature: Uint8Array;
}

/** The contract that vouchers are meant for. */
export interface VoucherDomain {
  chainId: bigint;
  /** Address of PaymentChannels. */
  verifyingContract: Hex;
}

/** Name and version in the EIP-712 domain. */
export const VOUCHER_DOMAIN_NAME = "OpenLedger PaymentChannels";
export const VOUCHER_DOMAIN_VERSION = "1";

/** The struct's type as wallets and libraries take it. */
export const VOUCHER_FIELDS = [
  { name: "channel", type: "uint32" },
  { name: "nonce", type: "uint64" },
  { name: "agent", type: "uint32" },
  { name: "version", type: "uint32" },
  { name: "requestHash", type: "bytes32" },
  { name: "maxPrice", type: "uint128" },
  { name: "cap", type: "uint128" },
  { name: "expiry", type: "uint64" },
] as const;

const ascii = (text: string) => new TextEncoder().encode(text);

const DOMAIN_TYPE_HASH = keccak(
  ascii("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
);
const VOUCHER_TYPE_HASH = keccak(
  ascii(`Voucher(${VOUCHER_FIELDS.map((field) => `${field.type} ${field.name}`).join(",")})`),
);
const NAME_HASH = keccak(ascii(VOUCHER_DOMAIN_NAME));
const VERSION_HASH = keccak(ascii(VOUCHER_DOMAIN_VERSION));

/** The domain separator of EIP-712, 32 bytes. Computed once per contract. */
export function domainSeparator(domain: VoucherDomain): Uint8Array {
  const words = new ByteWriter(5 * 32)
    .raw(DOMAIN_TYPE_HASH)
    .raw(NAME_HASH)
    .raw(VERSION_HASH)
    .u256(domain.chainId)
    .raw(new Uint8Array(12))
    .raw(fromHex(domain.verifyingContract), 20);
  return keccak(words.finish());
}

/** The digest that the session key signs (EIP-712), 32 bytes. It is the job's id. */
export function voucherDigest(separator: Uint8Array, voucher: Voucher): Uint8Array {
  const pad = (bytes: number) => PADDING.subarray(0, 32 - bytes);
  const words = new ByteWriter(9 * 32)
    .raw(VOUCHER_TYPE_HASH)
    .raw(pad(4))
    .u32(voucher.channel)
    .raw(pad(8))
    .u64(voucher.nonce)
    .raw(pad(4))
    .u32(voucher.agent)
    .raw(pad(4))
    .u32(voucher.version)
    .raw(voucher.requestHash, 32)
    .raw(pad(16))
    .u128(voucher.maxPrice)
    .raw(pad(16))
    .u128(voucher.cap)
    .raw(pad(8))
    .u64(voucher.expiry);
  return keccak(new ByteWriter(66).u8(0x19).u8(0x01).raw(separator, 32).raw(keccak(words.finish())).finish());
}

const PADDING = new Uint8Array(32);
