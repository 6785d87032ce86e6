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
  NetworkStateServiceNetwork,
  Task,
} from "@starling/api";
import { nullLogger, systemClock } from "@starling/base";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { NodeNetwork } from "./index.ts";
import { vxlanOf } from "./names.ts";
import { TestHosts } from "./test-hosts.ts";

const net = "dualaaaaaaaaaaaaaaaaaaaaa";
const web = "webaaaaaaaaaaaaaaaaaaaaaa";
const taskOf = (n: number) => `task${n}aaaaaaaaaaaaaaaaaaaa`;

const update = (item: Partial<NetworkStateChange>) =>
  NetworkStateChange.create({ action: NetworkStateChange_Action.UPDATE, ...item });

const endpoint = (n: number, serving = true) =>
  update({
    endpoint: NetworkStateEndpoint.create({
      networkId: net,
      taskId: taskOf(n),
      serviceId: web,
      nodeId: `node${n}`,
      address: `10.0.1.${10 + n}`,
      address6: `fd01:0:0:1::${10 + n}`,
      serving,
      names: [`web.${n}`],
    }),
  });

const serviceNetwork = NetworkStateServiceNetwork.create({
  networkId: net,
  virtualIp: "10.0.1.2",
  virtualIp6: "fd01:0:0:1::2",
});

const task = (n: number) =>
  Task.create({
    id: taskOf(n),
    serviceId: web,
    networks: [
      NetworkAttachment.create({
        network: Network.create({
          id: net,
          spec: NetworkSpec.create({ annotations: Annotations.create({ name: "dual" }) }),
        }),
        addresses: [`10.0.1.${10 + n}/24`, `fd01:0:0:1::${10 + n}/64`],
      }),
    ],
  });

/** The largest payload of an echo request: the device's 1500 less what VXLAN and the inner headers take. */
const cases = [
  { underlay: "IPv4", address: (n: number) => `192.168.77.${n}`, port: 0, wire: 4789, payload: 1500 - 50 - 48 },
  { underlay: "IPv6", address: (n: number) => `fd77::${n}`, port: 4790, wire: 4790, payload: 1500 - 70 - 48 },
] as const;

describe.each(cases)("a network with IPv6 over an $underlay underlay, UDP port $wire", (of) => {
  let hosts: TestHosts;
  let nodes: NodeNetwork[];

  const complete = () =>
    NetworkStateMessage.create({
      type: NetworkStateMessage_Type.COMPLETE,
      sequence: 1,
      changes: [
        update({
          network: NetworkStateNetwork.create({
            id: net,
            name: "dual",
            vni: 4097,
            subnets: ["10.0.1.0/24", "fd01:0:0:1::/64"],
          }),
        }),
        ...[1, 2].map((n) =>
          update({
            node: NetworkStateNode.create({ id: `node${n}`, underlayAddress: of.address(n), vxlanPort: of.port }),
          }),
        ),
        update({ service: NetworkStateService.create({ id: web, name: "web", networks: [serviceNetwork] }) }),
        endpoint(1),
        endpoint(2),
      ],
    });

  beforeAll(async () => {
    hosts = new TestHosts(2);
    nodes = [1, 2].map(
      (n) =>
        new NodeNetwork({
          nodeId: `node${n}`,
          clock: systemClock,
          log: nullLogger,
          resolvConf: "",
          netns: hosts.path(`h${n}`),
        }),
    );
    await Promise.all(nodes.map((node) => node.receive(complete())));
    for (const n of [1, 2]) hosts.add(`c${n}`);
    await Promise.all(nodes.map((node, i) => node.attach(task(i + 1), { path: hosts.path(`c${i + 1}`), pid: 0 })));
    await Promise.all([1, 2].map((n) => hosts.serve(`c${n}`, 80)));
  }, 60_000);

  afterAll(async () => {
    for (const node of nodes ?? []) await node.close();
    hosts?.destroy();
  });

  const servers = (address: string) =>
    [...new Set(Array.from({ length: 16 }, () => hosts.ask("c1", address, 80)))].sort();

  it("carries both families between hosts, at the full size and at once", () => {
    expect(hosts.ask("c1", "fd01:0:0:1::12", 80)).toBe("c2 fd01:0:0:1::11");
    expect(hosts.ask("c1", "10.0.1.12", 80)).toBe("c2 10.0.1.11");
    expect(hosts.run("c1", `ping -c1 -W2 -s ${of.payload} -M do fd01:0:0:1::12`)).toContain("1 received");
    expect(() => hosts.run("c1", `ping -c1 -W2 -s ${of.payload + 1} -M do fd01:0:0:1::12`)).toThrow();
    const device = hosts.run("h1", `ip -d link show ${vxlanOf(net)}`);
    expect(device).toMatch(new RegExp(`local ${of.address(1)} .*dstport ${of.wire} nolearning proxy`));
  });

  it("spreads the virtual IP of each family over the tasks, the client's address intact", () => {
    expect(servers("fd01:0:0:1::2")).toEqual(["c1 fd01:0:0:1::11", "c2 fd01:0:0:1::11"]);
    expect(servers("10.0.1.2")).toEqual(["c1 10.0.1.11", "c2 10.0.1.11"]);
  });

  it("answers A and AAAA", async () => {
    expect(await hosts.resolve("c1", "web", "ahostsv6")).toEqual(["fd01:0:0:1::2"]);
    expect(await hosts.resolve("c1", "web")).toEqual(["10.0.1.2"]);
    expect(await hosts.resolve("c1", "tasks.web", "ahostsv6")).toEqual(["fd01:0:0:1::11", "fd01:0:0:1::12"]);
  });

  it("mends an IPv6 neighbour that someone else removed", async () => {
    hosts.run("h1", `ip -6 neigh del fd01:0:0:1::12 dev ${vxlanOf(net)}`);
    const wrong = (await nodes[0]!.audit()).map(({ subject, detail }) => `${subject}: ${detail}`);
    expect(wrong).toEqual([expect.stringMatching(/^neighbour: .*fd01:0:0:1::12/)]);
    expect(await nodes[0]!.audit()).toEqual([]);
  });

  it("resets connections to a task that is gone, and sends new ones elsewhere", async () => {
    const gone = NetworkStateMessage.create({
      type: NetworkStateMessage_Type.INCREMENTAL,
      sequence: 2,
      changes: [{ ...endpoint(2, false), action: NetworkStateChange_Action.REMOVE }],
    });
    await nodes[0]!.receive(gone);
    const attempt = "timeout 10 bash -c 'exec 3<>/dev/tcp/fd01:0:0:1::12/80' 2>&1 || true";
    expect(hosts.run("c1", attempt)).toContain("refused");
    expect(servers("fd01:0:0:1::2")).toEqual(["c1 fd01:0:0:1::11"]);
    expect(hosts.run("h1", "ip -6 neigh show nud permanent")).not.toContain("fd01:0:0:1::12");
  });
});
