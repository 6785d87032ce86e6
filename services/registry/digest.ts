import { createHash } from "node:crypto";
import { BadImageError } from "./manifest.ts";

export function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** Digests become file names: nothing but their hexadecimal digits. */
export function hexOf(digest: string): string {
  const match = /^sha256:([0-9a-f]{64})$/.exec(digest);
  if (match === null) throw new BadImageError(`digest ${JSON.stringify(digest)}: only sha256 is supported`);
  return match[1]!;
}

/** What layers lowest first make together, by their diff ids (OCI image spec, "Layer ChainID"). */
export function chainIdOf(diffIds: readonly string[]): string {
  let chain = diffIds[0] ?? "";
  for (const diffId of diffIds.slice(1)) chain = digestOf(Buffer.from(`${chain} ${diffId}`));
  return chain;
}
