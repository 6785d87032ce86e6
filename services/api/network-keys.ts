/** Pure: no clock, no I/O, no randomness. */

/**
 * Label of a node's engine, told in its description: the public keys by which other nodes encrypt what they send it on encrypted
 * networks, each as `PORT/KEY` (UDP port, WireGuard's base64), the one to be used first. Private keys stay on the node.
 */
export const networkKeysLabel = "io.starling.network-keys";

/** A node's public key for encrypted networks. */
export interface NetworkKey {
  /** WireGuard's base64 of 32 bytes. */
  readonly publicKey: string;
  /** UDP port at which the node takes packets for this key. */
  readonly port: number;
}

/** While keys are rotated a node has two. */
const keysMax = 2;

/** The label's value. */
export const formatNetworkKeys = (keys: readonly NetworkKey[]): string =>
  keys.map(({ port, publicKey }) => `${port}/${publicKey}`).join(" ");

/** What the label says; what isn't a key is left out, as is what a node has too many. */
export function parseNetworkKeys(text: string): readonly NetworkKey[] {
  const keys = text.split(" ").flatMap((part): NetworkKey[] => {
    const match = /^(\d{1,5})\/([A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=)$/.exec(part);
    const port = Number(match?.[1]);
    return match && port > 0 && port < 65536 ? [{ port, publicKey: match[2]! }] : [];
  });
  const seen = new Set<string>();
  return keys.filter(({ publicKey }) => !seen.has(publicKey) && seen.add(publicKey)).slice(0, keysMax);
}
