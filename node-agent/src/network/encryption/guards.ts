/** Pure: no clock, no I/O, no randomness. */
import { meshAddress6, meshDevice, routedPrefix, safeMesh } from "../names.ts";
import type { NftSet } from "../nft-table.ts";
import { relayPrefix, tunnelPorts, tunnelPrefix, tunnelVxlanPort } from "./addresses.ts";

/** What keeps packets of encrypted networks in tunnels, and everything else out of them. */
interface SafeRules {
  /** This host's tunnel devices. */
  readonly tunnels: readonly string[];
  /** IPv4 addresses in the mesh of tasks of encrypted networks, on all hosts. */
  readonly secret: readonly string[];
  /** This host's relay device, and whether it passes on others' packets; undefined: there is none. */
  readonly relay: { readonly device: string; readonly forwards: boolean } | undefined;
}

const names = (elements: readonly string[]): ReadonlyMap<string, string> => new Map(elements.map((key) => [key, ""]));

export const safeSets = ({ tunnels, secret, relay }: SafeRules): readonly NftSet[] => [
  { name: "tunnels", type: "ifname", elements: names(tunnels.map((device) => `"${device}"`)) },
  { name: "relays", type: "ifname", elements: names(relay === undefined ? [] : [`"${relay.device}"`]) },
  { name: "relaying", type: "ifname", elements: names(relay?.forwards ? [`"${relay.device}"`] : []) },
  { name: "secret", type: "ipv4_addr", elements: names(secret) },
  { name: "secret6", type: "ipv6_addr", elements: names(secret.map(meshAddress6)) },
];

/** What relays carry: tunnels' packets, at the ports of tunnels. */
const relayed = `ip6 saddr ${relayPrefix} ip6 daddr ${relayPrefix} udp dport { ${tunnelPorts.join(", ")} }`;

const secretOf = [
  { ip: "ip", secret: "secret" },
  { ip: "ip6", secret: "secret6" },
] as const;

/** Before all else in forwarding. */
export const safeForward: readonly string[] = [
  `iifname @relaying oifname @relaying ${relayed} accept`,
  "iifname @relays drop",
  "oifname @relays drop",
  "iifname @tunnels drop",
  "oifname @tunnels drop",
  `ip6 daddr ${tunnelPrefix} drop`,
  ...secretOf.flatMap(({ ip, secret }) => [
    `${ip} daddr @${secret} oifname != "${safeMesh.device}" oifname != "${routedPrefix}*" drop`,
    `${ip} saddr @${secret} oifname "${meshDevice}" drop`,
  ]),
];

/** Of what the host itself sends: a tunnel that is gone must not let its packets out by another way. */
export const safeOutput: readonly string[] = [
  `ip6 daddr ${relayPrefix} oifname != @relays oifname != "lo" drop`,
  `ip6 daddr ${tunnelPrefix} oifname != @tunnels oifname != "lo" drop`,
  ...secretOf.map(
    ({ ip, secret }) =>
      `${ip} daddr @${secret} oifname != "${safeMesh.device}" oifname != "${routedPrefix}*" oifname != "lo" drop`,
  ),
];

/** Of what comes to the host: VXLAN of encrypted networks by tunnels alone, and by tunnels nothing else but tests of the way. */
export const safeInput: readonly string[] = [
  `iifname @relays ${relayed} accept`,
  "iifname @relays drop",
  `meta nfproto ipv6 udp dport ${tunnelVxlanPort} iifname != @tunnels drop`,
  `iifname @tunnels udp dport ${tunnelVxlanPort} accept`,
  "iifname @tunnels icmpv6 type { echo-request, echo-reply } accept",
  "iifname @tunnels drop",
];
