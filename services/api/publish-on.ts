/** Pure: no clock, no I/O, no randomness. */
import { cidrContains, parseAddress, parseCidr } from "./ip.ts";

/**
 * Service label: the hosts' addresses on which the service's published ports answer, addresses and prefixes of either family
 * ("10.0.0.5 192.168.0.0/16 fd00:1::/64"). Default: all of them.
 */
export const publishOnLabel = "io.starling.publish-on";

/** The label's addresses and prefixes; empty: all. Those that are neither are left out (validation refuses them). */
export function publishOn(serviceLabels: Readonly<Record<string, string>>): readonly string[] {
  return (serviceLabels[publishOnLabel] ?? "").split(/[ ,]+/).filter((text) => text !== "" && isPublishAddress(text));
}

/** An address, or a prefix without bits beyond its length. */
export function isPublishAddress(text: string): boolean {
  const [address = "", length] = text.split("/");
  if (length === undefined) return parseAddress(text) !== undefined;
  const [prefix, first] = [parseCidr(text), parseAddress(address)];
  return prefix !== undefined && first !== undefined && first.value === prefix.value && cidrContains(prefix, first);
}
