import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  Annotations,
  Driver,
  Network,
  NetworkAttachment,
  NetworkPath_Kind,
  NetworkSpec,
  NetworkStateChange,
  NetworkStateChange_Action,
  NetworkStateEndpoint,
  NetworkStateKey,
  NetworkStateMessage,
  NetworkStateMessage_Type,
  NetworkStateNetwork,
  NetworkStateNode,
  NetworkStateRelay,
  networkKeysLabel,
  networkRelayLabel,
  parseNetworkKeys,
  parseNetworkRelay,
  Task,
} from "@starling/api";
import { nullLogger, systemClock } from "@starling/base";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type { Finding } from "../describe-plan.ts";
import { NodeNetwork } from "../index.ts";
import { TestHosts } from "../test-hosts.ts";
import { relayDevice, relayPort, tunnelDevice, tunnelPorts } from "./addresses.ts";

const secret = "secretaaaaaaaaaaaaaaaaaaa";
const marker = "THIS-IS-THE-CLEAR-TEXT ";
const nodeId = (name: string) => `${name}${process.pid.toString(36)}aaaaaaaaaaaaaaaa`;
const taskId = (name: string) => `task${name}aaaaaaaaaaaaaaaaaaaa`;

/** Two managers that everybody reaches, and two workers, each behind a NAT of its own. `underlay` is what managers know. */
const members = {
  one: { netns: "h1", underlay: "192.168.77.1", host: "192.168.77.1" },
  two: { netns: "h2", underlay: "192.168.77.2", host: "192.168.77.2" },
  near: { netns: "client", underlay: "192.168.77.254", host: "172.31.9.2", task: "10.0.1.11" },
  far: { netns: "far", underlay: "192.168.77.3", host: "172.31.8.2", task: "10.0.1.12" },
} as const;
type Member = keyof typeof members;
const names = Object.keys(members) as Member[];
const workers = ["near", "far"] as const;

let hosts: TestHosts;
const nodes = new Map<Member, NodeNetwork>();
const labels = new Map<Member, Readonly<Record<string, string>>>();
let sequence = 0;

const update = (item: Partial<NetworkStateChange>) =>
  NetworkStateChange.create({ action: NetworkStateChange_Action.UPDATE, ...item });

/** What managers say. */
function complete(): NetworkStateMessage {
  const network = { id: secret, vni: 4097, name: "secret", subnets: ["10.0.1.0/24"], encrypted: true };
  const node = (name: Member) => {
    const { [networkKeysLabel]: keys = "", [networkRelayLabel]: part = "" } = labels.get(name) ?? {};
    const relay = parseNetworkRelay(part);
    const { underlay, host } = members[name];
    return NetworkStateNode.create({
      ...{ id: nodeId(name), underlayAddress: underlay, hostAddresses: [host], mayRelay: !("task" in members[name]) },
      keys: parseNetworkKeys(keys).map(NetworkStateKey.create),
      ...(relay && { relay: NetworkStateRelay.create({ ...relay, key: NetworkStateKey.create(relay.key) }) }),
    });
  };
  const endpoint = (name: "near" | "far") => {
    const where = { networkId: secret, taskId: taskId(name), nodeId: nodeId(name), address: members[name].task };
    return NetworkStateEndpoint.create({ ...where, serving: true });
  };
  return NetworkStateMessage.create({
    type: NetworkStateMessage_Type.COMPLETE,
    sequence: ++sequence,
    changes: [
      update({ network: NetworkStateNetwork.create(network) }),
      ...names.map((name) => update({ node: node(name) })),
      ...workers.map((name) => update({ endpoint: endpoint(name) })),
    ],
  });
}
const publish = () => Promise.all([...nodes.values()].map((node) => node.receive(complete())));

/** A router that gives what goes out new ports, other ones for each destination, and lets nothing new in but by `c_hole`. */
const nat = (outside: string) => `nft 'table ip nat {
  chain c_out { type nat hook postrouting priority srcnat; oifname "${outside}" masquerade fully-random
  }
  chain c_hole { type nat hook prerouting priority dstnat;
  }
  chain c_self { type filter hook input priority 0; iifname "${outside}" udp dport 51840-51842 drop
  }
  chain c_in { type filter hook forward priority 0; iifname "${outside}" ct state new ct status ! dnat drop
  }
}'`;

/** Bytes that `from` gets from the other's task by TCP, of a page of `marker`. */
const fetchPage = (from: "near" | "far", timeoutS = 5): number => {
  const { task } = members[from === "near" ? "far" : "near"];
  const output = hosts.run(
    `c-${from}`,
    `timeout ${timeoutS} bash -c 'exec 3<>/dev/tcp/${task}/80; cat <&3 | wc -c' || true`,
  );
  return Number(output);
};
const pageBytes = 20_000 * marker.length;

const pathOf = async (from: "near" | "far") => {
  const { paths, findings } = await nodes.get(from)!.check();
  return { paths: paths.map(({ kind, relayNodeId }) => ({ kind, relay: relayNodeId })), findings };
};
const relayed = (name: "one" | "two") => ({
  paths: [{ kind: NetworkPath_Kind.RELAY, relay: nodeId(name) }],
  findings: [],
});

function startNode(name: Member): void {
  const { netns } = members[name];
  const node = new NodeNetwork({
    ...{ nodeId: nodeId(name), clock: systemClock, log: nullLogger, resolvConf: "", netns: hosts.path(netns) },
    reach: { patience: { firstMs: 1_500, dueMs: 3_000 }, lookMs: 400 },
  });
  node.onLabels = () => {
    const told = node.labels;
    if (JSON.stringify(labels.get(name)) === JSON.stringify(told)) return;
    labels.set(name, told);
    void publish();
  };
  nodes.set(name, node);
}

beforeAll(async () => {
  hosts = new TestHosts(3);
  const far = hosts.add("far");
  hosts.run(
    "h3",
    `ip link add f0 type veth peer name eth0 netns ${far}; ip addr add 172.31.8.1/24 dev f0; ip link set f0 up; sysctl -qw net.ipv4.ip_forward=1`,
  );
  hosts.run("far", "ip addr add 172.31.8.2/24 dev eth0; ip link set eth0 up; ip route add default via 172.31.8.1");
  // What passes its switch is no concern of the router's rules.
  hosts.run("router", `sysctl -qw net.bridge.bridge-nf-call-iptables=0; ${nat("br0")}`);
  hosts.run("h3", nat("eth0"));
  for (const name of names) startNode(name);
  await publish();
  const driverConfig = Driver.create({ name: "overlay", options: { encrypted: "" } });
  const spec = NetworkSpec.create({ annotations: Annotations.create({ name: "secret" }), driverConfig });
  for (const name of workers) {
    hosts.add(`c-${name}`);
    const addresses = [`${members[name].task}/24`];
    const networks = [NetworkAttachment.create({ network: Network.create({ id: secret, spec }), addresses })];
    const netns = { path: hosts.path(`c-${name}`), pid: 0 };
    await nodes.get(name)!.attach(Task.create({ id: taskId(name), serviceId: "web", networks }), netns);
    hosts.start(`c-${name}`, [
      "node",
      "-e",
      `require("net").createServer((s) => { s.on("error", () => {}); s.end("${marker}".repeat(20000)); }).listen(80)`,
    ]);
  }
}, 60_000);

afterAll(async () => {
  for (const node of nodes.values()) await node.close();
  hosts?.destroy();
});

/** The manager that relays now. */
let relay: "one" | "two";

/** Bytes that came to the relay's device. */
function carried(): number {
  const shown = hosts.run(members[relay].netns, `ip -j -s link show ${relayDevice(nodeId(relay))}`);
  return (JSON.parse(shown) as [{ stats64: { rx: { bytes: number } } }])[0].stats64.rx.bytes;
}

describe("an encrypted network between two nodes behind NATs", () => {
  it("goes through a manager that both reach, and shows it nothing", async () => {
    await vi.waitFor(
      async () => expect((await pathOf("near")).paths).toMatchObject([{ kind: NetworkPath_Kind.RELAY }]),
      {
        timeout: 15_000,
        interval: 300,
      },
    );
    const { paths } = await pathOf("near");
    relay = paths[0]!.relay === nodeId("one") ? "one" : "two";
    await vi.waitFor(async () => expect(await pathOf("far")).toEqual(relayed(relay)), {
      timeout: 5_000,
      interval: 300,
    });
    const end = await hosts.capture(members[relay].netns, "any");
    const before = carried();
    expect(fetchPage("near")).toBe(pageBytes);
    expect(fetchPage("far")).toBe(pageBytes);
    const bytes = await end();
    expect(carried() - before).toBeGreaterThan(2 * pageBytes);
    // Both of what comes to the relay's host and of what is in that, sealed for the other node still.
    expect(bytes.length).toBeGreaterThan(10_000);
    expect(bytes.includes(marker)).toBe(false);
  });

  it("goes on while swarmd of the relay is away, and is as it should be everywhere", async () => {
    await nodes.get(relay)!.close();
    expect(fetchPage("near")).toBe(pageBytes);
    startNode(relay);
    await publish();
    for (const name of names) expect(await nodes.get(name)!.audit(), name).toEqual([]);
    expect(fetchPage("far")).toBe(pageBytes);
    const { publicKey } = parseNetworkRelay(labels.get("near")![networkRelayLabel]!)!.key;
    const broken = `wg set ${relayDevice(nodeId(relay))} peer ${publicKey} persistent-keepalive 7`;
    let found: readonly Finding[] = [];
    // The node's own looks mend it, too, and may come before the audit.
    for (let tries = 0; found.length === 0 && tries < 20; tries++) {
      hosts.run(members[relay].netns, broken);
      found = await nodes.get(relay)!.audit({ repair: false });
    }
    expect(found).toMatchObject([{ subject: "encryption", detail: expect.stringContaining(`node ${nodeId("near")}`) }]);
    await nodes.get(relay)!.audit();
  });

  it("has a relay that passes on tunnels' packets alone, and serves nobody whom it doesn't know", async () => {
    const { netns, underlay } = members[relay];
    const device = relayDevice(nodeId(relay));
    const end = await hosts.capture(netns);
    expect(fetchPage("near")).toBe(pageBytes);
    const seen = datagrams(await end()).filter(({ port }) => port === relayPort);
    expect(new Set(seen.map(({ payload }) => payload[0]))).toContain(4);
    const endpoints = () => hosts.run(netns, `wg show ${device} endpoints | sort`);
    const before = endpoints();
    const replayed = seen.slice(0, 200).map(({ payload }) => payload);
    const handshake = (type: number, bytes: number) => Buffer.from([type, 0, 0, 0, ...Array(bytes - 4).fill(7)]);
    const forged = [handshake(1, 148), handshake(2, 92), handshake(3, 64), handshake(4, 32), handshake(4, 1_400)];
    const torn = [...forged, ...replayed.slice(0, 20)].flatMap((whole) =>
      [0, 1, 4, whole.length - 1].map((n) => whole.subarray(0, n)),
    );
    const oversized = [handshake(1, 60_000), Buffer.alloc(9_000, 4)];
    const sent = [...replayed, ...forged, ...torn, ...oversized];
    expect(hosts.run("h3", answersTo(sent, underlay, relayPort))).toBe(`${sent.length} sent, 0 answered`);
    expect(endpoints()).toBe(before);
    // A node may reach others' tunnels by it, and nothing else of theirs.
    const far = hosts.run("far", `ip -6 -o addr show ${relayDevice(nodeId("far"))}`).match(/fd53:[0-9a-f:]+/)![0];
    const ping = (first = "") => hosts.run("client", `${first} ping -6 -c1 -W1 ${far} || true`);
    expect(ping()).toContain("100% packet loss");
    const open = (name: string, chain: string) =>
      `nsenter --net=${hosts.path(name)} nft flush chain inet starling ${chain};`;
    const unguarded = `${open("client", "c_input")} ${open("far", "c_input")} ${open(netns, "c_forward")}`;
    // Soon they are there again.
    await vi.waitFor(() => expect(ping(unguarded)).toContain("1 received"), { timeout: 5_000 });
    for (const name of ["near", "far", relay] as const) await nodes.get(name)!.audit();
    expect(ping()).toContain("100% packet loss");
    expect(fetchPage("near")).toBe(pageBytes);
  });

  it("finds another manager when the relay's host dies", async () => {
    const other = relay === "one" ? "two" : "one";
    hosts.run(members[relay].netns, "ip link set eth0 down");
    await vi.waitFor(async () => expect(await pathOf("near")).toEqual(relayed(other)), {
      timeout: 17_000,
      interval: 300,
    });
    await vi.waitFor(async () => expect(await pathOf("far")).toEqual(relayed(other)), {
      timeout: 3_000,
      interval: 300,
    });
    expect(fetchPage("near")).toBe(pageBytes);
    hosts.run(members[relay].netns, "ip link set eth0 up");
  });

  it("goes directly again once one side can be reached, and nothing of relays is left", async () => {
    hosts.run(
      "router",
      `nft add rule ip nat c_hole iifname br0 udp dport ${tunnelPorts[0]} dnat to ${members.near.host}`,
    );
    const direct = { paths: [{ kind: NetworkPath_Kind.KEEPALIVE, relay: "" }], findings: [] };
    for (const name of workers)
      await vi.waitFor(async () => expect(await pathOf(name)).toEqual(direct), { timeout: 15_000, interval: 300 });
    expect(fetchPage("near")).toBe(pageBytes);
    expect(fetchPage("far")).toBe(pageBytes);
    expect(hosts.run("far", `wg show ${tunnelDevice(nodeId("far"), 0)} endpoints`)).toContain(
      `${members.near.underlay}:`,
    );
    for (const name of names) {
      await vi.waitFor(() => {
        expect(hosts.run(members[name].netns, "ip -o link; ip -6 route")).not.toMatch(/swr-|7461:7279/);
        expect(labels.get(name)?.[networkRelayLabel]).toBeUndefined();
      });
      expect(await nodes.get(name)!.audit(), name).toEqual([]);
    }
  });
});

/** UDP datagrams over IPv4 in a capture of Ethernet frames, with their destination port. */
function datagrams(pcap: Buffer): readonly { readonly port: number; readonly payload: Buffer }[] {
  const found: { port: number; payload: Buffer }[] = [];
  for (let at = 24; at + 16 <= pcap.length; ) {
    const length = pcap.readUInt32LE(at + 8);
    const frame = pcap.subarray(at + 16, at + 16 + length);
    at += 16 + length;
    if (frame.length < 42 || frame.readUInt16BE(12) !== 0x0800 || frame[14] !== 0x45 || frame[23] !== 17) continue;
    found.push({ port: frame.readUInt16BE(36), payload: frame.subarray(42, 34 + frame.readUInt16BE(38)) });
  }
  return found;
}

/** Shell command that sends each datagram, once each, and says how many came back. */
function answersTo(sent: readonly Buffer[], address: string, port: number): string {
  const script = `
    const socket = require("dgram").createSocket("udp4"); let answered = 0;
    socket.on("message", () => answered++);
    const all = require("fs").readFileSync(0, "utf8").split("\\n").map((line) => Buffer.from(line, "hex"));
    (async () => {
      for (const one of all) await new Promise((resolve) => socket.send(one, ${port}, "${address}", resolve));
      setTimeout(() => { process.stdout.write(all.length + " sent, " + answered + " answered"); process.exit(); }, 500);
    })();`;
  const file = join(tmpdir(), `sn${process.pid.toString(36)}-datagrams`);
  writeFileSync(file, sent.map((datagram) => datagram.toString("hex")).join("\n"));
  return `'${process.execPath}' -e '${script}' < ${file}; rm ${file}`;
}
