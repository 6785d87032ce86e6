import { type KeyObject, sign, verify } from "node:crypto";

/** Keeps a signature made for this purpose from being one for another. */
const purpose = Buffer.from("starling.v1.NodeReturn\0");

/** Proof, for `csr`, that the caller holds a certificate's key. */
export function proveReturn(csr: Uint8Array, keyPem: string): Uint8Array {
  return sign("sha256", Buffer.concat([purpose, csr]), { key: keyPem, dsaEncoding: "der" });
}

export function isReturnProof(signature: Uint8Array, csr: Uint8Array, key: KeyObject): boolean {
  return verify("sha256", Buffer.concat([purpose, csr]), { key, dsaEncoding: "der" }, signature);
}
