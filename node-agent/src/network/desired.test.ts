import {
  NetworkStateEndpoint,
  NetworkStateNetwork,
  NetworkStateNode,
  NetworkStatePort,
  NetworkStateService,
  NetworkStateService_Balance,
  NetworkStateServiceNetwork,
} from "@starling/api";
import { describe, expect, it } from "vitest";
import { desiredHostRules, type LocalTask, type NodeInputs, reachable } from "./desired.ts";
import { hostTable } from "./nft-host.ts";
import type { NftTable } from "./nft-table.ts";
import { taskTables } from "./nft-task.ts";

/** One service on networks `front` and ingress; `tasks` are `node` or, not serving, `node-`. Seen from node a. */
function inputs(tasks: readonly string[], preferLocal: boolean): NodeInputs {
  const endpoints = tasks.flatMap((text, i) =>
    ["front", "ingress"].map((networkId) =>
      NetworkStateEndpoint.create({
        ...{ networkId, taskId: `t${i}`, serviceId: "web", nodeId: text[0]!, serving: !text.endsWith("-") },
        address: `10.${networkId === "front" ? 1 : 255}.0.${i + 1}`,
      }),
    ),
  );
  const service = NetworkStateService.create({
    ...{ id: "web", name: "web", preferLocal },
    networks: [NetworkStateServiceNetwork.create({ networkId: "front", virtualIp: "10.1.0.100" })],
    ports: [NetworkStatePort.create({ publishedPort: 8080, targetPort: 80 })],
  });
  return {
    nodeId: "a",
    view: {
      networks: new Map(
        ["front", "ingress"].map((id) => [id, NetworkStateNetwork.create({ id, ingress: id === "ingress" })]),
      ),
      nodes: new Map(["a", "b"].map((id) => [id, NetworkStateNode.create({ id, underlayAddress: "10.0.0.1" })])),
      services: new Map([["web", service]]),
      endpoints: new Map(endpoints.map((endpoint) => [`${endpoint.networkId}/${endpoint.taskId}`, endpoint])),
    },
    ...{ tasks: [], leaving: new Set(), dead: [], underlayMtu: 1500, recovered: [], tunnels: undefined, ipv6: false },
  };
}

const client: LocalTask = {
  ...{ taskId: "client", serviceId: "client", routed: undefined, inMesh: false, hostPorts: [] },
  overlays: [{ networkId: "front", address: "10.1.0.50", address6: "" }],
};

describe("new connections go to", () => {
  it.each<[string, readonly string[], boolean, readonly number[]]>([
    ["all serving tasks", ["a", "b", "a-"], false, [1, 2]],
    ["the node's own where they are preferred", ["a", "b", "a"], true, [1, 3]],
    ["all where they are preferred, but none of the node's own serves", ["a-", "b", "b"], true, [2, 3]],
  ])("%s", (_what, tasks, preferLocal, expected) => {
    const given = inputs(tasks, preferLocal);
    const [port] = desiredHostRules(given).published;
    expect(port!.backends.map(({ address }) => address)).toEqual(expected.map((n) => `10.255.0.${n}`));
    const [service] = reachable(given, client).services;
    expect(service!.backends).toEqual(expected.map((n) => `10.1.0.${n}`));
  });

  it("one task for each client where that is asked for", () => {
    const given = inputs(["a", "b", "b"], false);
    const web = { ...given.view.services.get("web")!, balance: NetworkStateService_Balance.SOURCE };
    const sticky = { ...given, view: { ...given.view, services: new Map([["web", web]]) } };
    const of = (tables: readonly NftTable[], name: string) => [
      ...tables[0]!.sets.find((set) => set.name === name)!.elements,
    ];
    const chosen = [50, 51, 52, 53, 54, 55].map((n) => {
      const address = `10.1.0.${n}`;
      const tables = taskTables(reachable(sticky, client), {
        ...{ nameServer: undefined, connectTime: false },
        own: [{ networkId: "front", address }],
      });
      expect(of(tables, "virtual")).toEqual([]);
      const [[virtualIp, task] = ["", ""]] = of(tables, "sticky");
      expect(virtualIp).toBe("10.1.0.100");
      return task;
    });
    expect(new Set(chosen)).toEqual(new Set(["10.1.0.1", "10.1.0.2", "10.1.0.3"]));
    const { chains } = hostTable(desiredHostRules(sticky));
    const [rule = ""] = chains.find(({ name }) => name === "port_tcp_8080")!.rules;
    expect(rule).toContain("jhash ip saddr mod 256 seed");
    expect(new Set(rule.match(/10\.255\.0\.\d+ \. 80/g))).toEqual(new Set([1, 2, 3].map((n) => `10.255.0.${n} . 80`)));
  });

  it("ports on the addresses that the service names, of the mesh and of this host alone", () => {
    const given = inputs(["a", "b"], false);
    const web = given.view.services.get("web")!;
    const view = { ...given.view, services: new Map([["web", { ...web, publishOn: ["10.9.0.0/16", "10.8.0.1"] }]]) };
    const hostPorts = [{ protocol: "udp", published: 53, target: 5353, on: ["10.8.0.1"] }] as const;
    const tasks = [{ ...client, routed: "100.64.0.2", hostPorts }];
    const { chains } = hostTable(desiredHostRules({ ...given, view, tasks }));
    const rulesOf = (name: string) => chains.find((chain) => chain.name === name)!.rules;
    expect(rulesOf("port_tcp_8080").map((rule) => rule.split(" meta")[0])).toEqual([
      "ip daddr 10.9.0.0/16",
      "ip daddr 10.8.0.1",
    ]);
    expect(rulesOf("port_udp_53")).toEqual([
      "ip daddr 10.8.0.1 meta nfproto ipv4 meta l4proto udp dnat ip to 100.64.0.2:5353",
    ]);
  });

  it("ports of both families alike, each by the addresses of it that the service names", () => {
    const given = { ...inputs(["a", "b"], false), ipv6: true };
    const web = given.view.services.get("web")!;
    const rulesWith = (publishOn: readonly string[]) => {
      const view = { ...given.view, services: new Map([["web", { ...web, publishOn }]]) };
      const { chains } = hostTable(desiredHostRules({ ...given, view }));
      return chains.find(({ name }) => name === "port_tcp_8080")!.rules;
    };
    expect(rulesWith([])).toEqual([
      expect.stringMatching(/^meta nfproto ipv4 .* dnat ip addr . port to jhash ip saddr .*0 : 10.255.0.1 . 80/),
      expect.stringMatching(
        /^meta nfproto ipv6 .* dnat ip6 addr . port to jhash ip6 saddr .*: fd53:7461:726d::aff:1 . 80/,
      ),
    ]);
    expect(rulesWith(["fd00:1::/64"])).toEqual([expect.stringMatching(/^ip6 daddr fd00:1::\/64 meta nfproto ipv6/)]);
    expect(rulesWith(["10.9.0.1"])).toEqual([expect.stringMatching(/^ip daddr 10.9.0.1 meta nfproto ipv4/)]);
  });

  it("no task whose packets would have to be encrypted and can't be", () => {
    const given = inputs(["a", "b"], false);
    const secret = [...given.view.endpoints].map(([key, endpoint]) => {
      const encrypted = endpoint.networkId === "ingress";
      return [key, { ...endpoint, encrypted }] as const;
    });
    const view = { ...given.view, endpoints: new Map(secret) };
    const behind = (tunnels: NodeInputs["tunnels"]) =>
      desiredHostRules({ ...given, view, tunnels }).published[0]!.backends.map(({ address }) => address);
    expect(behind(undefined)).toEqual(["10.255.0.1"]);
    const nodes = new Map([["b", "fd53:7461:726c::b"]]);
    expect(behind({ devices: [], nodes, addresses: [] })).toEqual(["10.255.0.1", "10.255.0.2"]);
  });
});
