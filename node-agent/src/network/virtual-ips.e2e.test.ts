import { existsSync, mkdtempSync, rmdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
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
  NetworkStateService,
  NetworkStateService_Balance,
  NetworkStateServiceNetwork,
  Task,
} from "@starling/api";
import { createLogger, systemClock } from "@starling/base";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { NodeNetwork } from "./index.ts";
import { makeCgroup, TestHosts } from "./test-hosts.ts";

const net = "net1aaaaaaaaaaaaaaaaaaaaa";
const virtualIp = "10.0.1.2";
const taskOf = (n: number) => `task${n}aaaaaaaaaaaaaaaaaaaa`;
/** So many that none of three tasks is missed by chance: once in four million times. */
const clients = 40;
const addressOf = (n: number) => `10.0.1.${10 + n}`;
const update = (item: Partial<NetworkStateChange>) =>
  NetworkStateChange.create({ action: NetworkStateChange_Action.UPDATE, ...item });

const endpoint = (n: number, serving = true) =>
  update({
    endpoint: NetworkStateEndpoint.create({
      ...{ networkId: net, taskId: taskOf(n), serviceId: "web", serving, names: [] },
      ...{ nodeId: `node${n === 3 ? 2 : 1}`, address: addressOf(n), address6: `fd01::${10 + n}` },
    }),
  });

const service = (balance: NetworkStateService_Balance = NetworkStateService_Balance.RANDOM) => {
  const networks = [NetworkStateServiceNetwork.create({ networkId: net, virtualIp, virtualIp6: "fd01::2" })];
  return update({ service: NetworkStateService.create({ id: "web", name: "web", networks, balance }) });
};

const message = (
  changes: readonly NetworkStateChange[],
  type: NetworkStateMessage_Type = NetworkStateMessage_Type.INCREMENTAL,
) => NetworkStateMessage.create({ type, sequence: 1, changes });

const complete = () =>
  message(
    [
      update({
        network: NetworkStateNetwork.create({
          ...{ id: net, name: "front", vni: 4097, subnets: ["10.0.1.0/24", "fd01::/64"] },
        }),
      }),
      ...[1, 2].map((n) =>
        update({ node: NetworkStateNode.create({ id: `node${n}`, underlayAddress: `192.168.77.${n}` }) }),
      ),
      service(),
      ...[1, 2, 3].map((n) => endpoint(n)),
    ],
    NetworkStateMessage_Type.COMPLETE,
  );

const task = (n: number) =>
  Task.create({
    ...{ id: taskOf(n), serviceId: "web" },
    networks: [
      NetworkAttachment.create({
        network: Network.create({
          id: net,
          spec: NetworkSpec.create({ annotations: Annotations.create({ name: "front" }) }),
        }),
        addresses: [`${addressOf(n)}/24`, `fd01::${10 + n}/64`],
      }),
    ],
  });

/** Tasks 1 and 2 on a host, 3 on another; asked from 1. */
describe.each(["nftables", "eBPF"])("virtual IPs by %s", (mechanism) => {
  let hosts: TestHosts;
  let cgroup: string;
  let nodes: NodeNetwork[];
  const logged: string[] = [];
  const folder = mkdtempSync(join(tmpdir(), "starling-vip-"));
  let marks = 0;
  const node = (n: number, connectTime = mechanism === "eBPF") =>
    new NodeNetwork({
      ...{ nodeId: `node${n}`, clock: systemClock, resolvConf: "", netns: hosts.path(`h${n}`) },
      log: createLogger({ level: "info", write: (line) => logged.push(line) }),
      ...{ cgroup, connectTime },
    });
  /** Programs of connect time at the group, of attach types `kind`: one of each host. */
  function programsAt(kind = /inet4_connect|connect4/) {
    type Program = { readonly id: number; readonly name: string; readonly attach_type: string };
    const all = JSON.parse(hosts.run("h1", `bpftool -j cgroup show ${cgroup}`).trim() || "[]") as [
      Program,
      ...Program[],
    ];
    return all.filter(({ attach_type: type }) => kind.test(type)) as [Program, ...Program[]];
  }
  const bpftool = <T>(command: string) => JSON.parse(hosts.run("h1", `bpftool -j ${command}`)) as T;
  /** Removes a slot of the maps of a program. */
  function removeSlot(program: number): void {
    const { map_ids: ids } = bpftool<{ map_ids: readonly number[] }>(`prog show id ${program}`);
    const slots = ids.find((id) => bpftool<{ name: string }>(`map show id ${id}`).name === "slots");
    const [slot] = bpftool<readonly { readonly key: readonly string[] }[]>(`map dump id ${slots}`);
    hosts.run("h1", `bpftool map delete id ${slots} key ${slot!.key.join(" ")}`);
  }
  const programs = () => hosts.run("h1", `bpftool cgroup show ${cgroup} | grep -c starling_ || true`).trim();

  beforeAll(async () => {
    cgroup = makeCgroup();
    hosts = new TestHosts(2, cgroup);
    nodes = [node(1), node(2)];
    await Promise.all(nodes.map((each) => each.receive(complete())));
    for (const n of [1, 2, 3]) {
      hosts.add(`c${n}`);
      await nodes[n === 3 ? 1 : 0]!.attach(task(n), { path: hosts.path(`c${n}`), pid: 0 });
      await hosts.serve(`c${n}`, 80);
    }
    // Until programs are loaded the tables do it: audits wait for them.
    await Promise.all(nodes.map((each) => each.audit()));
  }, 60_000);
  afterAll(async () => {
    for (const each of nodes ?? []) await each.close();
    hosts?.destroy();
    rmdirSync(cgroup);
    rmSync(folder, { recursive: true });
  });

  const tell = (...changes: NetworkStateChange[]) =>
    Promise.all(nodes.map((each) => each.receive(message(changes)).then(() => each.settled())));

  /** What `clients` in task 1 see, each a socket of its own: `server address` and the address that they think they talk to. */
  function asked(kind: "tcp" | "connected udp" | "udp", to = virtualIp, options = { outside: false }) {
    const family = to.includes(":") && !to.startsWith("::ffff:") ? "udp6" : "udp4";
    const script = `
      const all = Array.from({ length: ${clients} }, () => new Promise((resolve) => {
        const done = (answer, peer) => resolve([String(answer).trim().split(" ")[0], peer]);
        if (${kind === "tcp"}) {
          const socket = require("net").connect(80, "${to}");
          socket.on("error", (error) => done(error.code, ""));
          socket.on("data", (data) => done(data, socket.remoteAddress));
          return;
        }
        const socket = require("dgram").createSocket("${family}");
        socket.on("error", (error) => done(error.code, ""));
        socket.on("message", (data, { address }) => done(data, address));
        if (${kind === "udp"}) socket.send("?", 80, "${to}");
        else socket.connect(80, "${to}", () => socket.send("?"));
        setTimeout(() => done("nobody", ""), 3000).unref();
      }));
      Promise.all(all).then((answers) => { console.log(JSON.stringify(answers)); process.exit(); });`;
    const answers = JSON.parse(hosts.run("c1", `'${process.execPath}' -e '${script}'`, options)) as [string, string][];
    const some = (place: 0 | 1) => [...new Set(answers.map((answer) => answer[place]))].sort();
    return { servers: some(0), peers: some(1) };
  }

  it("are by that mechanism, which the log names", () => {
    expect(programs()).toBe(mechanism === "eBPF" ? "8" : "0");
    expect(logged.filter((line) => line.includes("virtual IPs of TCP by eBPF"))).toHaveLength(
      mechanism === "eBPF" ? 2 : 0,
    );
    expect(nodes.map(({ usesConnectTime }) => usesConnectTime)).toEqual(Array(2).fill(mechanism === "eBPF"));
    hosts.run("c1", "conntrack -F 2>&1");
    for (const to of [virtualIp, "fd01::2"]) {
      asked("tcp", to);
      const family = to.includes(":") ? "ipv6" : "ipv4";
      const translated = hosts.run("c1", `conntrack -L -f ${family} -p tcp -d ${to} 2>/dev/null | wc -l`).trim();
      expect(translated).toBe(mechanism === "eBPF" ? "0" : String(clients));
    }
  });

  it.each(["tcp", "udp"] as const)("lead %s of programs that entered a task's network from elsewhere, too", (kind) => {
    expect(asked(kind, virtualIp, { outside: true })).toEqual({ servers: ["c1", "c2", "c3"], peers: [virtualIp] });
  });

  it.each(["tcp", "connected udp", "udp"] as const)("lead %s to all tasks, and show as the peer", (kind) => {
    expect(asked(kind)).toEqual({ servers: ["c1", "c2", "c3"], peers: [virtualIp] });
  });

  it("lead TCP over IPv6, and of sockets of both families", () => {
    expect(asked("tcp", "fd01::2")).toEqual({ servers: ["c1", "c2", "c3"], peers: ["fd01::2"] });
    expect(asked("tcp", `::ffff:${virtualIp}`)).toEqual({
      servers: ["c1", "c2", "c3"],
      peers: [`::ffff:${virtualIp}`],
    });
  });

  it("keep the client's address, and answer echo requests", () => {
    expect(hosts.ask("c1", virtualIp, 80)).toMatch(/ 10\.0\.1\.11$/);
    expect(hosts.run("c1", `ping -c1 -W2 ${virtualIp}; ping -c1 -W2 fd01::2`).match(/1 received/g)).toHaveLength(2);
  });

  it("stay with one task for a client where that is asked for", async () => {
    await tell(service(NetworkStateService_Balance.SOURCE));
    // A datagram from a port that was used before would belong to what that one's connection was led to.
    hosts.run("c1", "conntrack -F 2>&1");
    for (const kind of ["tcp", "udp"] as const) expect(asked(kind).servers).toHaveLength(1);
    await tell(service());
    expect(asked("tcp").servers).toEqual(["c1", "c2", "c3"]);
  });

  /** Starts a script in task 1 that calls `ready()`; resolves then. What it resolves to ends the script's input and gives its output. */
  async function started(script: string): Promise<() => Promise<string>> {
    const mark = join(folder, `ready-${marks++}`);
    const end = hosts.start("c1", [
      "node",
      "-e",
      `const ready = () => require("fs").writeFileSync("${mark}", ""); ${script}`,
    ]);
    while (!existsSync(mark)) await new Promise((resolve) => setTimeout(resolve, 5));
    return end;
  }

  /** Sockets of both families, connected and not, in task 1, that have an answer to a datagram; then what each is answered to another. */
  async function datagramSockets(): Promise<() => Promise<readonly string[]>> {
    const asks = Array.from({ length: 12 }, (_, n) => {
      const [type, to] = n % 4 < 2 ? ["udp4", virtualIp] : ["udp6", "fd01::2"];
      return started(`
        const socket = require("dgram").createSocket("${type}");
        const send = () => ${n % 2 ? `socket.send("?")` : `socket.send("?", 80, "${to}")`};
        socket.once("message", () => {
          ready();
          process.stdin.on("end", () => {
            socket.on("message", (answer) => { console.log(String(answer)); process.exit(); });
            send();
          }).resume();
        });
        ${n % 2 ? `socket.connect(80, "${to}", send)` : "send()"};`);
    });
    const all = await Promise.all(asks);
    return () => Promise.all(all.map((end) => end()));
  }

  it("lead no new connection to a task that leaves; sockets that send datagrams turn to others", async () => {
    const answers = await datagramSockets();
    await tell(endpoint(3, false));
    for (const kind of ["tcp", "udp"] as const) expect(asked(kind).servers).toEqual(["c1", "c2"]);
    for (const answer of await answers()) expect(answer).toMatch(/^c[12] /);
    await tell(endpoint(3));
    expect(asked("tcp").servers).toEqual(["c1", "c2", "c3"]);
  });

  it("are refused at once while no task serves", async () => {
    await tell(...[1, 2, 3].map((n) => endpoint(n, false)));
    expect(asked("tcp").servers).toEqual(["ECONNREFUSED"]);
    await tell(...[1, 2, 3].map((n) => endpoint(n)));
  });

  it("reset connections to a task that is gone", async () => {
    await tell(endpoint(1, false), endpoint(2, false));
    const end = await started(`
      const socket = require("net").connect({ port: 80, host: "${virtualIp}", allowHalfOpen: true });
      socket.once("data", (answer) => { console.log(String(answer)); ready(); });
      socket.on("error", ({ code }) => { console.log(code); process.exit(); });
      process.stdin.on("end", () => { socket.write("more"); setTimeout(() => socket.write("more"), 100); }).resume();
      setTimeout(() => { console.log("nothing"); process.exit(); }, 8000);`);
    await tell({ ...endpoint(3, false), action: NetworkStateChange_Action.REMOVE });
    await tell(endpoint(1), endpoint(2));
    expect(await end()).toMatch(/^c3 .*(ECONNRESET|EPIPE)$/s);
    await tell(endpoint(3));
  });

  it("are mended by an audit", async () => {
    if (mechanism === "eBPF") {
      const [{ id }] = programsAt();
      hosts.run("h1", `bpftool cgroup detach ${cgroup} connect4 id ${id}`);
      const found = await Promise.all(nodes.map((each) => each.audit()));
      expect(found.flat().map(({ detail }) => detail)).toEqual(["eBPF programs for virtual IPs are not attached"]);
      for (const program of programsAt()) removeSlot(program.id);
      const mended = await Promise.all(nodes.map((each) => each.audit()));
      expect(mended.flat().map(({ detail }) => detail)).toEqual(
        Array(2).fill("1 entries of the eBPF map slots are not as they should be"),
      );
    } else {
      hosts.run("c1", "nft flush map ip starling backends");
      expect((await nodes[0]!.audit()).map(({ detail }) => detail)).toEqual([
        expect.stringMatching(/set backends lacks/),
      ]);
    }
    expect(asked("tcp").servers).toEqual(["c1", "c2", "c3"]);
    expect(await nodes[0]!.audit()).toEqual([]);
  });

  it("go on while swarmd is away, and are taken over by the next, which knows who left meanwhile", async () => {
    const answers = await datagramSockets();
    await nodes[0]!.close();
    expect(asked("tcp").servers).toEqual(["c1", "c2", "c3"]);
    nodes[0] = node(1);
    await nodes[0].receive(message([...complete().changes, endpoint(2, false)], NetworkStateMessage_Type.COMPLETE));
    for (const n of [1, 2]) await nodes[0].attach(task(n), { path: hosts.path(`c${n}`), pid: 0 });
    await nodes[0].settled();
    for (const answer of await answers()) expect(answer).toMatch(/^c[13] /);
    expect(asked("tcp").servers).toEqual(["c1", "c3"]);
    expect(await nodes[0].audit()).toEqual([]);
    expect(programs()).toBe(mechanism === "eBPF" ? "8" : "0");
  });

  it("are by tables once programs are gone, and when the next swarmd is told to have none", async () => {
    await tell(endpoint(2));
    for (const { id, attach_type: type } of programsAt(/./))
      hosts.run("h1", `bpftool cgroup detach ${cgroup} ${type} id ${id}`);
    expect(programs()).toBe("0");
    expect(asked("tcp")).toEqual({ servers: ["c1", "c2", "c3"], peers: [virtualIp] });
    await Promise.all(nodes.map((each) => each.audit()));
    expect(programs()).toBe(mechanism === "eBPF" ? "8" : "0");
    await nodes[0]!.close();
    nodes[0] = node(1, false);
    await nodes[0].receive(complete());
    expect(programs()).toBe(mechanism === "eBPF" ? "4" : "0");
    expect(asked("tcp").servers).toEqual(["c1", "c2", "c3"]);
    for (const n of [1, 2]) await nodes[0].attach(task(n), { path: hosts.path(`c${n}`), pid: 0 });
  });

  it("leave nothing when the last task is gone", async () => {
    for (const n of [1, 2, 3]) await nodes[n === 3 ? 1 : 0]!.detach(taskOf(n));
    expect(programs()).toBe("0");
  });
});

describe("virtual IPs where the kernel allows no eBPF", () => {
  it("are by nftables alone, which is logged once; who wants eBPF or nothing is told why", async () => {
    const folder = mkdtempSync(join(tmpdir(), "starling-vip-"));
    const hosts = new TestHosts(1);
    const lines: string[] = [];
    const log = createLogger({ level: "info", write: (line) => lines.push(line) });
    const options = { nodeId: "node1", clock: systemClock, resolvConf: "", netns: hosts.path("h1") };
    // Programs can't be at what is no group.
    const node = new NodeNetwork({ ...options, log, cgroup: folder });
    try {
      await node.receive(complete());
      for (const n of [1, 2]) {
        hosts.add(`c${n}`);
        await node.attach(task(n), { path: hosts.path(`c${n}`), pid: 0 });
      }
      expect(await node.audit()).toEqual([]);
      expect(node.usesConnectTime).toBe(false);
      expect(lines.filter((line) => line.includes("virtual IPs by nftables alone"))).toHaveLength(1);
      expect(hosts.run("c1", "nft list map ip starling backends")).toMatch(/10\.0\.1\.13/);
      await expect(node.mustUseConnectTime()).rejects.toThrow(/^virtual IPs by eBPF: bpf: /);
    } finally {
      await node.close();
      hosts.destroy();
      rmSync(folder, { recursive: true });
    }
  });
});
