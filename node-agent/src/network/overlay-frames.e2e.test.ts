import {
  Annotations,
  Network,
  NetworkAttachment,
  NetworkSpec,
  NetworkStateChange,
  NetworkStateChange_Action,
  NetworkStateEndpoint,
  NetworkStateMessage,
  NetworkStateMessage_Type,
  NetworkStateNetwork,
  NetworkStateNode,
  Task,
} from "@starling/api";
import { createLogger, systemClock } from "@starling/base";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { NodeNetwork } from "./index.ts";
import { bridgeOf, portOf, vxlanOf } from "./names.ts";
import { TestHosts } from "./test-hosts.ts";

const net = "net1aaaaaaaaaaaaaaaaaaaaa";
const taskOf = (n: number) => `task${n}aaaaaaaaaaaaaaaaaaaa`;
const addressOf = (n: number) => `10.0.1.${10 + n}`;
const address6Of = (n: number) => `fd01::${10 + n}`;
const update = (item: Partial<NetworkStateChange>) =>
  NetworkStateChange.create({ action: NetworkStateChange_Action.UPDATE, ...item });

const endpoint = (n: number, node = n === 3 ? 2 : 1) =>
  update({
    endpoint: NetworkStateEndpoint.create({
      ...{ networkId: net, taskId: taskOf(n), serviceId: "web", serving: true, names: [] },
      ...{ nodeId: `node${node}`, address: addressOf(n), address6: address6Of(n) },
    }),
  });

const message = (
  changes: readonly NetworkStateChange[],
  type: NetworkStateMessage_Type = NetworkStateMessage_Type.INCREMENTAL,
) => NetworkStateMessage.create({ type, sequence: 1, changes });

const subnets = ["10.0.1.0/24", "fd01::/64"];
const complete = () =>
  message(
    [
      update({ network: NetworkStateNetwork.create({ id: net, name: "front", vni: 4097, subnets }) }),
      ...[1, 2].map((n) =>
        update({ node: NetworkStateNode.create({ id: `node${n}`, underlayAddress: `192.168.77.${n}` }) }),
      ),
      ...[1, 2, 3].map((n) => endpoint(n)),
    ],
    NetworkStateMessage_Type.COMPLETE,
  );

const task = (n: number) =>
  Task.create({
    id: taskOf(n),
    networks: [
      NetworkAttachment.create({
        network: Network.create({
          id: net,
          spec: NetworkSpec.create({ annotations: Annotations.create({ name: "front" }) }),
        }),
        addresses: [`${addressOf(n)}/24`, `${address6Of(n)}/64`],
      }),
    ],
  });

/** For what swarmd does beside. */
const soon = { timeout: 10_000 };

/** Tasks 1 and 2 on a host, 3 on another. */
describe.each(["eBPF", "bridges"])("frames of overlay networks by %s", (mechanism) => {
  const past = mechanism === "eBPF";
  let hosts: TestHosts;
  let nodes: NodeNetwork[];
  const node = (n: number, frameShortcuts = past) =>
    new NodeNetwork({
      ...{ nodeId: `node${n}`, clock: systemClock, resolvConf: "", netns: hosts.path(`h${n}`), frameShortcuts },
      log: createLogger({ level: "error", write: (line) => console.error(line) }),
    });
  const settled = async () => {
    for (const each of nodes) await each.settled();
  };
  const tell = async (...changes: NetworkStateChange[]) => {
    await Promise.all(nodes.map((each) => each.receive(message(changes))));
    await settled();
  };
  const attach = (n: number, on: number) => nodes[on - 1]!.attach(task(n), { path: hosts.path(`c${n}`), pid: 0 });

  beforeAll(async () => {
    hosts = new TestHosts(2);
    nodes = [node(1), node(2)];
    await Promise.all(nodes.map((each) => each.receive(complete())));
    for (const n of [1, 2, 3]) {
      hosts.add(`c${n}`);
      await attach(n, n === 3 ? 2 : 1);
      await hosts.serve(`c${n}`, 80);
    }
    await settled();
  }, 60_000);
  afterAll(async () => {
    for (const each of nodes ?? []) await each.close();
    hosts?.destroy();
  });

  /** How many of four pings from one task to another are answered, and how many frames their bridge's end of the first one's device sent meanwhile. */
  function pings(from: number, to: string, size = 56) {
    const device = portOf(taskOf(from), 0);
    const sent = () =>
      (JSON.parse(hosts.run("h1", `ip -s -j link show ${device}`)) as [{ stats64: { tx: { packets: number } } }])[0]
        .stats64.tx.packets;
    const before = sent();
    const output = hosts.run(`c${from}`, `ping -c4 -i0.01 -W2 -M do -s${size} ${to} || true`);
    return { answered: Number(/(\d+) received/.exec(output)?.[1]), bridged: sent() - before };
  }
  const filters = (host: string) =>
    hosts.run(
      host,
      "for d in $(ip -br link | grep -o '^s[ox][^@ ]*'); do tc filter show dev $d ingress; done | grep -o 'handle 0x1 starling_from_[tv]' | sort",
    );

  it("are carried to tasks of the same host and of another, of both families and at full size", () => {
    expect(nodes.map(({ shortcuts }) => shortcuts.frames.inUse)).toEqual([past, past]);
    for (const n of [2, 3]) {
      // Resolved again first, which is for the bridge in any case.
      hosts.run("c1", "ip neigh flush all");
      expect(pings(1, addressOf(n)).answered).toBe(4);
      expect(pings(1, address6Of(n)).answered).toBe(4);
      for (const { answered, bridged } of [pings(1, addressOf(n), 1422), pings(1, address6Of(n), 1402)]) {
        expect(answered).toBe(4);
        if (past) expect(bridged).toBeLessThan(4);
        else expect(bridged).toBeGreaterThanOrEqual(4);
      }
      expect(hosts.ask("c1", addressOf(n), 80)).toBe(`c${n} ${addressOf(1)}`);
    }
    expect(hosts.ask("c3", addressOf(1), 80)).toBe(`c1 ${addressOf(3)}`);
  });

  it("have the programs at tasks' and VXLAN devices that they need", () => {
    expect(filters("h1")).toBe(
      past ? [...Array(2).fill("handle 0x1 starling_from_t"), "handle 0x1 starling_from_v", ""].join("\n") : "",
    );
    expect(filters("h2")).toBe(past ? "handle 0x1 starling_from_t\nhandle 0x1 starling_from_v\n" : "");
  });

  it("are none of the host's, nor routed by it: what a task sends to all or to its bridge", () => {
    const bridge = bridgeOf(net);
    const mac = hosts.run("h1", `ip -o link show ${bridge}`).match(/link\/ether (\S+)/)?.[1];
    const counted = (at: string, where: string) =>
      `chain ${at} { type filter hook ${where}; iifname "${bridge}" udp dport { 4789, 7777 } counter; }`;
    const chains = [
      counted("came", "prerouting priority -400"),
      counted("taken", "input priority 100"),
      'chain routed { type filter hook postrouting priority 0; oifname "eth0" udp dport 7777 counter; }',
    ];
    hosts.run("h1", `nft 'table ip seen { ${chains.join("; ")}; }'`);
    // Frames made by hand, as a task may that opens raw sockets: to all, and to the bridge, with addresses of others.
    const frames = [
      ["ff:ff:ff:ff:ff:ff", "192.168.77.2", "192.168.77.1", 4789],
      ["ff:ff:ff:ff:ff:ff", "10.0.1.11", "192.168.77.1", 7777],
      [mac, "10.0.1.11", "192.168.77.1", 7777],
      [mac, "10.0.1.11", "192.168.77.2", 7777],
    ];
    const script = `
import json, socket, struct
def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    return ~((total & 0xffff) + (total >> 16)) & 0xffff
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind(("eth1", 0))
for mac, source, to, port in json.loads('"'"'${JSON.stringify(frames)}'"'"'):
    header = [0x45, 0, 32, 1, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(to)]
    header[7] = checksum(struct.pack("!BBHHHBBH4s4s", *header))
    datagram = struct.pack("!BBHHHBBH4s4s", *header) + struct.pack("!HHHH", 5555, port, 12, 0) + b"data"
    link.send(bytes.fromhex(mac.replace(":", "")) + link.getsockname()[4] + bytes([8, 0]) + datagram)
`;
    hosts.run("c1", `python3 -c '${script}'`);
    const listed = hosts.run("h1", "nft list table ip seen; nft delete table ip seen");
    expect([...listed.matchAll(/counter packets (\d+)/g)].map(([, packets]) => packets)).toEqual([
      past ? "2" : "4",
      "0",
      "0",
    ]);
    const asked = hosts.run(
      "c1",
      "ip route add 192.168.77.1/32 dev eth1; ping -c1 -W1 192.168.77.1 >/dev/null; ip neigh show 192.168.77.1; ip route del 192.168.77.1/32 dev eth1",
    );
    expect(asked).toMatch(/^192\.168\.77\.1 dev eth1 +(FAILED|INCOMPLETE)/);
  });

  it("follow a task to another host and back", async () => {
    for (const on of [2, 1]) {
      await nodes[2 - on]!.detach(taskOf(2));
      hosts.run("c2", "ip link del eth1 2>/dev/null; ip link del eth0 2>/dev/null; true");
      await tell(endpoint(2, on));
      await attach(2, on);
      await settled();
      for (const [from, to] of [
        [1, 2],
        [2, 1],
        [3, 2],
      ] as const)
        expect(hosts.ask(`c${from}`, addressOf(to), 80)).toBe(`c${to} ${addressOf(from)}`);
    }
  });

  it("are mended by an audit", async () => {
    /** What an audit finds after `damage`, which is done again where the node's own look came first. */
    const found = (damage: () => void, finding: string) =>
      vi.waitFor(async () => {
        damage();
        expect((await nodes[0]!.audit()).map(({ detail }) => detail)).toEqual([finding]);
      }, soon);
    const bpftool = <T>(command: string) => JSON.parse(hosts.run("h1", `bpftool -j ${command}`)) as T;
    const dropPort = () => {
      const shown = hosts.run("h1", `tc -j filter show dev ${vxlanOf(net)} ingress`);
      const [id] = (JSON.parse(shown) as readonly { options?: { prog?: { id: number } } }[]).flatMap(
        ({ options }) => options?.prog?.id ?? [],
      );
      const [map] = bpftool<{ map_ids: readonly number[] }>(`prog show id ${id}`).map_ids;
      const [entry] = bpftool<readonly { readonly key: readonly string[] }[]>(`map dump id ${map}`);
      hosts.run("h1", `bpftool map delete id ${map} key ${entry!.key.join(" ")}`);
    };
    if (past) {
      await found(
        () => hosts.run("h1", `tc filter del dev ${vxlanOf(net)} ingress`),
        "1 devices lack their eBPF program for frames of overlay networks",
      );
      await found(dropPort, "1 entries of the eBPF map ports are not as they should be");
    }
    expect(await nodes[0]!.audit()).toEqual([]);
    expect(pings(1, addressOf(3)).answered).toBe(4);
  });

  it("are judged by operators' rules, which see all of them", async () => {
    const rule = "bridge starling_user forward ip protocol icmp counter drop";
    hosts.run("h1", `nft add rule ${rule}`);
    await vi.waitFor(() => expect(nodes[0]!.shortcuts.frames.inUse).toBe(false), soon);
    for (const n of [2, 3]) expect(pings(1, addressOf(n)).answered).toBe(0);
    expect(hosts.ask("c1", addressOf(3), 80)).toBe(`c3 ${addressOf(1)}`);
    expect(filters("h1")).toBe("");
    expect(await nodes[0]!.audit()).toEqual([]);
    hosts.run("h1", "nft flush chain bridge starling_user forward");
    await vi.waitFor(() => expect(nodes[0]!.shortcuts.frames.inUse).toBe(past), soon);
    for (const n of [2, 3]) expect(pings(1, addressOf(n)).answered).toBe(4);
  });

  it("go on while swarmd is away; the next one takes them over, or away", async () => {
    for (const shortcuts of [past, false]) {
      await nodes[0]!.close();
      expect(pings(1, addressOf(3)).answered).toBe(4);
      nodes[0] = node(1, shortcuts);
      await nodes[0].receive(complete());
      await settled();
      // What tasks that nobody has attached yet had is by maps that nobody fills any more.
      expect(filters("h1")).toBe("");
      for (const n of [2, 3]) expect(pings(1, addressOf(n)).answered).toBe(4);
      for (const n of [1, 2]) await attach(n, 1);
      await settled();
      expect(nodes[0].shortcuts.frames.inUse).toBe(shortcuts);
      for (const n of [2, 3]) expect(pings(1, addressOf(n)).answered).toBe(4);
      expect(await nodes[0].audit()).toEqual([]);
    }
  });
});

describe("frames of overlay networks where the kernel allows no eBPF", () => {
  it("pass the bridges, which is logged once; who wants eBPF or nothing is told why", async () => {
    const hosts = new TestHosts(1);
    const lines: string[] = [];
    const log = createLogger({ level: "info", write: (line) => lines.push(line) });
    const node = new NodeNetwork({
      ...{ nodeId: "node1", clock: systemClock, resolvConf: "", netns: hosts.path("h1"), log },
      loadShortcuts: () => Promise.reject(new Error("bpf: load: Operation not permitted")),
    });
    try {
      await expect(node.shortcuts.frames.must()).rejects.toThrow(
        /^frames of overlay networks by eBPF: bpf: load: Operation not permitted/,
      );
      await node.receive(complete());
      for (const n of [1, 2]) {
        hosts.add(`c${n}`);
        await node.attach(task(n), { path: hosts.path(`c${n}`), pid: 0 });
      }
      expect(await node.audit()).toEqual([]);
      expect(node.shortcuts.frames.inUse).toBe(false);
      expect(lines.filter((line) => line.includes("frames of overlay networks pass their bridges"))).toHaveLength(1);
      expect(hosts.run("c1", `ping -c1 -W2 ${addressOf(2)}`)).toContain("1 received");
    } finally {
      await node.close();
      hosts.destroy();
    }
  });
});
