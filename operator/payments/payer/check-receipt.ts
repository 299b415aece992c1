import { sameBytes, toHex } from "../../protocol/bytes.ts";
import { MalformedBytes } from "../../protocol/errors.ts";
import { type PriceTerms, priceOf } from "../../protocol/price.ts";
import { decodeReceipt, type Receipt } from "../../protocol/receipt.ts";
import { recoverSigner } from "../../protocol/signature.ts";
import { type SignedVoucher, voucherDigest } from "../../protocol/voucher.ts";

/** Something that an operator has signed or shown and that cannot be true. */
export class Lie extends Error {
  readonly evidence: Uint8Array | undefined;

  constructor(message: string, evidence?: Uint8Array) {
    super(message);
    this.evidence = evidence;
  }
}

/** A receipt with the digest of its voucher, which is the job's id. */
export interface ReadReceipt {
  id: Uint8Array;
  receipt: Receipt;
}

/** What a payer knows of a voucher that it signed. */
export interface SignedFor {
  voucher: SignedVoucher;
  /** Unknown where another ledger of the same key has signed. */
  terms?: PriceTerms;
}

/** @throws {Lie} When the bytes are no receipt. */
export function readReceipt(body: Uint8Array, separator: Uint8Array): ReadReceipt {
  try {
    const receipt = decodeReceipt(body);
    return { receipt, id: voucherDigest(separator, receipt.voucher) };
  } catch (error) {
    if (error instanceof MalformedBytes) throw new Lie("A receipt cannot be read", body);
    throw error;
  }
}

/**
 * Judges a receipt by what the payer knows: the voucher is one that the session key signed, and the price is what the
 * terms give for the tokens that it names, at most the voucher's maximum. Whether as many tokens were needed, no
 * receipt can show.
 *
 * @param signed What the payer's ledger has of the voucher, if it has it.
 * @throws {Lie}
 */
export function checkReceipt(
  { id, receipt }: ReadReceipt,
  by: { channel: number; sessionKey: string },
  signed: SignedFor | undefined,
  body: Uint8Array,
): void {
  const { voucher, price } = receipt;
  const isOurs = signed
    ? sameBytes(signed.voucher.signature, voucher.signature)
    : voucher.channel === by.channel && recoverSigner(id, voucher.signature) === by.sessionKey;
  if (!isOurs) throw new Lie(`A receipt charges for a voucher that was not signed here (${toHex(id)})`, body);
  if (price > voucher.maxPrice)
    throw new Lie(`A receipt charges ${price} wei, above the ${voucher.maxPrice} allowed`, body);
  const due = signed?.terms && priceOf(signed.terms, receipt, voucher.maxPrice);
  if (due !== undefined && price !== due)
    throw new Lie(`A receipt charges ${price} wei; by the terms it is ${due}`, body);
}
