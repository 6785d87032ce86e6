import type * as X509 from "@peculiar/x509";

let loaded: Promise<typeof X509> | undefined;

/**
 * The library that makes requests and certificates, loaded when one is made: 70 ms of CPU and 8 MB that most starts of a
 * node save, since reading certificates is node:crypto's.
 */
export function x509(): Promise<typeof X509> {
  loaded ??= import("./x509-library.ts").then(({ library }) => library);
  return loaded;
}
