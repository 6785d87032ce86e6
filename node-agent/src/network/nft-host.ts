/** Pure: no clock, no I/O, no randomness. */
import type { PortProtocol } from "@starling/api";
import { tunnelVxlanPort } from "./encryption/addresses.ts";
import { endRules, hasEnds, safeForward, safeInput, safeOutput, safeSets } from "./encryption/guards.ts";
import type { Items, RuleKind } from "./ledger.ts";
import {
  bridgePrefix,
  clearMesh,
  hex,
  localPool,
  localPool6,
  type Mesh,
  macOf,
  markOf,
  meshAddress6,
  meshDevice,
  meshPrefix,
  meshPrefix6,
  returnMac,
  routedPrefix,
  safeMesh,
} from "./names.ts";
import type { NftChain, NftSet, NftTable } from "./nft-table.ts";
import { stickyParting, stickyParts } from "./sticky.ts";

/** A port that every address of this host answers, and who is behind it. Addresses of tasks are their IPv4 ones. */
export interface PublishedPort {
  readonly protocol: PortProtocol;
  readonly port: number;
  /** In an order that all nodes share. */
  readonly backends: readonly { readonly address: string; readonly port: number }[];
  /** Addresses and prefixes on which it answers; none: all. */
  readonly on: readonly string[];
  /** A client's connections go to the same task. */
  readonly sticky?: boolean;
  /** It is a task's here, not the mesh's. */
  readonly ofHost?: true;
}

/** A chain that spreads connections over as many places. */
export interface Spread {
  readonly name: string;
  readonly protocol: PortProtocol;
  readonly places: number;
  readonly sticky: boolean;
}

/** A port of a task here that the mesh may reach. */
export interface OpenPort {
  readonly address: string;
  readonly protocol: PortProtocol;
  readonly port: number;
  /** Whether its packets must come encrypted. */
  readonly secret: boolean;
}

/** What the host's table is made of. `items` may be a part: those that changed, as they were or are. */
export interface HostRules {
  /** UDP port of VXLAN packets. */
  readonly vxlanPort: number;
  /** This node's mesh address with prefix length; undefined: no routing mesh yet. */
  readonly mesh: string | undefined;
  /** Whether all this is for IPv6 as well. */
  readonly ipv6: boolean;
  readonly ingressSubnets: readonly string[];
  /** This host's tunnel devices. */
  readonly tunnels: readonly string[];
  /** This host's relay device, and whether it passes on others' packets; undefined: there is none. */
  readonly relay: { readonly device: string; readonly forwards: boolean } | undefined;
  /** Whether any task of encrypted networks, wherever it is, has an address in the mesh. */
  readonly secrets: boolean;
  readonly items: Items<RuleKind>;
}

const keys = (elements: Iterable<string>): ReadonlyMap<string, string> =>
  new Map(Array.from(elements, (key) => [key, ""]));
const routed = `"${routedPrefix}*"`;
const bridged = `"${bridgePrefix}*"`;
/** A comparison, where the set of both is a hash. */
const anyMesh = `"${meshPrefix}*"`;
const bothMeshes = `{ "${meshDevice}", "${safeMesh.device}" }`;
const bothMeshesAndLo = `{ "${meshDevice}", "${safeMesh.device}", "lo" }`;

/** Table `inet starling` of the host's namespace: the routing mesh, host ports, tasks' way out and its guards. */
export function hostTable(rules: HostRules): NftTable {
  const { published, spreads, meshPeers, secret } = rules.items;
  const live = [...published.values()].filter((port) => port.backends.length > 0);
  const underlays = [...rules.items.underlays.keys()];
  return {
    name: "inet starling",
    sets: [
      nodesByMac("node_by_mac", clearMesh, meshPeers.keys()),
      nodesByMac("safe_node_by_mac", safeMesh, meshPeers.keys()),
      ...safeSets({ tunnels: rules.tunnels, relay: rules.relay, secret: [...secret.keys()] }),
      {
        name: "published",
        type: "inet_proto . inet_service",
        value: "verdict",
        elements: new Map(live.map((port) => [`${port.protocol} . ${port.port}`, `goto ${chainOf(port)}`])),
      },
      ...protocols.flatMap((protocol) =>
        families.map((family) => backendsMap(served(rules).includes(family) ? live : [], protocol, family)),
      ),
      ...families.flatMap((family) => taskSets(rules.items, family)),
      { name: "nodes", type: "ipv4_addr", elements: keys(underlays.filter((address) => !address.includes(":"))) },
      { name: "nodes6", type: "ipv6_addr", elements: keys(underlays.filter((address) => address.includes(":"))) },
    ],
    chains: [
      ...Array.from(spreads.values(), (spread) => spreadChain(spread, served(rules))),
      ...live.flatMap((port) => restrictedChain(port, served(rules))),
      ...guards(rules),
      ...natChains(rules),
    ],
  };
}

/** How rules and sets speak of one family; `of` is a task's or node's address of it in the mesh, from its IPv4 one. */
interface Family {
  readonly ip: "ip" | "ip6";
  /** Sets of it end so. */
  readonly suffix: "" | "6";
  readonly type: "ipv4_addr" | "ipv6_addr";
  readonly of: (address: string) => string;
  readonly includes: (address: string) => boolean;
}
const ipv4: Family = { ip: "ip", suffix: "", type: "ipv4_addr", of: (a) => a, includes: (a) => !a.includes(":") };
const ipv6: Family = { ip: "ip6", suffix: "6", type: "ipv6_addr", of: meshAddress6, includes: (a) => a.includes(":") };
const families: readonly Family[] = [ipv4, ipv6];

/** The sets about tasks, which are there for each family. */
function taskSets(items: HostRules["items"], family: Family): readonly NftSet[] {
  const { type, of, includes } = family;
  const set = (name: string, of: string, elements: Iterable<string>): NftSet => ({
    ...{ name: `${name}${family.suffix}`, type: of, elements: keys(elements) },
  });
  const open = [...items.open.values()];
  const opened = (secret: boolean) =>
    open.filter((one) => one.secret === secret).map((one) => `${of(one.address)} . ${one.protocol} . ${one.port}`);
  const portType = `${type} . inet_proto . inet_service`;
  const taskOfNode = [...items.taskOfNode.values()].filter(([node]) => includes(node));
  return [
    set(
      "own",
      `ifname . ${type}`,
      Array.from(items.own.values(), ({ device, address }) => `"${device}" . ${of(address)}`),
    ),
    set(
      "self",
      `${type} . ${type}`,
      Array.from(items.local.keys(), (address) => `${of(address)} . ${of(address)}`),
    ),
    set(
      "task_of_node",
      `${type} . ${type}`,
      taskOfNode.map(([node, task]) => `${node} . ${of(task)}`),
    ),
    set("open", portType, opened(false)),
    set("open_safe", portType, opened(true)),
    set("live", type, Array.from(items.live.keys(), of)),
  ];
}

const nodesByMac = (name: string, mesh: Mesh, peers: Iterable<string>): NftSet => ({
  name,
  type: "ether_addr",
  value: "mark",
  elements: new Map(Array.from(peers, (cidr) => [macOf(cidr.split("/")[0]!), hex(markOf(cidr, mesh))])),
});

/** Of the rules: a host without IPv6 has none of it. */
const served = (rules: Pick<HostRules, "ipv6">): readonly Family[] => (rules.ipv6 ? families : [ipv4]);

/** Places from which a client's connections draw a task: of a sticky port one of many parts, else one for each task. */
function placesOf({ backends, sticky }: PublishedPort): readonly string[] {
  const targets = [...new Set(backends.map(({ address, port }) => `${address} . ${port}`))];
  return sticky ? stickyParting(targets) : targets;
}

/** All ports with as many places share a chain; one that answers on some addresses alone looks at these in a chain of its own. */
export function spreadOf(port: PublishedPort): Spread {
  const { protocol, sticky = false } = port;
  const places = sticky ? stickyParts : placesOf(port).length;
  return { name: `${protocol}_${sticky ? "sticky" : `spread_${places}`}`, protocol, places, sticky };
}
const chainOf = (port: PublishedPort): string =>
  port.on.length === 0 ? spreadOf(port).name : `port_${port.protocol}_${port.port}`;

const protocols: readonly PortProtocol[] = ["tcp", "udp", "sctp"];
const backendsOf = (protocol: string, { suffix }: Family): string => `${protocol}_backends${suffix}`;

/**
 * Who is behind each place of each port. One map a protocol: nft checks the expressions that a map's type is told by against
 * the protocol of each rule that uses it.
 */
function backendsMap(ports: readonly PublishedPort[], protocol: PortProtocol, family: Family): NftSet {
  const elements = new Map<string, string>();
  for (const port of ports) {
    if (port.protocol !== protocol) continue;
    placesOf(port).forEach((target, place) => {
      const [address = "", service = ""] = target.split(" . ");
      elements.set(`${port.port} . ${place}`, `${family.of(address)} . ${service}`);
    });
  }
  return {
    name: backendsOf(protocol, family),
    type: `typeof ${protocol} dport . numgen random mod 65536`,
    value: `${family.ip} daddr . ${protocol} dport`,
    elements,
  };
}

/**
 * A change of a port or its tasks is elements of the maps, and costs the same whatever else there is: nft lists all chains to
 * change one (12 ms with 1,000). The choice hashes the client's address (and port) with one seed, so that every node makes
 * the same one.
 */
const spreadChain = ({ name, protocol, places, sticky }: Spread, served: readonly Family[]): NftChain => ({
  name,
  rules: served.map((family) => {
    const { ip } = family;
    const client = sticky ? `${ip} saddr` : `${ip} saddr . ${protocol} sport`;
    const place = `jhash ${client} mod ${places} seed 0x5eed`;
    const of = `meta nfproto ${ip === "ip" ? "ipv4" : "ipv6"} meta l4proto ${protocol}`;
    return `${of} dnat ${ip} addr . port to ${protocol} dport . ${place} map @${backendsOf(protocol, family)}`;
  }),
});

function restrictedChain(port: PublishedPort, served: readonly Family[]): readonly NftChain[] {
  if (port.on.length === 0) return [];
  const { name } = spreadOf(port);
  const rules = served.flatMap(({ ip, includes }) =>
    port.on.filter(includes).map((address) => `${ip} daddr ${address} goto ${name}`),
  );
  return [{ name: chainOf(port), rules }];
}

/** Pools that tasks with published ports have their addresses of. */
const taskPools = (rules: HostRules, { ip }: Family): readonly string[] =>
  ip === "ip" ? [localPool, ...rules.ingressSubnets] : [meshPrefix6];

/** A connection to a task that is gone ends at once rather than hang. */
const resets = (rules: HostRules, of: readonly Family[] = served(rules)): readonly string[] =>
  of.flatMap((family) =>
    taskPools(rules, family).map(
      (pool) =>
        `${family.ip} daddr ${pool} ct status dnat ${family.ip} daddr != @live${family.suffix} meta l4proto tcp reject with tcp reset`,
    ),
  );

/**
 * Every packet passes these, so what tells most of them apart for the least stands first in chains and in rules: protocol, ports and
 * addresses cost a comparison; names of devices are fetched for each rule, and sets are a hash.
 */
const guards = (rules: HostRules): readonly NftChain[] => [
  {
    name: "raw_task",
    rules: [
      "ip daddr 127.0.0.0/8 drop",
      "meta nfproto ipv4 iifname . ip saddr != @own drop",
      "meta nfproto ipv6 iifname . ip6 saddr != @own6 drop",
    ],
  },
  {
    name: "c_raw",
    hook: "type filter hook prerouting priority raw",
    rules: [
      `iifname ${routed} goto raw_task`,
      // Nobody asks of packets between nodes which connection they are of: each one inside would have an entry more.
      // Which may come in is input_vxlan's to say.
      `udp dport ${rules.vxlanPort} notrack accept`,
      // This, and that of raw_task, makes route_localnet safe.
      `ip daddr 127.0.0.0/8 iifname != "lo" drop`,
      `udp dport ${tunnelVxlanPort} iifname @tunnels notrack`,
    ],
  },
  {
    name: "c_raw_output",
    hook: "type filter hook output priority raw",
    rules: [`udp dport ${rules.vxlanPort} notrack accept`, `udp dport ${tunnelVxlanPort} oifname @tunnels notrack`],
  },
  ...[
    { chain: "mark_clear", nodes: "node_by_mac" },
    { chain: "mark_safe", nodes: "safe_node_by_mac" },
  ].map(({ chain, nodes }) => ({
    name: chain,
    rules: [
      // On every packet, so that replies follow a takeover of the ingress node's address.
      `ct direction original ct mark set ether saddr map @${nodes}`,
      "ct direction original meta mark set ct mark",
    ],
  })),
  {
    name: "c_mark",
    hook: "type filter hook prerouting priority mangle",
    rules: [
      `iifname ${anyMesh} iifname vmap { "${meshDevice}" : goto mark_clear, "${safeMesh.device}" : goto mark_safe }`,
      `ct mark != 0 iifname ${routed} ct direction reply meta mark set ct mark`,
    ],
  },
  { name: "forward_end", rules: endRules.forward },
  {
    name: "c_forward",
    hook: "type filter hook forward priority filter",
    rules: [
      ...safeForward(rules),
      `tcp flags syn oifname ${bothMeshes} tcp option maxseg size set rt mtu`,
      ...resets(rules),
      // A task may not speak VXLAN to the nodes under this host's address.
      `udp dport ${rules.vxlanPort} iifname ${routed} drop`,
      // Nor may it have the host route what came by an overlay's bridge. Bridged frames pass here, too (br_netfilter).
      `iifname ${bridged} oifname != ${bridged} drop`,
      "ct state established,related accept",
      "ct status dnat accept",
      ...families.flatMap(({ ip, suffix }) => [
        `iifname "${meshDevice}" ${ip} daddr . meta l4proto . th dport @open${suffix} accept`,
        `iifname "${safeMesh.device}" ${ip} daddr . meta l4proto . th dport @open_safe${suffix} accept`,
      ]),
      `iifname ${bothMeshes} drop`,
    ],
  },
  { name: "local6", rules: [...safeOutput(rules, "ip6"), ...(rules.ipv6 ? resets(rules, [ipv6]) : [])] },
  {
    name: "c_local",
    hook: "type filter hook output priority filter",
    rules: ["meta nfproto ipv6 goto local6", ...safeOutput(rules, "ip"), ...resets(rules, [ipv4])],
  },
  {
    // Of VXLAN packets none comes by a mesh or a tunnel's end.
    name: "input_vxlan",
    rules: [
      ...(hasEnds(rules) ? ["iifname @ends drop"] : []),
      `iifname ${anyMesh} drop`,
      `iifname ${bridged} drop`,
      "ip saddr @nodes accept",
      "ip6 saddr @nodes6 accept",
      "drop",
    ],
  },
  { name: "input_end", rules: endRules.input },
  {
    name: "input_mesh",
    rules: [
      "ct state established,related accept",
      // Other nodes' tests of the way here.
      "icmp type echo-request accept",
      `iifname "${meshDevice}" tcp dport ${rules.vxlanPort} accept`,
      "drop",
    ],
  },
  {
    name: "c_input",
    hook: "type filter hook input priority filter",
    rules: [
      `udp dport ${rules.vxlanPort} goto input_vxlan`,
      ...safeInput(rules),
      `iifname ${bothMeshes} goto input_mesh`,
      // A frame that a task sends to all, or to its bridge, is none for the host.
      `iifname ${bridged} drop`,
    ],
  },
];

function natChains(rules: HostRules): NftChain[] {
  const published = "meta l4proto . th dport vmap @published";
  const each = (make: (family: Family) => readonly string[]) => served(rules).flatMap(make);
  return [
    {
      name: "c_prerouting",
      hook: "type nat hook prerouting priority dstnat",
      rules: [
        `fib daddr type local ${published}`,
        ...each(({ ip, suffix }) => [`iifname ${routed} ${ip} daddr @nodes${suffix} ${published}`]),
      ],
    },
    {
      name: "c_output",
      hook: "type nat hook output priority -100",
      rules: [
        `fib daddr type local ${published}`,
        ...each(({ ip, suffix }) => [`${ip} daddr @nodes${suffix} ${published}`]),
      ],
    },
    {
      name: "c_postrouting",
      hook: "type nat hook postrouting priority srcnat",
      rules: each((family) => [
        ...towardsTasks(rules, family),
        ...taskPools(rules, family).map(
          (pool) => `${family.ip} saddr ${pool} oifname != ${bothMeshesAndLo} oifname != ${routed} masquerade`,
        ),
      ]),
    },
  ];
}

/** What can't reach a task under its own address does so under this node's in the mesh, or without one under any of the host's. */
function towardsTasks({ mesh }: HostRules, { ip, suffix, of }: Family): readonly string[] {
  const snat = mesh === undefined ? "masquerade" : `snat ${ip} to ${of(mesh.split("/")[0]!)}`;
  const [loopback, pool] = ip === "ip" ? ["127.0.0.0/8", localPool] : ["::1", localPool6];
  return [
    `${ip} saddr ${loopback} oifname != "lo" ${snat}`,
    `${ip} saddr . ${ip} daddr @self${suffix} ${snat}`,
    `${ip} saddr . ${ip} daddr @task_of_node${suffix} ${snat}`,
    `${ip} saddr ${pool} oifname ${bothMeshes} ${snat}`,
  ];
}

/**
 * Table of the mesh's device in `netdev`: replies that leave by it get the MAC of the node that the connection came in by, which
 * the mark names. The mark ends here: the outer packet would inherit it and be routed into the mesh again.
 */
export const meshTable = (mesh: Mesh, peers: Iterable<string>): NftTable => ({
  name: `netdev ${mesh === clearMesh ? "starling" : "starling_safe"}`,
  sets: [
    {
      name: "mac_by_node",
      type: "mark",
      value: "ether_addr",
      elements: new Map(Array.from(peers, (cidr) => [hex(markOf(cidr, mesh)), macOf(cidr.split("/")[0]!)])),
    },
  ],
  chains: [
    {
      name: "mesh_egress",
      hook: `type filter hook egress device "${mesh.device}" priority 0`,
      rules: [`ether daddr ${returnMac} ether daddr set meta mark map @mac_by_node`, "meta mark set 0"],
    },
  ],
});
