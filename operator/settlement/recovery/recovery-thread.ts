import { parentPort } from "node:worker_threads";
import { fromHex } from "../../protocol/bytes.ts";
import { recoverSigner } from "../../protocol/signature.ts";
import { packSigners, unpackSigned } from "./packing.ts";

const port = parentPort!;

port.on("message", (packed: Uint8Array) => {
  const signers = unpackSigned(packed).map(({ digest, signature }) => {
    const signer = recoverSigner(digest, signature);
    return signer && fromHex(signer);
  });
  const answer = packSigners(signers);
  port.postMessage(answer, [answer.buffer]);
});
