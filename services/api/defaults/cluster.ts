/** Pure: no clock, no I/O, no randomness. */

/** Address pools from which networks without a given subnet take theirs. */
export const defaultAddressPools: readonly string[] = ["10.0.0.0/8"];
/** Prefix length of a subnet taken from a pool. */
export const defaultSubnetSize = 24;
/** UDP port of VXLAN traffic (IANA). */
export const defaultVxlanPort = 4789;
/** Label of a node's engine: the address at which it takes VXLAN packets, when not that of its remote API. */
export const dataPathLabel = "io.starling.data-path-addr";
/** Prefix length of IPv6 subnets taken from a pool. */
export const subnetSize6 = 64;
/** The one cluster object's name; it cannot be changed. */
export const defaultClusterName = "default";
