import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
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
  NetworkStatePort,
  NetworkStateService,
  Task,
} from "@starling/api";
import { createLogger, systemClock } from "@starling/base";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { NodeNetwork } from "./index.ts";
import { meshDevice } from "./names.ts";
import { TestHosts } from "./test-hosts.ts";

const ingress = "ingressaaaaaaaaaaaaaaaaaa";
const web = "webaaaaaaaaaaaaaaaaaaaaaa";
const taskOf = (n: number) => `task${n}aaaaaaaaaaaaaaaaaaaa`;
const addressOf = (n: number) => `10.255.0.${100 + n}`;
const update = (item: Partial<NetworkStateChange>) =>
  NetworkStateChange.create({ action: NetworkStateChange_Action.UPDATE, ...item });

/** Task 1 serves, task 2 is there and does not; both on host 2. */
const endpoint = (n: number) =>
  NetworkStateEndpoint.create({
    ...{ networkId: ingress, taskId: taskOf(n), serviceId: web, nodeId: "node2", address: addressOf(n) },
    serving: n === 1,
  });

const message = (
  changes: readonly NetworkStateChange[],
  type: NetworkStateMessage_Type = NetworkStateMessage_Type.INCREMENTAL,
) => NetworkStateMessage.create({ type, sequence: 1, changes });

const complete = (tasks: readonly number[] = [1, 2]) =>
  message(
    [
      update({
        network: NetworkStateNetwork.create({
          ...{ id: ingress, name: "ingress", vni: 4096, subnets: ["10.255.0.0/16"], ingress: true },
        }),
      }),
      ...[1, 2].map((n) =>
        update({
          node: NetworkStateNode.create({
            ...{ id: `node${n}`, underlayAddress: `192.168.77.${n}`, meshAddress: `10.255.0.${n + 1}/16` },
            hostAddresses: [`192.168.77.${n}`],
          }),
        }),
      ),
      update({
        service: NetworkStateService.create({
          ...{ id: web, name: "web" },
          ports: [NetworkStatePort.create({ protocol: 0, publishedPort: 8080, targetPort: 80 })],
        }),
      }),
      ...tasks.map((n) => update({ endpoint: endpoint(n) })),
    ],
    NetworkStateMessage_Type.COMPLETE,
  );

const task = (n: number) =>
  Task.create({
    ...{ id: taskOf(n), serviceId: web },
    networks: [
      NetworkAttachment.create({
        network: Network.create({
          id: ingress,
          spec: NetworkSpec.create({ annotations: Annotations.create({ name: "ingress" }), ingress: true }),
        }),
        addresses: [`${addressOf(n)}/16`],
      }),
    ],
  });

/** For what kernels and swarmd do beside. */
const soon = { timeout: 10_000 };

/** A server that says who asks, sends back what it gets, and of who sends "more" each 20 ms a line that nobody asked for. */
const server = `
  require("net").createServer((socket) => {
    socket.on("error", () => {});
    socket.write(socket.remoteAddress.replace("::ffff:", "") + " " + socket.remotePort + "\\n");
    socket.once("data", (first) => {
      if (String(first) === "more") setInterval(() => socket.write("more\\n"), 20);
      socket.write(first);
      socket.pipe(socket);
    });
  }).listen(80, () => console.log("ready"));`;

/** A client that does what each line of its input says, with one connection at a time, and answers with a line. */
const client = `
  const { createHash, randomBytes } = require("crypto");
  let socket;
  const say = (text) => console.log(text);
  const commands = {
    open: (address) => {
      const mine = require("net").connect(8080, address);
      socket = mine;
      mine.on("error", ({ code }) => { if (mine === socket) say(code); });
      socket.once("data", (first) => say(String(first).trim()));
    },
    echo: (size, patience = 30_000) => {
      const sent = randomBytes(Number(size));
      const received = [];
      let count = 0;
      const late = setTimeout(() => { socket.off("data", take); say("late"); }, Number(patience));
      const take = (piece) => {
        received.push(piece);
        count += piece.length;
        if (count < sent.length) return;
        clearTimeout(late);
        socket.off("data", take);
        say(Buffer.concat(received).equals(sent) ? "same" : "other");
      };
      socket.on("data", take);
      socket.write(sent);
    },
    more: () => { socket.once("data", () => say("more")); socket.write("more"); },
    write: () => socket.write("some"),
    close: () => { socket.once("close", () => say("closed")); socket.end(); socket.resume(); },
  };
  require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
    const [command, ...rest] = line.split(" ");
    commands[command](...rest);
  });`;

describe.each(["eBPF", "rules"])("connections of the routing mesh by %s", (mechanism) => {
  const past = mechanism === "eBPF";
  let hosts: TestHosts;
  let nodes: NodeNetwork[];
  let ask: (command: string) => Promise<string>;

  const node = (n: number, meshShortcuts = past) =>
    new NodeNetwork({
      ...{ nodeId: `node${n}`, clock: systemClock, resolvConf: "", netns: hosts.path(`h${n}`), meshShortcuts },
      log: createLogger({ level: "error", write: (line) => console.error(line) }),
    });
  const attach = (n: number) => nodes[1]!.attach(task(n), { path: hosts.path(`c${n}`), pid: 0 });
  const settled = async () => {
    for (const each of nodes) await each.settled();
  };
  const inUse = () => nodes.map(({ shortcuts }) => shortcuts.mesh.inUse);

  beforeAll(async () => {
    hosts = new TestHosts(2);
    nodes = [node(1), node(2)];
    await Promise.all(nodes.map((each) => each.receive(complete())));
    for (const n of [1, 2]) {
      hosts.add(`c${n}`);
      await attach(n);
    }
    await settled();
    const run = (where: string, script: string) =>
      spawn("nsenter", [`--net=${hosts.path(where)}`, process.execPath, "-e", script], {
        stdio: ["pipe", "pipe", "inherit"],
      });
    await once(run("c1", server).stdout, "data");
    const child = run("client", client);
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    ask = async (command) => {
      child.stdin.write(`${command}\n`);
      return String((await lines.next()).value);
    };
  }, 60_000);
  afterAll(async () => {
    for (const each of nodes ?? []) await each.close();
    hosts?.destroy();
  });

  /** Opens a connection by host 1. Returns the client's port. */
  async function opened(): Promise<string> {
    const [address, port = ""] = (await ask("open 192.168.77.1")).split(" ");
    expect(address).toBe("172.31.9.2");
    return port;
  }
  /** What the host's conntrack has of the client's port: seconds until it forgets, and the TCP state. */
  function tracked(host: string, port: string) {
    const text = hosts.run(host, `grep -h 'sport=${port} ' /proc/net/nf_conntrack || true`);
    const [, , , , seconds, state] =
      text
        .split("\n")
        .filter((line) => line !== "")[0]
        ?.split(/ +/) ?? [];
    return state === undefined ? undefined : { seconds: Number(seconds), state };
  }
  /** How many packets the IP layers of both hosts forwarded while `work` was done. */
  async function forwarded(work: () => Promise<void>): Promise<readonly number[]> {
    const counts = () =>
      ["h1", "h2"].map((host) => Number(hosts.run(host, "awk '/^Ip: [0-9]/ { print $7 }' /proc/net/snmp")));
    const before = counts();
    await work();
    return counts().map((count, i) => count - before[i]!);
  }

  it("carry all bytes both ways at any size, from the client's own address", async () => {
    expect(inUse()).toEqual([past, past]);
    await opened();
    // What comes first is by the rules in any case, until conntrack has seen both sides.
    expect(await ask("echo 10")).toBe("same");
    const counts = await forwarded(async () => {
      for (const size of [1, 1000, 1399, 100_000, 20_000_000]) expect(await ask(`echo ${size}`)).toBe("same");
      for (let i = 0; i < 50; i++) expect(await ask("echo 50")).toBe("same");
    });
    for (const count of counts) {
      if (past) expect(count).toBeLessThan(20);
      else expect(count).toBeGreaterThan(100);
    }
    expect(await ask("close")).toBe("closed");
  });

  it("are kept by conntrack for as long as ever, and ended with them", async () => {
    const port = await opened();
    expect(await ask("echo 5000000")).toBe("same");
    for (const host of ["h1", "h2"]) {
      await vi.waitFor(() => expect(tracked(host, port)?.seconds).toBeGreaterThan(431_000), soon);
      expect(tracked(host, port)?.state).toBe("ESTABLISHED");
    }
    expect(await ask("close")).toBe("closed");
    for (const host of ["h1", "h2"])
      await vi.waitFor(() => expect(tracked(host, port)?.state).toMatch(/^(TIME_WAIT|LAST_ACK|CLOSE)$/), soon);
  });

  it("are forgotten as soon as by the rules when the client is gone", async () => {
    const port = await opened();
    expect(await ask("more")).toBe("more");
    hosts.run("router", "ip link set c0 down");
    try {
      for (const host of ["h1", "h2"])
        await vi.waitFor(() => expect(tracked(host, port)?.seconds).toBeLessThanOrEqual(300), soon);
    } finally {
      hosts.run("router", "ip link set c0 up; ip addr show c0 | grep -q fd31 || ip addr add fd31::1/64 dev c0 nodad");
      hosts.run("client", "ip route replace default via 172.31.9.1");
    }
  });

  it("go by a task's own device alone: nobody speaks for another", async () => {
    const port = await opened();
    expect(await ask("echo 10")).toBe("same");
    hosts.run(
      "client",
      "nft 'table ip seen { chain c { type filter hook prerouting priority -400; ip id 4242 counter; }; }'",
    );
    const forged = (source: string, name: string) =>
      hosts.run(
        name,
        `python3 -c '
import socket, struct
def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    total = (total & 0xffff) + (total >> 16)
    return ~((total & 0xffff) + (total >> 16)) & 0xffff
source, to = socket.inet_aton("${source}"), socket.inet_aton("172.31.9.2")
segment = struct.pack("!HHIIBBHHH", 80, ${port}, 1, 1, 0x50, 0x10, 1000, 0, 0)
total = checksum(source + to + struct.pack("!BBH", 0, 6, len(segment)) + segment)
segment = segment[:16] + struct.pack("!H", total) + segment[18:]
header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 4242, 0, 64, 6, 0, source, to)
header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind(("eth0", 0))
link.send(bytes([0xee] * 6) + link.getsockname()[4] + bytes([8, 0]) + header + segment)
'`,
      );
    const seen = () => Number(/packets (\d+)/.exec(hosts.run("client", "nft list table ip seen"))?.[1]);
    try {
      forged(addressOf(1), "c2");
      hosts.run("c2", "ping -c1 -W2 172.31.9.2");
      expect(seen()).toBe(0);
      // That it would come through at all.
      forged(addressOf(1), "c1");
      await vi.waitFor(() => expect(seen()).toBe(1), soon);
    } finally {
      hosts.run("client", "nft delete table ip seen");
    }
  });

  it("are judged by operators' rules, which see all of them", async () => {
    await opened();
    expect(await ask("echo 10")).toBe("same");
    hosts.run("h2", "nft add rule inet starling_user forward meta l4proto tcp counter drop");
    await vi.waitFor(() => expect(inUse()).toEqual([past, false]), soon);
    expect(await ask("echo 10 2000")).toBe("late");
    hosts.run("h2", "nft flush chain inet starling_user forward");
    await vi.waitFor(() => expect(inUse()).toEqual([past, past]), soon);
    await opened();
    expect(await ask("echo 100000")).toBe("same");
  });

  it.each([
    ["IPsec", "ip xfrm policy add src 10.9.0.0/24 dst 10.9.1.0/24 dir fwd", "ip xfrm policy flush", false],
    [
      "another's programs at the network card",
      "tc qdisc add dev eth0 clsact 2>/dev/null; tc filter add dev eth0 ingress pref 30000 bpf bytecode '1,6 0 0 1' flowid 1:1",
      "tc filter del dev eth0 ingress pref 30000",
      past,
    ],
  ])("give way to %s", async (_, add, remove, stays) => {
    await opened();
    hosts.run("h1", add);
    try {
      await nodes[0]!.audit();
      expect(inUse()).toEqual([stays, past]);
      const [entry = 0] = await forwarded(async () => {
        for (let i = 0; i < 20; i++) expect(await ask("echo 50")).toBe("same");
      });
      expect(entry).toBeGreaterThanOrEqual(20);
    } finally {
      hosts.run("h1", remove);
    }
    await nodes[0]!.audit();
    expect(inUse()).toEqual([past, past]);
  });

  it("are mended by an audit", async () => {
    if (past) {
      // Again where the node's own look came first.
      await vi.waitFor(async () => {
        hosts.run("h1", `tc filter del dev ${meshDevice} ingress`);
        expect((await nodes[0]!.audit()).map(({ detail }) => detail)).toEqual([
          "1 devices lack their eBPF program for connections of the routing mesh",
        ]);
      }, soon);
    }
    expect(await nodes[0]!.audit()).toEqual([]);
    await opened();
    expect(await ask("echo 100000")).toBe("same");
  });

  it("go on while swarmd is away; the next one takes them over, or away", async () => {
    await opened();
    for (const meshShortcuts of [past, false, past]) {
      for (const n of [1, 2]) {
        await nodes[n - 1]!.close();
        expect(await ask("echo 100000")).toBe("same");
        nodes[n - 1] = node(n, meshShortcuts);
        await nodes[n - 1]!.receive(complete());
        await settled();
        expect(await ask("echo 100000")).toBe("same");
        if (n === 2) for (const each of [1, 2]) await attach(each);
        await settled();
        expect(nodes[n - 1]!.shortcuts.mesh.inUse).toBe(meshShortcuts);
        expect(await ask("echo 100000")).toBe("same");
      }
    }
    expect(await ask("close")).toBe("closed");
  });

  it("have programs while there are tasks elsewhere to reach", async () => {
    const [first] = nodes;
    await first!.close();
    nodes[0] = node(1);
    const told = async (message: NetworkStateMessage) => {
      await nodes[0]!.receive(message);
      await settled();
      expect(await nodes[0]!.audit()).toEqual([]);
      return nodes[0]!.shortcuts.mesh.inUse;
    };
    expect(await told(complete([]))).toBe(false);
    expect(hosts.run("h1", `tc filter show dev ${meshDevice} ingress`)).toBe("");
    expect(await told(message([update({ endpoint: endpoint(1) })]))).toBe(past);
    expect(await told(message([update({ endpoint: endpoint(2) })]))).toBe(past);
    await opened();
    expect(await ask("echo 10")).toBe("same");
    const [entry = 0] = await forwarded(async () => {
      for (let i = 0; i < 50; i++) expect(await ask("echo 50")).toBe("same");
    });
    if (past) expect(entry).toBeLessThan(10);
    else expect(entry).toBeGreaterThanOrEqual(100);
    expect(await ask("close")).toBe("closed");
  });

  it("end at once when their task is gone", async () => {
    await opened();
    expect(await ask("echo 10")).toBe("same");
    const gone = NetworkStateChange.create({ action: NetworkStateChange_Action.REMOVE, endpoint: endpoint(1) });
    await nodes[0]!.receive(message([gone]));
    await settled();
    expect(await ask("write")).toBe("ECONNRESET");
    await nodes[0]!.receive(message([update({ endpoint: endpoint(1) })]));
    await settled();
    await opened();
    expect(await ask("echo 10")).toBe("same");
  });
});

describe("connections of the routing mesh where the kernel allows no eBPF", () => {
  it("pass the rules, which is logged once; who wants eBPF or nothing is told why", async () => {
    const hosts = new TestHosts(1);
    const lines: string[] = [];
    const log = createLogger({ level: "info", write: (line) => lines.push(line) });
    const node = new NodeNetwork({
      ...{ nodeId: "node1", clock: systemClock, resolvConf: "", netns: hosts.path("h1"), log },
      loadShortcuts: () => Promise.reject(new Error("bpf: load: Operation not permitted")),
    });
    try {
      await expect(node.shortcuts.mesh.must()).rejects.toThrow(
        /^connections of the routing mesh by eBPF: bpf: load: Operation not permitted/,
      );
      await node.receive(complete());
      await node.settled();
      expect(await node.audit()).toEqual([]);
      expect(node.shortcuts.mesh.inUse).toBe(false);
      expect(
        lines.filter((line) => line.includes("connections of the routing mesh pass the host's rules")),
      ).toHaveLength(1);
    } finally {
      await node.close();
      hosts.destroy();
    }
  });
});
