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

export const safeSets = ({ tunnels, secret, relay }: SafeRules): readonly NftSet[] => {
  const quoted = (devices: readonly string[]) => names(devices.map((device) => `"${device}"`));
  const relays = relay === undefined ? [] : [relay.device];
  return [
    { name: "ends", type: "ifname", elements: quoted([...tunnels, ...relays]) },
    { name: "tunnels", type: "ifname", elements: quoted(tunnels) },
    { name: "relays", type: "ifname", elements: quoted(relays) },
    { name: "relaying", type: "ifname", elements: quoted(relay?.forwards ? relays : []) },
    { name: "secret", type: "ipv4_addr", elements: names(secret) },
    { name: "secret6", type: "ipv6_addr", elements: names(secret.map(meshAddress6)) },
  ];
};

/** What relays carry: tunnels' packets, at the ports of tunnels. */
const relayed = `ip6 saddr ${relayPrefix} ip6 daddr ${relayPrefix} udp dport { ${tunnelPorts.join(", ")} }`;

const secretOf = [
  { ip: "ip", secret: "secret" },
  { ip: "ip6", secret: "secret6" },
] as const;

/** Of what comes by a device of `ends` (tunnels and relays). */
export const endRules: { readonly forward: readonly string[]; readonly input: readonly string[] } = {
  forward: [`iifname @relaying oifname @relaying ${relayed} accept`, "drop"],
  // Beside relays' own packets, tests of the way.
  input: [
    `iifname @relays ${relayed} accept`,
    "iifname @relays drop",
    "icmpv6 type { echo-request, echo-reply } accept",
    "drop",
  ],
};

/** What decides which rules there are: packets of a cluster without encrypted networks are asked for none of its addresses and devices. */
export interface SafeUse extends Pick<SafeRules, "tunnels" | "relay"> {
  /** Whether `secret` has any. */
  readonly secrets: boolean;
}

/** Whether this host has tunnels or a relay device. */
export const hasEnds = ({ tunnels, relay }: SafeUse): boolean => tunnels.length > 0 || relay !== undefined;

/** Before all else in forwarding. */
export const safeForward = (use: SafeUse): readonly string[] => [
  ...(hasEnds(use) ? ["iifname @ends goto forward_end", "oifname @ends drop"] : []),
  `ip6 daddr ${tunnelPrefix} drop`,
  ...(use.secrets ? secretOf : []).flatMap(({ ip, secret }) => [
    `${ip} daddr @${secret} oifname != "${safeMesh.device}" oifname != "${routedPrefix}*" drop`,
    `${ip} saddr @${secret} oifname "${meshDevice}" drop`,
  ]),
];

/** Of what the host itself sends, of one family: a tunnel that is gone must not let its packets out by another way. */
export const safeOutput = ({ secrets }: SafeUse, family: "ip" | "ip6"): readonly string[] => [
  ...(family === "ip6" ? tunnelOutput : []),
  ...secretOf.flatMap(({ ip, secret }) =>
    secrets && ip === family
      ? `${ip} daddr @${secret} oifname != "${safeMesh.device}" oifname != "${routedPrefix}*" oifname != "lo" drop`
      : [],
  ),
];
const tunnelOutput: readonly string[] = [
  `ip6 daddr ${relayPrefix} oifname != @relays oifname != "lo" drop`,
  `ip6 daddr ${tunnelPrefix} oifname != @tunnels oifname != "lo" drop`,
];

/** Of what comes to the host: VXLAN of encrypted networks by tunnels alone, and by tunnels and relays little else. */
export const safeInput = (use: SafeUse): readonly string[] => [
  `meta nfproto ipv6 udp dport ${tunnelVxlanPort} iifname @tunnels accept`,
  `meta nfproto ipv6 udp dport ${tunnelVxlanPort} drop`,
  ...(hasEnds(use) ? ["iifname @ends goto input_end"] : []),
];
