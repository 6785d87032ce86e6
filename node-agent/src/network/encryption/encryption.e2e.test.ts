import {
  Annotations,
  Driver,
  Network,
  NetworkAttachment,
  NetworkSpec,
  NetworkStateChange,
  NetworkStateChange_Action,
  NetworkStateEndpoint,
  NetworkStateKey,
  NetworkStateMessage,
  NetworkStateMessage_Type,
  NetworkStateNetwork,
  NetworkStateNode,
  NetworkStatePort,
  NetworkStateService,
  networkKeysLabel,
  parseNetworkKeys,
  Task,
} from "@starling/api";
import { nullLogger, systemClock } from "@starling/base";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { NodeNetwork } from "../index.ts";
import { safeMesh, vxlanOf } from "../names.ts";
import { TestHosts } from "../test-hosts.ts";
import { tunnelDevice } from "./addresses.ts";
import { hostWireGuard, NoEncryption, type WireGuard } from "./wireguard.ts";

const secret = "secretaaaaaaaaaaaaaaaaaaa";
const open = "openaaaaaaaaaaaaaaaaaaaaa";
const ingress = "ingressaaaaaaaaaaaaaaaaaa";
const networks: Readonly<Record<string, string>> = { [secret]: "10.0.1", [open]: "10.0.2", [ingress]: "10.255.0" };
const nodeOf = (n: number) => `n${n}${process.pid.toString(36)}aaaaaaaaaaaaaaaa`;
const marker = "THIS-IS-THE-CLEAR-TEXT";

let hosts: TestHosts;
/** By number, from 1. */
const nodes = new Map<number, NodeNetwork>();
/** Numbers of the tasks that run; task n is on node n, and of service n: 1–3 on the encrypted network, 4–6 on the open one. */
const running = new Set<number>();
/** What a manager would keep. */
const labels = new Map<number, string>();
let sequence = 0;

const hostOf = (task: number) => ((task - 1) % 3) + 1;
const networkOf = (task: number) => (task > 3 ? open : secret);
const taskOf = (task: number) => `task${task}aaaaaaaaaaaaaaaaaaaa`;
const serviceOf = (task: number) => `service${task > 3 ? 2 : 1}aaaaaaaaaaaaaaaa`;
const overlayAddress = (task: number) => `${networks[networkOf(task)]}.${10 + task}`;
const ingressAddress = (task: number) => `10.255.0.${100 + task}`;

const update = (item: Partial<NetworkStateChange>) =>
  NetworkStateChange.create({ action: NetworkStateChange_Action.UPDATE, ...item });

/** What the managers say now. */
function complete(): NetworkStateMessage {
  const network = (id: string, vni: number) =>
    update({
      network: NetworkStateNetwork.create({
        ...{ id, vni, name: id, subnets: [`${networks[id]}.0/${id === ingress ? 16 : 24}`] },
        ...{ encrypted: id === secret, ingress: id === ingress },
      }),
    });
  const node = (n: number) =>
    update({
      node: NetworkStateNode.create({
        id: nodeOf(n),
        underlayAddress: `192.168.77.${n}`,
        meshAddress: `10.255.0.${n + 1}/16`,
        keys: parseNetworkKeys(labels.get(n) ?? "").map(NetworkStateKey.create),
      }),
    });
  const service = (task: number) =>
    update({
      service: NetworkStateService.create({
        id: serviceOf(task),
        name: serviceOf(task),
        ports: [NetworkStatePort.create({ publishedPort: task > 3 ? 8081 : 8080, targetPort: 80 })],
      }),
    });
  const endpoint = (task: number, networkId: string, address: string) =>
    update({
      endpoint: NetworkStateEndpoint.create({
        ...{ networkId, address, taskId: taskOf(task), serviceId: serviceOf(task), nodeId: nodeOf(hostOf(task)) },
        ...{ serving: true, encrypted: networkId === ingress && networkOf(task) === secret },
      }),
    });
  const tasks = [...running];
  return NetworkStateMessage.create({
    type: NetworkStateMessage_Type.COMPLETE,
    sequence: ++sequence,
    changes: [
      ...[network(secret, 4097), network(open, 4098), network(ingress, 4096)],
      ...[...nodes.keys()].map(node),
      ...[service(1), service(4)],
      ...tasks.flatMap((task) => [
        endpoint(task, networkOf(task), overlayAddress(task)),
        endpoint(task, ingress, ingressAddress(task)),
      ]),
    ],
  });
}

const publish = () => Promise.all([...nodes.values()].map((node) => node.receive(complete())));

function task(n: number): Task {
  const attachment = (id: string, address: string) =>
    NetworkAttachment.create({
      network: Network.create({
        id,
        spec: NetworkSpec.create({
          annotations: Annotations.create({ name: id.slice(0, 6) }),
          ingress: id === ingress,
          driverConfig: Driver.create({ name: "overlay", options: id === secret ? { encrypted: "" } : {} }),
        }),
      }),
      addresses: [address],
    });
  return Task.create({
    id: taskOf(n),
    serviceId: serviceOf(n),
    networks: [attachment(ingress, `${ingressAddress(n)}/16`), attachment(networkOf(n), `${overlayAddress(n)}/24`)],
  });
}

/** A node whose keys reach the others as they would through managers. */
function startNode(n: number, wireguard?: WireGuard): NodeNetwork {
  const node = new NodeNetwork({
    nodeId: nodeOf(n),
    clock: systemClock,
    log: nullLogger,
    resolvConf: "",
    netns: hosts.path(`h${n}`),
    // An emulated machine's nodes take longer to hear of a key.
    keys: { retireAfterMs: 300 * Number(process.env["STARLING_PACE"] ?? 1) },
    ...(wireguard === undefined ? {} : { wireguard }),
  });
  node.onLabels = () => {
    const told = node.labels[networkKeysLabel] ?? "";
    if (labels.get(n) === told) return;
    labels.set(n, told);
    void publish();
  };
  nodes.set(n, node);
  return node;
}

async function startTask(n: number): Promise<void> {
  running.add(n);
  hosts.add(`c${n}`);
  await publish();
  await nodes.get(hostOf(n))!.attach(task(n), { path: hosts.path(`c${n}`), pid: 0 });
  await hosts.serve(`c${n}`, 80, `${marker}-${n}`);
}

const wg = (n: number, slot: 0 | 1, what: string) =>
  hosts.run(`h${n}`, `wg show ${tunnelDevice(nodeOf(n), slot)} ${what}`).trim();

/** What `from` gets from task `to`, and what was seen of that on the wire of `host`. */
async function askAndCapture(host: number, from: string, address: string, port = 80) {
  const end = await hosts.capture(`h${host}`);
  const answer = hosts.ask(from, address, port);
  return { answer, seen: (await end()).includes(marker) };
}

beforeAll(async () => {
  hosts = new TestHosts(3);
  for (const n of [1, 2, 3]) startNode(n);
  for (const n of [4, 5]) await startTask(n);
}, 60_000);

afterAll(async () => {
  for (const node of nodes.values()) await node.close();
  hosts?.destroy();
});

describe("an encrypted network", () => {
  it("shows nothing on the wire, from the first packet on, where an open one shows all", async () => {
    const control = await askAndCapture(2, "c4", overlayAddress(5));
    expect(control).toEqual({ answer: `${marker}-5 ${overlayAddress(4)}`, seen: true });

    const end = await hosts.capture("h2");
    for (const n of [1, 2]) await startTask(n);
    expect(hosts.ask("c1", overlayAddress(2), 80)).toBe(`${marker}-2 ${overlayAddress(1)}`);
    expect(hosts.askDatagrams("c1", overlayAddress(2), 80, [5000])).toEqual([`${marker}-2`]);
    const pattern = Buffer.from(marker.slice(0, 16)).toString("hex");
    expect(hosts.run("c2", `ping -c2 -i0.2 -p ${pattern} ${overlayAddress(1)}`)).toContain("2 received");
    const bytes = await end();
    expect(bytes.length).toBeGreaterThan(1_000);
    expect(bytes.includes(marker.slice(0, 16))).toBe(false);
  });

  it("carries packets of the interfaces' full size", () => {
    const [{ mtu }] = JSON.parse(hosts.run("c1", "ip -j link show eth1")) as [{ mtu: number }];
    expect(mtu).toBe(1350);
    expect(hosts.run("c1", `ping -c1 -W2 -s ${mtu - 28} -M do ${overlayAddress(2)}`)).toContain("1 received");
  });

  it("has full packets wait for the next, to go on as one, behind tunnels and nowhere else", () => {
    const wait = (prefix: string) => `cat /sys/class/net/${prefix}*/gro_flush_timeout`;
    const inOwnSysfs = (command: string) => hosts.run("h1", `unshare -m sh -c 'mount -t sysfs sysfs /sys; ${command}'`);
    expect(inOwnSysfs(`${wait("sx-secret")} ${wait("starling-safe").slice(4)}`)).toBe("100000\n100000\n");
    expect(inOwnSysfs(wait("starling-mesh"))).toBe("0\n");
  });

  it("has its published ports' packets between nodes encrypted, the client's address kept, and an open one's not", async () => {
    expect(await askAndCapture(2, "client", "192.168.77.3", 8081)).toMatchObject({ seen: expect.any(Boolean) });
    const through = async (port: number, ends: string) => {
      for (let i = 0; i < 40; i++) {
        const { answer, seen } = await askAndCapture(2, "client", "192.168.77.3", port);
        if (answer.startsWith(ends)) return { answer, seen };
      }
      throw new Error(`no answer of ${ends}`);
    };
    expect(await through(8081, `${marker}-5`)).toEqual({ answer: `${marker}-5 172.31.9.2`, seen: true });
    expect(await through(8080, `${marker}-2`)).toEqual({ answer: `${marker}-2 172.31.9.2`, seen: false });
    expect(hosts.run("h3", `ip -o link show ${safeMesh.device}`)).toContain("mtu 1350");
    expect(hosts.ask("h3", "127.0.0.1", 8080)).toContain(marker);
  });

  it("is as the managers say on every node", async () => {
    for (const node of nodes.values()) expect(await node.audit()).toEqual([]);
    const [peer] = parseNetworkKeys(labels.get(2)!);
    hosts.run("h1", `wg set ${tunnelDevice(nodeOf(1), 0)} peer ${peer!.publicKey} remove`);
    const found = await nodes.get(1)!.audit({ repair: false });
    expect(found).toEqual([{ subject: "encryption", detail: expect.stringContaining(`node ${nodeOf(2)}) of sw0-`) }]);
    await nodes.get(1)!.audit();
    expect(hosts.ask("c1", overlayAddress(2), 80)).toContain(`${marker}-2`);
  });

  it("takes nothing that comes in the clear", async () => {
    const device = "clear0";
    hosts.run("h1", "ip addr add fd99::1/64 dev eth0 nodad");
    // A host of the underlay speaks VXLAN to node 1's network without a tunnel.
    hosts.run(
      "h3",
      `ip addr add fd99::3/64 dev eth0 nodad; ip link add ${device} type vxlan id 4097 dstport 789 local fd99::3 nolearning udp6zerocsumtx udp6zerocsumrx; ip addr add 10.0.1.99/24 dev ${device}; ip link set ${device} up;
       ip neigh add ${overlayAddress(1)} lladdr 02:42:0a:00:01:0b dev ${device} nud permanent; bridge fdb add 02:42:0a:00:01:0b dev ${device} dst fd99::1 self permanent`,
    );
    const statistics = () =>
      JSON.parse(hosts.run("c1", "ip -j -s link show eth1")) as [{ stats64: { rx: { packets: number } } }];
    const seen = () => statistics()[0].stats64.rx.packets;
    const attack = () => {
      const before = seen();
      hosts.run("h3", `ping -c2 -i0.2 -W1 ${overlayAddress(1)} || true`);
      return seen() - before;
    };
    // It would work but for the guard.
    hosts.run("h1", "nft flush chain inet starling c_input");
    expect(attack()).toBe(2);
    await nodes.get(1)!.audit();
    expect(attack()).toBe(0);
    hosts.run("h3", `ip link del ${device}`);
  });
});

describe("keys", () => {
  it("are rotated without losing a packet", async () => {
    const before = labels.get(1)!;
    const stream = `
      const dgram = require("dgram"); const socket = dgram.createSocket("udp4"); let sent = 0, got = 0;
      socket.on("message", () => got++);
      const timer = setInterval(() => { sent++; socket.send("?", 80, "${overlayAddress(2)}"); }, 2);
      process.stdin.resume(); process.stdin.on("end", () => { clearInterval(timer); setTimeout(() => { console.log(sent, got); process.exit(); }, 500); });`;
    const done = hosts.start("c1", ["node", "-e", stream]);
    await nodes.get(1)!.rotateKeys();
    await vi.waitFor(() => expect(parseNetworkKeys(labels.get(1)!)).toHaveLength(2));
    await vi.waitFor(() => expect(labels.get(1)!.startsWith(before)).toBe(false), { timeout: 15_000 });
    await vi.waitFor(() => expect(parseNetworkKeys(labels.get(1)!)).toHaveLength(1), { timeout: 5_000 });
    await vi.waitFor(() => expect(() => wg(1, 0, "public-key")).toThrow());
    expect(labels.get(1)).toContain(wg(1, 1, "public-key"));
    await vi.waitFor(() => expect(wg(2, 0, "peers")).not.toContain(before.split("/").slice(1).join("/")));
    const [sent, got] = (await done()).split(" ").map(Number);
    expect(sent).toBeGreaterThan(100);
    expect(got).toBe(sent);
  });

  it("stay with whoever serves them when the node's process starts anew, and packets go on", async () => {
    const pids = () => hosts.run("h1", "pgrep -x wireguard-go --ns $$ --nslist net | sort").trim();
    const before = { pids: pids(), label: labels.get(1) };
    await nodes.get(1)!.close();
    expect(hosts.ask("c1", overlayAddress(2), 80)).toContain(marker);
    await startNode(1).receive(complete());
    expect(hosts.ask("c1", overlayAddress(2), 80)).toContain(marker);
    await nodes.get(1)!.attach(task(1), { path: hosts.path("c1"), pid: 0 });
    await nodes.get(1)!.attach(task(4), { path: hosts.path("c4"), pid: 0 });
    expect(await nodes.get(1)!.audit()).toEqual([]);
    expect({ pids: pids(), label: labels.get(1) }).toEqual(before);
  });

  it("are served again when what serves them goes, and nothing goes in the clear meanwhile", async () => {
    const end = await hosts.capture("h1");
    const key = wg(1, 1, "public-key");
    // The kernel's WireGuard has no process: only its device can go.
    hosts.run("h1", `pkill -KILL -x wireguard-go --ns $$ --nslist net || ip link del ${tunnelDevice(nodeOf(1), 1)}`);
    expect(() => hosts.run("c1", `timeout 1 bash -c 'exec 3<>/dev/tcp/${overlayAddress(2)}/80'`)).toThrow();
    await vi.waitFor(() => expect(wg(1, 1, "latest-handshakes")).toMatch(/\t[1-9]/), { timeout: 15_000, interval: 50 });
    await nodes.get(1)!.audit();
    expect(wg(1, 1, "public-key")).toBe(key);
    expect(hosts.ask("c1", overlayAddress(2), 80)).toContain(marker);
    expect((await end()).includes(marker)).toBe(false);
  });

  it("are revoked with their node", async () => {
    await startTask(3);
    expect(hosts.ask("c3", overlayAddress(1), 80)).toContain(marker);
    const key = wg(3, 0, "public-key");
    expect(wg(1, 1, "peers")).toContain(key);
    const removed = nodes.get(3)!;
    nodes.delete(3);
    running.delete(3);
    await publish();
    await vi.waitFor(() => expect(wg(1, 1, "peers")).not.toContain(key));
    expect(() => hosts.run("c3", `timeout 2 bash -c 'exec 3<>/dev/tcp/${overlayAddress(1)}/80'`)).toThrow();
    await removed.close();
  });
});

describe("a node that cannot encrypt", () => {
  it("says so, and its tasks don't start", async () => {
    const reason = "wireguard-go is not installed: install Debian's package wireguard-go, or a kernel with WireGuard";
    const without = { ...hostWireGuard(hosts.path("h3")), create: () => Promise.reject(new NoEncryption(reason)) };
    hosts.run("h3", `ip link del ${tunnelDevice(nodeOf(3), 0)}`);
    labels.delete(3);
    startNode(3, without);
    running.add(3);
    await publish();
    hosts.add("c3b");
    const attach = nodes.get(3)!.attach(task(3), { path: hosts.path("c3b"), pid: 0 });
    await expect(attach).rejects.toThrow(`network secret: encryption can't be set up: ${reason}`);
    await expect(attach).rejects.toMatchObject({ name: "FatalTaskError" });
    expect(hosts.run("c3b", "ip -o link")).not.toContain("eth");
    // Its port leads to no other node's tasks, only to the one that it ran before.
    const answers = Array.from({ length: 12 }, () => hosts.ask("client", "192.168.77.3", 8080).split(" ")[0]);
    expect(new Set(answers)).toEqual(new Set([`${marker}-3`]));
  });
});

describe("when the last encrypted network leaves a node", () => {
  it("leaves no device, process or rule there", async () => {
    for (const n of [1, 2]) {
      running.delete(n);
      await nodes.get(n)!.detach(taskOf(n));
    }
    running.delete(3);
    await publish();
    for (const n of [1, 2]) {
      await vi.waitFor(() => expect(hosts.run(`h${n}`, "ip -o link")).not.toMatch(/sw[01]-|starling-safe/));
      expect(hosts.run(`h${n}`, "ip rule; ip -6 route")).not.toMatch(/4097|fd53:7461:726c/);
      await vi.waitFor(() => expect(hosts.run(`h${n}`, "pgrep -x wireguard-go --ns $$ --nslist net || true")).toBe(""));
      expect(hosts.run(`h${n}`, "ip -o link")).not.toContain(vxlanOf(secret));
      expect(await nodes.get(n)!.audit()).toEqual([]);
      expect(labels.get(n)).toBe("");
    }
  });
});
