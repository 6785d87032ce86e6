/** Pure: no clock, no I/O, no randomness. */
import { type NetworkKey, parseNetworkKeys } from "./network-keys.ts";

/**
 * Label of a node's engine, told in its description: its part in relaying encrypted packets of nodes that don't reach each other.
 * `PORT/KEY`: it relays for others; `PORT/KEY wanted ID …`: there are nodes that it doesn't reach, and it reaches these managers.
 */
export const networkRelayLabel = "io.starling.network-relay";

/** A node's part in relaying. */
export interface NetworkRelay {
  readonly key: NetworkKey;
  readonly wanted: boolean;
  /** Ids of managers that it has found to answer. */
  readonly reached: readonly string[];
}

/** Swarm has seven managers at most that make sense; a label that names more is cut. */
const reachedMax = 16;
const wantedWord = "wanted";

/** The label's value: ids sorted, so that it changes only when what it says does. */
export const formatNetworkRelay = ({ key, wanted, reached }: NetworkRelay): string =>
  [`${key.port}/${key.publicKey}`, ...(wanted ? [wantedWord, ...[...reached].sort().slice(0, reachedMax)] : [])].join(
    " ",
  );

/** What the label says; undefined when it has no key. Words that can't be ids are left out. */
export function parseNetworkRelay(text: string): NetworkRelay | undefined {
  const [first = "", word, ...ids] = text.split(" ", reachedMax + 2);
  const [key] = parseNetworkKeys(first);
  if (key === undefined) return undefined;
  const wanted = word === wantedWord;
  return { key, wanted, reached: wanted ? ids.filter((id) => /^[0-9a-z]{1,32}$/.test(id)) : [] };
}
