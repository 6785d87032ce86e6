/** Pure: no clock, no I/O, no randomness. */
import { formatAddress, parseAddress } from "./ip.ts";

/** Label of a node's engine, told in its description: the addresses of its host, of both families, separated by spaces. */
export const hostAddressesLabel = "io.starling.host-addresses";

/** A host with more tells the first ones only. */
const addressesMax = 64;

/** The label's value: sorted, so that it changes only when the addresses do. */
export const formatHostAddresses = (addresses: Iterable<string>): string =>
  [...new Set(addresses)].sort().slice(0, addressesMax).join(" ");

/** What the label says; what isn't an address is left out. */
export function parseHostAddresses(text: string): readonly string[] {
  return text
    .split(" ")
    .slice(0, addressesMax)
    .flatMap((part) => {
      const parsed = parseAddress(part);
      return parsed === undefined ? [] : [formatAddress(parsed)];
    });
}
