import {
  Annotations,
  Endpoint,
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
  type NetworkStateReport,
  NetworkStateService,
  NetworkStateService_Balance,
  NetworkStateServiceNetwork,
  PortConfig,
  PortConfig_PublishMode,
  Task,
} from "@starling/api";
import { createLogger, nullLogger, systemClock } from "@starling/base";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { NodeNetwork } from "./index.ts";
import { bridgeOf, meshAddress6, meshDevice, portOf, vxlanOf } from "./names.ts";
import { TestHosts } from "./test-hosts.ts";

const net = "net1aaaaaaaaaaaaaaaaaaaaa";
const ingress = "ingressaaaaaaaaaaaaaaaaaa";
const web = "webaaaaaaaaaaaaaaaaaaaaaa";

let hosts: TestHosts;
let nodes: NodeNetwork[];
const taskOf = (n: number) => `task${n}aaaaaaaaaaaaaaaaaaaa`;
const overlayAddress = (n: number) => `10.0.1.${10 + n}`;
const ingressAddress = (n: number) => `10.255.0.${100 + n}`;

const update = (item: Partial<NetworkStateChange>) =>
  NetworkStateChange.create({ action: NetworkStateChange_Action.UPDATE, ...item });

function endpoint(n: number, networkId: string, address: string, serving = true): NetworkStateChange {
  return update({
    endpoint: NetworkStateEndpoint.create({
      networkId,
      taskId: taskOf(n),
      serviceId: web,
      nodeId: `node${n}`,
      address,
      serving,
      names: networkId === net ? [`web.${n}`] : [],
    }),
  });
}

function complete(): NetworkStateMessage {
  return NetworkStateMessage.create({
    type: NetworkStateMessage_Type.COMPLETE,
    sequence: 1,
    changes: [
      update({ network: NetworkStateNetwork.create({ id: net, name: "front", vni: 4097, subnets: ["10.0.1.0/24"] }) }),
      update({
        network: NetworkStateNetwork.create({
          id: ingress,
          name: "ingress",
          vni: 4096,
          subnets: ["10.255.0.0/16"],
          ingress: true,
        }),
      }),
      ...[1, 2, 3].map((n) =>
        update({
          node: NetworkStateNode.create({
            id: `node${n}`,
            underlayAddress: `192.168.77.${n}`,
            meshAddress: `10.255.0.${n + 1}/16`,
            hostAddresses: [`192.168.77.${n}`, `fd77::${n}`],
          }),
        }),
      ),
      update({
        service: NetworkStateService.create({
          id: web,
          name: "web",
          networks: [NetworkStateServiceNetwork.create({ networkId: net, virtualIp: "10.0.1.2", aliases: ["www"] })],
          ports: [0, 1].map((protocol) => NetworkStatePort.create({ protocol, publishedPort: 8080, targetPort: 80 })),
        }),
      }),
      ...[1, 2, 3].flatMap((n) => [endpoint(n, net, overlayAddress(n)), endpoint(n, ingress, ingressAddress(n))]),
    ],
  });
}

function task(n: number): Task {
  const attachment = (id: string, name: string, address: string, isIngress: boolean) =>
    NetworkAttachment.create({
      network: Network.create({
        id,
        spec: NetworkSpec.create({ annotations: Annotations.create({ name }), ingress: isIngress }),
      }),
      addresses: [address],
    });
  return Task.create({
    id: taskOf(n),
    serviceId: web,
    networks: [
      attachment(ingress, "ingress", `${ingressAddress(n)}/16`, true),
      attachment(net, "front", `${overlayAddress(n)}/24`, false),
    ],
    endpoint: Endpoint.create({
      ports:
        n === 1
          ? [PortConfig.create({ targetPort: 80, publishedPort: 9090, publishMode: PortConfig_PublishMode.HOST })]
          : [],
    }),
  });
}

function nodeNetwork(n: number): NodeNetwork {
  return new NodeNetwork({
    nodeId: `node${n}`,
    clock: systemClock,
    log: nullLogger,
    resolvConf: "",
    netns: hosts.path(`h${n}`),
  });
}

beforeAll(async () => {
  hosts = new TestHosts(4);
  nodes = [1, 2, 3].map(nodeNetwork);
  await Promise.all(nodes.map((node) => node.receive(complete())));
  for (const n of [1, 2, 3]) hosts.add(`c${n}`);
  await Promise.all(nodes.map((node, i) => node.attach(task(i + 1), { path: hosts.path(`c${i + 1}`), pid: 0 })));
  await Promise.all([...[1, 2, 3].map((n) => hosts.serve(`c${n}`, 80)), hosts.serve("client", 7000)]);
}, 60_000);

afterAll(async () => {
  for (const node of nodes ?? []) await node.close();
  hosts?.destroy();
});

/** Names of the servers that answered `times` connections, and the addresses that they saw. */
function asked(from: string, address: string, port: number, times = 24) {
  const answers = Array.from({ length: times }, () => hosts.ask(from, address, port).split(" "));
  return {
    servers: [...new Set(answers.map(([server]) => server))].sort(),
    clients: [...new Set(answers.map(([, client]) => client))].sort(),
  };
}

describe("overlay", () => {
  it("carries packets between tasks of different hosts, at the full size", () => {
    expect(hosts.run("c1", "ping -c1 -W2 -s 1422 -M do 10.0.1.12")).toContain("1 received");
    expect(hosts.ask("c1", overlayAddress(3), 80)).toBe("c3 10.0.1.11");
  });

  it("learns nothing: every forwarding entry towards another host is permanent and of the managers' making", () => {
    const entries = hosts
      .run("h1", `bridge fdb show dev ${vxlanOf(net)} | grep dst`)
      .trim()
      .split("\n")
      .sort();
    expect(entries).toEqual([
      "02:42:0a:00:01:0c dst 192.168.77.2 self permanent",
      "02:42:0a:00:01:0d dst 192.168.77.3 self permanent",
    ]);
    expect(hosts.run("h1", `bridge fdb show br ${bridgeOf(net)} | grep -vE 'permanent|static' || true`)).toBe("");
    expect(hosts.run("h1", `ip -d link show ${vxlanOf(net)}`)).toContain("nolearning");
  });

  it("spreads a virtual IP over all tasks, the client's address intact, itself included", () => {
    const { servers, clients } = asked("c1", "10.0.1.2", 80);
    expect(servers).toEqual(["c1", "c2", "c3"]);
    expect(clients).toEqual(["10.0.1.11"]);
    expect(hosts.run("c1", "ping -c1 -W2 10.0.1.2")).toContain("1 received");
  });
});

const families = [
  {
    ...{ family: "IPv4", on: (n: number) => `192.168.77.${n}`, client: "172.31.9.2", loopback: "127.0.0.1" },
    ...{ ofTask: (ingressAddress: string) => ingressAddress, unpublished: 81, half: 31 },
  },
  {
    ...{ family: "IPv6", on: (n: number) => `fd77::${n}`, client: "fd31::2", loopback: "::1" },
    ...{ ofTask: meshAddress6, unpublished: 82, half: 127 },
  },
] as const;

describe.each(families)("routing mesh over $family", ({ on, client, loopback, ofTask, unpublished, half }) => {
  const all = ["c1", "c2", "c3"];

  it("answers on every host, by every task, and servers see the client's address", () => {
    for (const n of [1, 2, 3]) {
      const { servers, clients } = asked("client", on(n), 8080);
      expect({ n, servers, clients }).toEqual({ n, servers: all, clients: [client] });
    }
  });

  it("answers datagrams from the address that was asked", () => {
    const sources = Array.from({ length: 16 }, (_, i) => 6_000 + i);
    for (const n of [1, 2, 3])
      expect(new Set(hosts.askDatagrams("client", on(n), 8080, sources))).toEqual(new Set(all));
  });

  it("answers the hosts themselves, by their address, another's and the loopback one", () => {
    for (const address of [on(1), on(2), loopback]) {
      expect({ address, servers: asked("h1", address, 8080).servers }).toEqual({ address, servers: all });
    }
  });

  it("answers tasks, at their own host and at others", () => {
    expect(asked("c1", on(1), 8080).servers).toEqual(all);
    expect(asked("c1", on(2), 8080).servers).toEqual(all);
  });

  it("lets tasks out under the host's address", () => {
    expect(hosts.ask("c2", client, 7000)).toBe(`client ${on(2)}`);
  });

  it("answers on the hosts' addresses that the service names, and on no others", async () => {
    const named = (publishOn: readonly string[]) => {
      const change = complete().changes.find(({ service }) => service !== undefined)!;
      const changes = [{ ...change, service: { ...change.service!, publishOn } }];
      const message = NetworkStateMessage.create({ type: NetworkStateMessage_Type.INCREMENTAL, sequence: 2, changes });
      return Promise.all(nodes.map((node) => node.receive(message)));
    };
    await named([on(2), `${on(2)}/${half}`]);
    expect(asked("client", on(2), 8080).servers).toEqual(all);
    for (const other of families.map(({ on }) => on(1)))
      expect(() => hosts.ask("client", other, 8080)).toThrow(/refused/);
    expect(() => hosts.ask("h2", loopback, 8080)).toThrow(/refused/);
    await named([]);
    expect(asked("client", on(1), 8080).servers).toEqual(all);
  });

  it("answers a host-mode port on its host only", () => {
    expect(hosts.ask("client", on(1), 9090)).toBe(`c1 ${client}`);
    expect(hosts.ask("h1", loopback, 9090)).toMatch(/^c1 /);
    expect(() => hosts.ask("client", on(2), 9090)).toThrow();
  });

  it("guards what is not published", async () => {
    await hosts.serve("c2", unpublished);
    const own = ofTask(ingressAddress(2));
    expect(() => hosts.run("h1", `timeout 2 bash -c 'exec 3<>/dev/tcp/${own}/${unpublished}'`)).toThrow();
    expect(hosts.ask("h1", own, 80)).toMatch(/^c2 /);
  });
});

describe("names", () => {
  it("resolves services, aliases, tasks", async () => {
    expect(await hosts.resolve("c1", "web")).toEqual(["10.0.1.2"]);
    expect(await hosts.resolve("c1", "www")).toEqual(["10.0.1.2"]);
    expect(await hosts.resolve("c3", "web.2")).toEqual(["10.0.1.12"]);
    expect(await hosts.resolve("c1", "tasks.web")).toEqual([1, 2, 3].map(overlayAddress));
    expect(await hosts.resolve("c1", "nothing.example")).toEqual([]);
  });
});

describe("changes", () => {
  it("sends no new connection to a task that leaves", async () => {
    const leaving = NetworkStateMessage.create({
      type: NetworkStateMessage_Type.INCREMENTAL,
      sequence: 2,
      changes: [endpoint(3, net, overlayAddress(3), false), endpoint(3, ingress, ingressAddress(3), false)],
    });
    const sources = Array.from({ length: 16 }, (_, i) => 5_000 + i);
    const datagrams = () => [
      ...hosts.askDatagrams("client", "192.168.77.1", 8080, sources),
      ...hosts.askDatagrams("c1", "10.0.1.2", 80, sources),
    ];
    expect(new Set(datagrams())).toEqual(new Set(["c1", "c2", "c3"]));
    await Promise.all(nodes.map((node) => node.receive(leaving).then(() => node.settled())));
    // From the same ports: the kernel would send these flows where they went before.
    expect(new Set(datagrams())).toEqual(new Set(["c1", "c2"]));
    expect(asked("client", "192.168.77.1", 8080).servers).toEqual(["c1", "c2"]);
    expect(asked("c1", "10.0.1.2", 80).servers).toEqual(["c1", "c2"]);
    expect(await hosts.resolve("c1", "tasks.web")).toEqual([1, 2].map(overlayAddress));
  });

  it("sends each client to one task where that is asked for, and moves only those whose task is gone", async () => {
    const clients = Array.from({ length: 24 }, (_, i) => `172.31.9.${100 + i}`);
    hosts.run("client", clients.map((address) => `ip addr add ${address}/24 dev eth0`).join("\n"));
    const service = complete().changes.find((change) => change.service !== undefined)!;
    const tell = (balance: NetworkStateService_Balance, serving: boolean) => {
      const changes = [
        { ...service, service: { ...service.service!, balance } },
        endpoint(3, net, overlayAddress(3), serving),
        endpoint(3, ingress, ingressAddress(3), serving),
      ];
      const message = NetworkStateMessage.create({ type: NetworkStateMessage_Type.INCREMENTAL, sequence: 2, changes });
      return Promise.all(nodes.map((node) => node.receive(message)));
    };
    const through = (n: number) => clients.map((from) => hosts.ask("client", `192.168.77.${n}`, 8080, from));
    const inside = () => [1, 2].map((n) => asked(`c${n}`, "10.0.1.2", 80, 8).servers);
    await tell(NetworkStateService_Balance.SOURCE, true);
    const before = through(1);
    expect(new Set(before.map((answer) => answer.split(" ")[0]))).toEqual(new Set(["c1", "c2", "c3"]));
    expect(through(2)).toEqual(before);
    expect(inside()).toEqual([[expect.any(String)], [expect.any(String)]]);
    await tell(NetworkStateService_Balance.SOURCE, false);
    const after = through(3);
    expect(before.filter((answer, i) => !answer.startsWith("c3") && answer !== after[i])).toEqual([]);
    expect(after.filter((answer) => answer.startsWith("c3"))).toEqual([]);
    expect(await nodes[0]!.audit()).toEqual([]);
    await tell(NetworkStateService_Balance.RANDOM, false);
    expect(asked("c1", "10.0.1.2", 80).servers).toEqual(["c1", "c2"]);
  });

  it("tells the managers when what they asked about is in the kernel", async () => {
    const told: Partial<NetworkStateReport>[] = [];
    nodes[0]!.managers.connected((fields) => told.push(fields));
    const serving = [endpoint(3, net, overlayAddress(3)), endpoint(3, ingress, ingressAddress(3))];
    const message = (sequence: number, changes: readonly NetworkStateChange[], acknowledge: boolean) =>
      NetworkStateMessage.create({ type: NetworkStateMessage_Type.INCREMENTAL, sequence, changes, acknowledge });
    await nodes[0]!.receive(message(2, serving, false));
    await nodes[0]!.settled();
    expect(told).toEqual([]);
    const leaving = [endpoint(3, net, overlayAddress(3), false), endpoint(3, ingress, ingressAddress(3), false)];
    await nodes[0]!.receive(message(3, leaving, true));
    await nodes[0]!.settled();
    expect(told).toEqual([{ applied: 3 }]);
    nodes[0]!.managers.connected(undefined);
  });

  it("refuses at once connections to a task that is gone, while its address is nobody else's", async () => {
    const message = (sequence: number, action: NetworkStateChange_Action) =>
      NetworkStateMessage.create({
        type: NetworkStateMessage_Type.INCREMENTAL,
        sequence,
        changes: [{ ...endpoint(3, net, overlayAddress(3), false), action }],
      });
    await nodes[0]!.receive(message(4, NetworkStateChange_Action.REMOVE));
    expect(hosts.run("c1", `timeout 10 bash -c 'exec 3<>/dev/tcp/${overlayAddress(3)}/80' 2>&1 || true`)).toContain(
      "refused",
    );
    await nodes[0]!.receive(message(5, NetworkStateChange_Action.UPDATE));
    expect(hosts.ask("c1", overlayAddress(3), 80)).toMatch(/^c3 /);
  });

  it("keeps idle connections for days", () => {
    const seconds = (namespace: string) =>
      Number(hosts.run(namespace, "sysctl -n net.netfilter.nf_conntrack_tcp_timeout_established"));
    for (const namespace of ["h1", "c1"]) expect(seconds(namespace)).toBeGreaterThan(2 * 86_400);
  });

  it("tests the way to other nodes, and says what is wrong with it", async () => {
    expect(await nodes[0]!.check()).toEqual({ findings: [], paths: [] });
    const said = async () => (await nodes[0]!.check()).findings.map(({ detail }) => detail);
    hosts.run("h2", "nft add table ip test; nft add chain ip test c '{ type filter hook prerouting priority -400; }'");
    try {
      // As where checksums inside of VXLAN are wrong: what is encapsulated arrives, but no TCP.
      hosts.run("h2", `nft add rule ip test c iifname ${meshDevice} meta l4proto tcp drop`);
      expect(await said()).toEqual([
        expect.stringMatching(
          /TCP to node node2 at 192.168.77.2 fails by VXLAN \(no answer\).*tx-checksum-ip-generic off/,
        ),
      ]);
      hosts.run("h2", "nft flush chain ip test c");
      hosts.run("h2", "nft add rule ip test c ip saddr 192.168.77.1 meta length gt 1400 drop");
      expect(await said()).toEqual([expect.stringMatching(/packets of 1450 bytes to node node2 get lost.*mtu=SIZE/)]);
      hosts.run("h2", "nft add rule ip test c ip saddr 192.168.77.1 udp dport 4789 drop");
      expect(await said()).toEqual([expect.stringMatching(/node2 answers at 192.168.77.2, but not by VXLAN.*4789/)]);
      hosts.run("h2", "nft add rule ip test c ip saddr 192.168.77.1 drop");
      expect(await said()).toEqual([expect.stringMatching(/node2 does not answer at 192.168.77.2 \(no answer\)/)]);
    } finally {
      hosts.run("h2", "nft delete table ip test");
    }
    expect(await nodes[0]!.check()).toEqual({ findings: [], paths: [] });
  });

  it("repairs what someone else removed", async () => {
    hosts.run(
      "h1",
      `ip route del ${ingressAddress(2)}; nft flush chain inet starling c_prerouting; ip link del ${vxlanOf(net)}`,
    );
    const wrong = (await nodes[0]!.audit()).map(({ subject, detail }) => `${subject}: ${detail}`);
    expect(wrong).toContain(`device: ${vxlanOf(net)} is missing`);
    expect(wrong.join("\n")).toMatch(new RegExp(`route: ${ingressAddress(2)}/32 .* is missing`));
    expect(wrong.join("\n")).toContain("rules: table inet starling: chain c_prerouting lacks");
    expect(asked("client", "192.168.77.1", 8080).servers).toEqual(["c1", "c2"]);
    expect(hosts.ask("c1", overlayAddress(2), 80)).toBe("c2 10.0.1.11");
    expect(await nodes[0]!.audit()).toEqual([]);
  });

  it("takes no port's own MAC for a task's, whatever the kernel chose", async () => {
    const port = portOf(taskOf(1), 0);
    hosts.run("h1", `ip link set ${port} address 02:42:5f:07:2b:c8`);
    expect(hosts.run("h1", `bridge fdb show dev ${port}`)).toMatch(/02:42:5f:07:2b:c8 .*permanent/);
    expect(await nodes[0]!.audit()).toEqual([]);
  });

  it("passes another firewall's chain that drops what is forwarded, as Docker's does", async () => {
    const asks = () => hosts.run("client", "timeout 3 bash -c 'exec 3<>/dev/tcp/192.168.77.2/8080; cat <&3' || true");
    expect(asks()).toMatch(/^c\d /);
    hosts.run("h2", "nft 'table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }'");
    try {
      expect(asks()).toBe("");
      const wrong = (await nodes[1]!.audit()).map(({ subject, detail }) => `${subject}: ${detail}`);
      expect(wrong).toEqual([expect.stringMatching(/^firewall: chain ip filter FORWARD of another firewall drops/)]);
      expect(asks()).toMatch(/^c\d /);
      expect(await nodes[1]!.audit()).toEqual([]);
      // Ours alone judges what may reach a task.
      expect(() => hosts.run("h1", `timeout 2 bash -c 'exec 3<>/dev/tcp/${ingressAddress(2)}/81'`)).toThrow();
    } finally {
      hosts.run("h2", "nft delete table ip filter");
    }
  });

  it("repairs a task's own rules without holding up anyone", async () => {
    hosts.run("c1", "nft delete table ip starling");
    const wrong = (await nodes[0]!.audit()).map(({ detail }) => detail);
    expect(wrong).toEqual([`task ${taskOf(1)}: table ip starling is missing`]);
    expect(asked("c1", "10.0.1.2", 80).servers).toEqual(["c1", "c2"]);
  });

  it("takes over what a former process left, without touching it", async () => {
    await nodes[1]!.close();
    const before = hosts.run("h2", "ip -o link; ip route");
    nodes[1] = nodeNetwork(2);
    await nodes[1].receive(complete());
    expect(asked("client", "192.168.77.2", 8080).servers).toEqual(["c1", "c2", "c3"]);
    await nodes[1].attach(task(2), { path: hosts.path("c2"), pid: 0 });
    expect(hosts.run("h2", "ip -o link; ip route")).toBe(before);
    expect(await hosts.resolve("c2", "web")).toEqual(["10.0.1.2"]);
    expect(await nodes[1].audit()).toEqual([]);
  });

  it("makes devices anew when those of its name lead to a former container", async () => {
    hosts.add("c2b");
    const ref = { path: hosts.path("c2b"), pid: 0 };
    await expect(nodes[1]!.attach(task(2), ref)).rejects.toThrow(/no eth0, eth1 in the namespace/);
    await nodes[1]!.attach(task(2), ref);
    await hosts.serve("c2b", 80);
    expect(hosts.ask("c1", overlayAddress(2), 80)).toBe("c2b 10.0.1.11");
  });

  it("detaches a task whose attach still waits for the managers", async () => {
    const waiting = new NodeNetwork({ nodeId: "node1", clock: systemClock, log: nullLogger, netns: hosts.path("h3") });
    const attach = waiting.attach(task(1), { path: hosts.path("c1"), pid: 0 });
    await Promise.all([expect(attach).rejects.toThrow(/detached meanwhile/), waiting.detach(taskOf(1))]);
    await waiting.close();
  });

  it("leaves nothing behind when the last task and network are gone", async () => {
    await nodes[0]!.leave(taskOf(1));
    await nodes[0]!.detach(taskOf(1));
    await nodes[0]!.receive(NetworkStateMessage.create({ type: NetworkStateMessage_Type.COMPLETE, sequence: 3 }));
    const links = hosts.run("h1", "ip -o link");
    expect(links).not.toMatch(/s[rbxo]\d?-/);
    expect(links).not.toContain(meshDevice);
    expect(
      hosts.run("h1", "ip rule; ip -6 rule; ip route show table all proto 83; ip -6 route show table all proto 83"),
    ).not.toMatch(/4096|proto 83/);
  });
});

describe("a node whose managers tell nothing of networks", () => {
  it("answers on a host-mode port at each of its addresses, the loopback ones too", async () => {
    const options = { clock: systemClock, log: nullLogger, resolvConf: "", netns: hosts.path("h4") };
    const foreign = new NodeNetwork({ nodeId: "node4", ...options });
    hosts.add("c5");
    const { endpoint, ...rest } = task(1);
    try {
      await foreign.managersAreForeign();
      await foreign.attach({ ...rest, endpoint, networks: [] }, { path: hosts.path("c5"), pid: 0 });
      await hosts.serve("c5", 80);
      for (const { on, client, loopback } of families) {
        expect(hosts.ask("client", on(4), 9090)).toBe(`c5 ${client}`);
        expect(hosts.ask("h4", loopback, 9090)).toMatch(/^c5 /);
      }
      await foreign.detach(taskOf(1));
    } finally {
      await foreign.close();
    }
  });
});

describe("a node where a look at tracked connections does not end", () => {
  it("has its tables follow all the same, and tells the managers of changes once it has ended", async () => {
    let end: () => void = () => {};
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    const told: (number | undefined)[] = [];
    const node = new NodeNetwork({
      ...{ nodeId: "node1", clock: systemClock, log: nullLogger, resolvConf: "", netns: hosts.path("h4") },
      forget: () => ended,
    });
    node.managers.connected(({ applied }) => told.push(applied));
    const serve = (sequence: number, n: number, serving: boolean) =>
      NetworkStateMessage.create({
        ...{ type: NetworkStateMessage_Type.INCREMENTAL, sequence, acknowledge: true },
        changes: [endpoint(n, net, overlayAddress(n), serving)],
      });
    const backends = () => {
      const map = hosts.run("c6", "nft list map ip starling backends");
      return [1, 2, 3].filter((n) => map.includes(` : ${overlayAddress(n)}`));
    };
    hosts.add("c6");
    try {
      await node.receive(complete());
      await node.attach(task(1), { path: hosts.path("c6"), pid: 0 });
      expect(backends()).toEqual([1, 2, 3]);
      await node.receive(serve(2, 3, false));
      await node.receive(serve(3, 2, false));
      expect(backends()).toEqual([1]);
      await node.receive(serve(4, 3, true));
      expect(backends()).toEqual([1, 3]);
      await node.detach(taskOf(1));
      expect(told).toEqual([]);
      end();
      await node.settled();
      expect(told).toEqual([2, 3, 4]);
    } finally {
      end();
      await node.close();
    }
  });
});

describe("a node that other nodes cannot reach", () => {
  it("serves its own tasks, and says once that others are cut off", async () => {
    const warnings: string[] = [];
    const log = createLogger({ level: "warn", write: (line) => warnings.push(line) });
    const lone = new NodeNetwork({ nodeId: "node1", clock: systemClock, log, resolvConf: "", netns: hosts.path("h4") });
    const known = complete().changes.filter(({ node, endpoint }) => (node ?? endpoint?.nodeId) === undefined);
    const self = NetworkStateNode.create({ id: "node1", meshAddress: "10.255.0.2/16" });
    const own = [endpoint(1, net, overlayAddress(1)), endpoint(1, ingress, ingressAddress(1))];
    const changes = [...known, update({ node: self }), ...own];
    const message = NetworkStateMessage.create({ type: NetworkStateMessage_Type.COMPLETE, sequence: 1, changes });
    hosts.add("c4");
    try {
      await lone.receive(message);
      await lone.attach(task(1), { path: hosts.path("c4"), pid: 0 });
      await hosts.serve("c4", 80);
      expect(hosts.ask("client", "192.168.77.4", 8080)).toBe("c4 172.31.9.2");
      expect(hosts.ask("c4", "10.0.1.2", 80)).toBe("c4 10.0.1.11");
      await lone.receive(message);
      expect(await lone.audit()).toEqual([]);
    } finally {
      await lone.close();
    }
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain("--advertise-remote-api");
  });
});
