/** Pure: no clock, no I/O, no randomness. */
import { type SafeRules, safeForward, safeInput, safeOutput, safeSets } from "./encryption/guards.ts";
import {
  clearMesh,
  hex,
  localPool,
  localPool6,
  type Mesh,
  macOf,
  markOf,
  meshAddress6,
  meshDevice,
  meshPrefix6,
  returnMac,
  routedPrefix,
  safeMesh,
} from "./names.ts";
import type { NftChain, NftSet, NftTable } from "./nft-table.ts";
import { stickyParting } from "./sticky.ts";

/** A port that every address of this host answers, and who is behind it. Addresses of tasks are their IPv4 ones. */
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
  /** Whether all this is for IPv6 as well. */
  readonly ipv6: boolean;
  readonly ingressSubnets: readonly string[];
  readonly peers: readonly PeerNode[];
  readonly published: readonly PublishedPort[];
  readonly tasks: readonly RoutedTask[];
  /** `an address of a node's host`, `address of a published task on it`. */
  readonly taskOfNode: readonly (readonly [string, string])[];
  /** Addresses of all published tasks: connections to others, whose tasks are gone, are reset. */
  readonly live: readonly string[];
}

const keys = (elements: readonly string[]): ReadonlyMap<string, string> => new Map(elements.map((key) => [key, ""]));
const routed = `"${routedPrefix}*"`;
const bothMeshes = `{ "${meshDevice}", "${safeMesh.device}" }`;
const bothMeshesAndLo = `{ "${meshDevice}", "${safeMesh.device}", "lo" }`;

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
      ...families.flatMap((family) => taskSets(rules, family)),
      { name: "nodes", type: "ipv4_addr", elements: keys(underlays.filter((address) => !address.includes(":"))) },
      { name: "nodes6", type: "ipv6_addr", elements: keys(underlays.filter((address) => address.includes(":"))) },
    ],
    chains: [...live.map((port) => portChain(port, rules.ipv6)), ...guards(rules), ...natChains(rules)],
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
function taskSets({ tasks, taskOfNode, secret, live }: HostRules, family: Family): readonly NftSet[] {
  const { type, of, includes } = family;
  const set = (name: string, of: string, elements: readonly string[]): NftSet => ({
    ...{ name: `${name}${family.suffix}`, type: of, elements: keys(elements) },
  });
  const open = (which: readonly RoutedTask[]) =>
    which.flatMap((task) => task.ports.map((port) => `${of(task.address)} . ${port.protocol} . ${port.port}`));
  const hidden = new Set(secret);
  const portType = `${type} . inet_proto . inet_service`;
  const all = [...new Set([...live, ...tasks.map((task) => task.address)])];
  return [
    set(
      "own",
      `ifname . ${type}`,
      tasks.map((task) => `"${task.device}" . ${of(task.address)}`),
    ),
    set(
      "self",
      `${type} . ${type}`,
      tasks.map(({ address }) => `${of(address)} . ${of(address)}`),
    ),
    set(
      "task_of_node",
      `${type} . ${type}`,
      taskOfNode.filter(([node]) => includes(node)).map(([node, task]) => `${node} . ${of(task)}`),
    ),
    set("open", portType, open(tasks.filter(({ address }) => !hidden.has(address)))),
    set("open_safe", portType, open(tasks.filter(({ address }) => hidden.has(address)))),
    set("live", type, all.map(of)),
  ];
}

const nodesByMac = (name: string, mesh: Mesh, peers: readonly string[]): NftSet => ({
  name,
  type: "ether_addr",
  value: "mark",
  elements: new Map(peers.map((cidr) => [macOf(cidr.split("/")[0]!), hex(markOf(cidr, mesh))])),
});

const chainOf = (port: PublishedPort): string => `port_${port.protocol}_${port.port}`;

/** Of the rules: a host without IPv6 has none of it. */
const served = (rules: Pick<HostRules, "ipv6">): readonly Family[] => (rules.ipv6 ? families : [ipv4]);

/** The choice hashes the client's address (and port) with one seed, so that every node makes the same one. */
function portChain(port: PublishedPort, withIpv6: boolean): NftChain {
  const rules = served({ ipv6: withIpv6 }).flatMap((family) => {
    const on = port.on.filter(family.includes);
    if (port.on.length > 0 && on.length === 0) return [];
    const rule = portRule(port, family);
    return on.length === 0 ? [rule] : on.map((address) => `${family.ip} daddr ${address} ${rule}`);
  });
  return { name: chainOf(port), rules };
}

function portRule({ protocol, backends, sticky }: PublishedPort, { ip, of }: Family): string {
  const nfproto = ip === "ip" ? "ipv4" : "ipv6";
  const [only, second] = backends;
  if (only !== undefined && second === undefined) {
    const address = ip === "ip" ? of(only.address) : `[${of(only.address)}]`;
    return `meta nfproto ${nfproto} meta l4proto ${protocol} dnat ${ip} to ${address}:${only.port}`;
  }
  const targets = new Map(backends.map((b) => [`${b.address} . ${b.port}`, `${of(b.address)} . ${b.port}`]));
  const places = sticky ? stickyParting([...targets.keys()]) : [...targets.keys()];
  const choices = places.map((target, place) => `${place} : ${targets.get(target)}`).join(", ");
  const client = sticky ? `${ip} saddr` : `${ip} saddr . th sport`;
  const choice = `jhash ${client} mod ${places.length} seed 0x5eed map { ${choices} }`;
  return `meta nfproto ${nfproto} meta l4proto { tcp, udp } dnat ${ip} addr . port to ${choice}`;
}

/** Pools that tasks with published ports have their addresses of. */
const taskPools = (rules: HostRules, { ip }: Family): readonly string[] =>
  ip === "ip" ? [localPool, ...rules.ingressSubnets] : [meshPrefix6];

/** A connection to a task that is gone ends at once rather than hang. */
const resets = (rules: HostRules): readonly string[] =>
  served(rules).flatMap((family) =>
    taskPools(rules, family).map(
      (pool) =>
        `ct status dnat ${family.ip} daddr ${pool} ${family.ip} daddr != @live${family.suffix} meta l4proto tcp reject with tcp reset`,
    ),
  );

const guards = (rules: HostRules): readonly NftChain[] => [
  {
    name: "c_raw",
    hook: "type filter hook prerouting priority raw",
    rules: [
      // What makes route_localnet safe.
      `iifname != "lo" ip daddr 127.0.0.0/8 drop`,
      `iifname ${routed} meta nfproto ipv4 iifname . ip saddr != @own drop`,
      `iifname ${routed} meta nfproto ipv6 iifname . ip6 saddr != @own6 drop`,
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
      ...families.flatMap(({ ip, suffix }) => [
        `iifname "${meshDevice}" ${ip} daddr . meta l4proto . th dport @open${suffix} accept`,
        `iifname "${safeMesh.device}" ${ip} daddr . meta l4proto . th dport @open_safe${suffix} accept`,
      ]),
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
      `iifname "${meshDevice}" tcp dport ${rules.vxlanPort} accept`,
      `iifname ${bothMeshes} drop`,
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
