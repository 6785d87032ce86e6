/** Pure: no clock, no I/O, no randomness. */
import { type SafeRules, safeForward, safeInput, safeOutput, safeSets } from "./encryption/guards.ts";
import {
  clearMesh,
  hex,
  localPool,
  type Mesh,
  macOf,
  markOf,
  meshDevice,
  returnMac,
  routedPrefix,
  safeMesh,
} from "./names.ts";
import type { NftChain, NftSet, NftTable } from "./nft-table.ts";
import { stickyParting } from "./sticky.ts";

/** A port that every address of this host answers, and who is behind it. */
export interface PublishedPort {
  readonly protocol: "tcp" | "udp";
  readonly port: number;
  /** In an order that all nodes share. */
  readonly backends: readonly { readonly address: string; readonly port: number }[];
  /** Addresses and prefixes on which it answers; none: all. */
  readonly on: readonly string[];
  /** A client's connections go to the same task. */
  readonly sticky?: boolean;
}

/** A task here with an address of its own behind a routed interface. */
export interface RoutedTask {
  readonly device: string;
  readonly address: string;
  /** Target ports that the mesh may reach. */
  readonly ports: readonly { readonly protocol: "tcp" | "udp"; readonly port: number }[];
}

export interface PeerNode {
  readonly underlay: string;
  /** With prefix length; undefined before the managers gave it one. */
  readonly mesh: string | undefined;
}

export interface HostRules extends SafeRules {
  /** UDP port of VXLAN packets. */
  readonly vxlanPort: number;
  /** This node's mesh address with prefix length; undefined: no routing mesh yet. */
  readonly mesh: string | undefined;
  readonly ingressSubnets: readonly string[];
  readonly peers: readonly PeerNode[];
  readonly published: readonly PublishedPort[];
  readonly tasks: readonly RoutedTask[];
  /** `node's underlay address`, `address of a published task on it`. */
  readonly taskOfNode: readonly (readonly [string, string])[];
  /** Addresses of all published tasks: connections to others, whose tasks are gone, are reset. */
  readonly live: readonly string[];
}

const keys = (elements: readonly string[]): ReadonlyMap<string, string> => new Map(elements.map((key) => [key, ""]));
const routed = `"${routedPrefix}*"`;
const bothMeshes = `{ "${meshDevice}", "${safeMesh.device}" }`;

/** Table `inet starling` of the host's namespace: the routing mesh, host ports, tasks' way out and its guards. */
export function hostTable(rules: HostRules): NftTable {
  const live = rules.published.filter((port) => port.backends.length > 0);
  const meshPeers = rules.peers.flatMap((peer) => (peer.mesh === undefined ? [] : [peer.mesh]));
  const underlays = rules.peers.map((peer) => peer.underlay);
  return {
    name: "inet starling",
    sets: [
      nodesByMac("node_by_mac", clearMesh, meshPeers),
      nodesByMac("safe_node_by_mac", safeMesh, meshPeers),
      ...safeSets(rules),
      {
        name: "published",
        type: "inet_proto . inet_service",
        value: "verdict",
        elements: new Map(live.map((port) => [`${port.protocol} . ${port.port}`, `goto ${chainOf(port)}`])),
      },
      {
        name: "own",
        type: "ifname . ipv4_addr",
        elements: keys(rules.tasks.map((t) => `"${t.device}" . ${t.address}`)),
      },
      {
        name: "self",
        type: "ipv4_addr . ipv4_addr",
        elements: keys(rules.tasks.map((t) => `${t.address} . ${t.address}`)),
      },
      { name: "nodes", type: "ipv4_addr", elements: keys(underlays.filter((address) => !address.includes(":"))) },
      { name: "nodes6", type: "ipv6_addr", elements: keys(underlays.filter((address) => address.includes(":"))) },
      {
        name: "task_of_node",
        type: "ipv4_addr . ipv4_addr",
        elements: keys(
          rules.taskOfNode.filter(([node]) => !node.includes(":")).map(([node, task]) => `${node} . ${task}`),
        ),
      },
      {
        name: "open",
        type: "ipv4_addr . inet_proto . inet_service",
        elements: openPorts(rules.tasks.filter(({ address }) => !rules.secret.includes(address))),
      },
      {
        name: "open_safe",
        type: "ipv4_addr . inet_proto . inet_service",
        elements: openPorts(rules.tasks.filter(({ address }) => rules.secret.includes(address))),
      },
      {
        name: "live",
        type: "ipv4_addr",
        elements: keys([...new Set([...rules.live, ...rules.tasks.map((task) => task.address)])]),
      },
    ],
    chains: [...live.map(portChain), ...guards(rules), ...natChains(rules)],
  };
}

const nodesByMac = (name: string, mesh: Mesh, peers: readonly string[]): NftSet => ({
  name,
  type: "ether_addr",
  value: "mark",
  elements: new Map(peers.map((cidr) => [macOf(cidr.split("/")[0]!), hex(markOf(cidr, mesh))])),
});

const openPorts = (tasks: readonly RoutedTask[]): ReadonlyMap<string, string> =>
  keys(tasks.flatMap((task) => task.ports.map((port) => `${task.address} . ${port.protocol} . ${port.port}`)));

const chainOf = (port: PublishedPort): string => `port_${port.protocol}_${port.port}`;

/** The choice hashes the client's address (and port) with one seed, so that every node makes the same one. */
function portChain(port: PublishedPort): NftChain {
  const targets = port.backends.map(({ address, port: target }) => `${address} . ${target}`);
  const places = port.sticky ? stickyParting(targets) : targets;
  const choices = places.map((target, place) => `${place} : ${target}`).join(", ");
  const client = port.sticky ? "ip saddr" : "ip saddr . th sport";
  const choice = `jhash ${client} mod ${places.length} seed 0x5eed map { ${choices} }`;
  const rule =
    port.backends.length === 1
      ? `meta nfproto ipv4 meta l4proto ${port.protocol} dnat ip to ${port.backends[0]!.address}:${port.backends[0]!.port}`
      : `meta nfproto ipv4 meta l4proto { tcp, udp } dnat ip addr . port to ${choice}`;
  return { name: chainOf(port), rules: port.on.length === 0 ? [rule] : port.on.map((on) => `ip daddr ${on} ${rule}`) };
}

/** Pools that tasks with published ports have their addresses of. */
const taskPools = (rules: HostRules): readonly string[] => [localPool, ...rules.ingressSubnets];

/** A connection to a task that is gone ends at once rather than hang. */
const resets = (rules: HostRules): readonly string[] =>
  taskPools(rules).map(
    (pool) => `ct status dnat ip daddr ${pool} ip daddr != @live meta l4proto tcp reject with tcp reset`,
  );

const guards = (rules: HostRules): readonly NftChain[] => [
  {
    name: "c_raw",
    hook: "type filter hook prerouting priority raw",
    rules: [
      // What makes route_localnet safe.
      `iifname != "lo" ip daddr 127.0.0.0/8 drop`,
      `iifname ${routed} meta nfproto ipv4 iifname . ip saddr != @own drop`,
    ],
  },
  {
    name: "c_mark",
    hook: "type filter hook prerouting priority mangle",
    rules: [
      // On every packet, so that replies follow a takeover of the ingress node's address.
      `iifname "${meshDevice}" ct direction original ct mark set ether saddr map @node_by_mac`,
      `iifname "${safeMesh.device}" ct direction original ct mark set ether saddr map @safe_node_by_mac`,
      `iifname ${bothMeshes} ct direction original meta mark set ct mark`,
      `iifname ${routed} ct direction reply ct mark != 0 meta mark set ct mark`,
    ],
  },
  {
    name: "c_forward",
    hook: "type filter hook forward priority filter",
    rules: [
      ...safeForward,
      `oifname ${bothMeshes} tcp flags syn tcp option maxseg size set rt mtu`,
      ...resets(rules),
      // A task may not speak VXLAN to the nodes under this host's address.
      `iifname ${routed} udp dport ${rules.vxlanPort} drop`,
      "ct state established,related accept",
      "ct status dnat accept",
      `iifname "${meshDevice}" ip daddr . meta l4proto . th dport @open accept`,
      `iifname "${safeMesh.device}" ip daddr . meta l4proto . th dport @open_safe accept`,
      `iifname ${bothMeshes} drop`,
    ],
  },
  { name: "c_local", hook: "type filter hook output priority filter", rules: [...safeOutput, ...resets(rules)] },
  {
    name: "c_input",
    hook: "type filter hook input priority filter",
    rules: [
      `udp dport ${rules.vxlanPort} meta nfproto ipv4 ip saddr != @nodes drop`,
      `udp dport ${rules.vxlanPort} meta nfproto ipv6 ip6 saddr != @nodes6 drop`,
      ...safeInput,
      `iifname ${bothMeshes} ct state established,related accept`,
      // Other nodes' tests of the way here.
      `iifname ${bothMeshes} icmp type echo-request accept`,
      `iifname ${bothMeshes} drop`,
    ],
  },
];

function natChains(rules: HostRules): NftChain[] {
  const [meshAddress] = rules.mesh?.split("/") ?? [];
  const sources = taskPools(rules);
  const toUs =
    meshAddress === undefined
      ? []
      : [
          `ip saddr 127.0.0.0/8 oifname != "lo" snat ip to ${meshAddress}`,
          `ip saddr . ip daddr @self snat ip to ${meshAddress}`,
          `ip saddr . ip daddr @task_of_node snat ip to ${meshAddress}`,
          `ip saddr ${localPool} oifname ${bothMeshes} snat ip to ${meshAddress}`,
        ];
  const published = "meta l4proto . th dport vmap @published";
  return [
    {
      name: "c_prerouting",
      hook: "type nat hook prerouting priority dstnat",
      rules: [`fib daddr type local ${published}`, `iifname ${routed} ip daddr @nodes ${published}`],
    },
    {
      name: "c_output",
      hook: "type nat hook output priority -100",
      rules: [`fib daddr type local ${published}`, `ip daddr @nodes ${published}`],
    },
    {
      name: "c_postrouting",
      hook: "type nat hook postrouting priority srcnat",
      rules: [
        ...toUs,
        ...sources.map(
          (pool) =>
            `ip saddr ${pool} oifname != { "${meshDevice}", "${safeMesh.device}", "lo" } oifname != ${routed} masquerade`,
        ),
      ],
    },
  ];
}

/**
 * Table of the mesh's device in `netdev`: replies that leave by it get the MAC of the node that the connection came in by, which
 * the mark names. The mark ends here: the outer packet would inherit it and be routed into the mesh again.
 */
export function meshTable(mesh: Mesh, peers: readonly PeerNode[]): NftTable {
  const meshPeers = peers.flatMap((peer) => (peer.mesh === undefined ? [] : [peer.mesh]));
  return {
    name: `netdev ${mesh === clearMesh ? "starling" : "starling_safe"}`,
    sets: [
      {
        name: "mac_by_node",
        type: "mark",
        value: "ether_addr",
        elements: new Map(meshPeers.map((cidr) => [hex(markOf(cidr, mesh)), macOf(cidr.split("/")[0]!)])),
      },
    ],
    chains: [
      {
        name: "mesh_egress",
        hook: `type filter hook egress device "${mesh.device}" priority 0`,
        rules: [`ether daddr ${returnMac} ether daddr set meta mark map @mac_by_node`, "meta mark set 0"],
      },
    ],
  };
}
