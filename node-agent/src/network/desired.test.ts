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
import type { LocalTask, NodeInputs } from "./desired.ts";
import type { NftTable } from "./nft-table.ts";
import { taskTables } from "./nft-task.ts";
import { NetworkView } from "./state.ts";
import { desiredOf, wantedReach, wantedTable } from "./test-desired.ts";

/** One service on networks `front` and ingress; `tasks` are `node` or, not serving, `node-`. Seen from node a. */
function inputs(
  tasks: readonly string[],
  preferLocal: boolean,
  fields: Partial<NetworkStateService> & { readonly encrypted?: boolean } = {},
): NodeInputs {
  const { encrypted = false, ...ofService } = fields;
  const endpoints = tasks.flatMap((text, i) =>
    ["front", "ingress"].map((networkId) =>
      NetworkStateEndpoint.create({
        ...{ networkId, taskId: `t${i}`, serviceId: "web", nodeId: text[0]!, serving: !text.endsWith("-") },
        address: `10.${networkId === "front" ? 1 : 255}.0.${i + 1}`,
        encrypted: encrypted && networkId === "ingress",
      }),
    ),
  );
  const service = NetworkStateService.create({
    ...{ id: "web", name: "web", preferLocal },
    networks: [NetworkStateServiceNetwork.create({ networkId: "front", virtualIp: "10.1.0.100" })],
    ports: [NetworkStatePort.create({ publishedPort: 8080, targetPort: 80 })],
    ...ofService,
  });
  const networks = ["front", "ingress"].map((id) => NetworkStateNetwork.create({ id, ingress: id === "ingress" }));
  const nodes = ["a", "b"].map((id) => NetworkStateNode.create({ id, underlayAddress: "10.0.0.1" }));
  return {
    nodeId: "a",
    view: NetworkView.of({ networks, nodes, services: [service], endpoints }),
    ...{ tasks: [], leaving: new Set(), underlayMtu: 1500, recovered: [], tunnels: undefined, ipv6: false },
  };
}

const published = (given: NodeInputs) => [...desiredOf(given).ledger.all(["published"]).published.values()];

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
    const [port] = published(given);
    expect(port!.backends.map(({ address }) => address)).toEqual(expected.map((n) => `10.255.0.${n}`));
    const [service] = wantedReach(given, client).services;
    expect(service!.backends).toEqual(expected.map((n) => `10.1.0.${n}`));
  });

  it("one task for each client where that is asked for", () => {
    const sticky = inputs(["a", "b", "b"], false, { balance: NetworkStateService_Balance.SOURCE });
    const of = (tables: readonly NftTable[], name: string) => [
      ...tables[0]!.sets.find((set) => set.name === name)!.elements,
    ];
    const chosen = [50, 51, 52, 53, 54, 55].map((n) => {
      const address = `10.1.0.${n}`;
      const tables = taskTables(wantedReach(sticky, client), {
        ...{ nameServer: undefined },
        own: [{ networkId: "front", address }],
      });
      expect(of(tables, "virtual")).toEqual([]);
      const [[virtualIp, task] = ["", ""]] = of(tables, "sticky");
      expect(virtualIp).toBe("10.1.0.100");
      return task;
    });
    expect(new Set(chosen)).toEqual(new Set(["10.1.0.1", "10.1.0.2", "10.1.0.3"]));
    const { chains, sets } = wantedTable(sticky);
    const [rule = ""] = chains.find(({ name }) => name === "tcp_sticky")!.rules;
    expect(rule).toContain("jhash ip saddr mod 256 seed");
    const backends = sets.find(({ name }) => name === "tcp_backends")!.elements;
    expect([...backends.keys()]).toEqual(Array.from({ length: 256 }, (_, place) => `8080 . ${place}`));
    expect(new Set(backends.values())).toEqual(new Set([1, 2, 3].map((n) => `10.255.0.${n} . 80`)));
  });

  it("ports on the addresses that the service names, of the mesh and of this host alone", () => {
    const given = inputs(["a", "b"], false, { publishOn: ["10.9.0.0/16", "10.8.0.1"] });
    const hostPorts = [{ protocol: "udp", published: 53, target: 5353, on: ["10.8.0.1"] }] as const;
    const tasks = [{ ...client, routed: "100.64.0.2", hostPorts }];
    const { chains, sets } = wantedTable({ ...given, tasks });
    const rulesOf = (name: string) => chains.find((chain) => chain.name === name)!.rules;
    expect(rulesOf("port_tcp_8080")).toEqual([
      "ip daddr 10.9.0.0/16 goto tcp_spread_2",
      "ip daddr 10.8.0.1 goto tcp_spread_2",
    ]);
    expect(rulesOf("port_udp_53")).toEqual(["ip daddr 10.8.0.1 goto udp_spread_1"]);
    expect([...sets.find(({ name }) => name === "tcp_backends")!.elements]).toEqual([
      ["8080 . 0", "10.255.0.1 . 80"],
      ["8080 . 1", "10.255.0.2 . 80"],
    ]);
    expect([...sets.find(({ name }) => name === "udp_backends")!.elements]).toEqual([["53 . 0", "100.64.0.2 . 5353"]]);
  });

  it("ports of both families alike, each by the addresses of it that the service names", () => {
    const tableWith = (publishOn: readonly string[]) =>
      wantedTable({ ...inputs(["a", "b"], false, { publishOn }), ipv6: true });
    const { chains, sets } = tableWith([]);
    expect(chains.find(({ name }) => name === "tcp_spread_2")!.rules).toEqual([
      expect.stringMatching(/^meta nfproto ipv4 .* dnat ip addr . port to .* jhash ip saddr .* map @tcp_backends$/),
      expect.stringMatching(/^meta nfproto ipv6 .* dnat ip6 addr . port to .* jhash ip6 saddr .* map @tcp_backends6$/),
    ]);
    expect(sets.find(({ name }) => name === "published")!.elements.get("tcp . 8080")).toBe("goto tcp_spread_2");
    expect(sets.find(({ name }) => name === "tcp_backends6")!.elements.get("8080 . 0")).toBe(
      "fd53:7461:726d::aff:1 . 80",
    );
    const rulesOn = (address: string) =>
      tableWith([address]).chains.find(({ name }) => name === "port_tcp_8080")!.rules;
    expect(rulesOn("fd00:1::/64")).toEqual(["ip6 daddr fd00:1::/64 goto tcp_spread_2"]);
    expect(rulesOn("10.9.0.1")).toEqual(["ip daddr 10.9.0.1 goto tcp_spread_2"]);
  });

  it("no task whose packets would have to be encrypted and can't be", () => {
    const given = inputs(["a", "b"], false, { encrypted: true });
    const behind = (tunnels: NodeInputs["tunnels"]) =>
      published({ ...given, tunnels })[0]!.backends.map(({ address }) => address);
    expect(behind(undefined)).toEqual(["10.255.0.1"]);
    const nodes = new Map([["b", "fd53:7461:726c::b"]]);
    expect(behind({ devices: [], nodes, addresses: [] })).toEqual(["10.255.0.1", "10.255.0.2"]);
  });
});
