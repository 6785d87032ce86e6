import {
  NetworkStateEndpoint,
  NetworkStateMessage,
  NetworkStateNetwork,
  NetworkStateNode,
  type NetworkStateReport,
} from "@starling/api";
import { sockDiag } from "@starling/native/net";
import { describe, expect, it } from "vitest";
import { servedConnections } from "./connections.ts";
import type { NodeInputs } from "./desired.ts";
import { hostFlush, taskFlush } from "./flush.ts";
import { Managers } from "./managers.ts";
import { compareListings, type Listing } from "./nft-listing.ts";
import { NetworkView } from "./state.ts";

const asking = (sequence: number) => NetworkStateMessage.create({ sequence, acknowledge: true });

describe("word to the managers", () => {
  function connected() {
    const managers = new Managers();
    const told: Partial<NetworkStateReport>[] = [];
    const connect = () => managers.connected((fields) => told.push(fields));
    connect();
    return { managers, told, connect };
  }

  it("of what is applied comes when asked for, and only for what was known when applying began", () => {
    const { managers, told } = connected();
    managers.received(NetworkStateMessage.create({ sequence: 1 }));
    managers.applying()();
    managers.received(asking(2));
    const applied = managers.applying();
    managers.received(asking(3));
    applied();
    expect(told).toEqual([{ applied: 2 }]);
    managers.applying()();
    managers.applying()();
    expect(told).toEqual([{ applied: 2 }, { applied: 3 }]);
  });

  it("of another stream is not sent on the new one", () => {
    const { managers, told, connect } = connected();
    managers.received(asking(7));
    const applied = managers.applying();
    connect();
    applied();
    expect(told).toEqual([]);
    // Nor when that has asked, too: it counts from 0.
    managers.received(asking(0));
    applied();
    expect(told).toEqual([]);
    managers.applying()();
    expect(told).toEqual([{ applied: 0 }]);
  });

  it("of tasks that leave is said again to the next manager, until they are gone", () => {
    const { managers, told, connect } = connected();
    managers.leave("t1");
    managers.leave("t2");
    managers.forget("t1");
    connect();
    expect(told).toEqual([{ leaving: ["t1"] }, { leaving: ["t2"] }, { leaving: ["t2"] }]);
  });
});

it("connections count that come from outside to a port that is listened on", () => {
  const { TcpState } = sockDiag;
  const socket = (state: number, local: string, localPort: number, peer: string) => ({ state, local, localPort, peer });
  const sockets = [
    socket(TcpState.listen, "0.0.0.0", 80, "0.0.0.0"),
    socket(TcpState.listen, "127.0.0.11", 40_000, "0.0.0.0"),
    socket(TcpState.established, "10.0.0.5", 80, "10.0.0.9"),
    socket(TcpState.synReceived, "10.0.0.5", 80, "10.0.0.9"),
    socket(TcpState.established, "127.0.0.1", 80, "127.0.0.1"),
    socket(TcpState.established, "10.0.0.5", 45_000, "10.0.0.7"),
    socket(TcpState.established, "127.0.0.11", 40_000, "127.0.0.1"),
  ];
  expect(servedConnections(sockets)).toBe(2);
});

it("socket listings that are cut short are no sockets", () => {
  const body = new Uint8Array(72);
  body.set([2, TcpListen, 0, 0, 0, 80]);
  expect(sockDiag.decodeSockets([{ type: 20, body }])).toEqual([
    { state: TcpListen, local: "0.0.0.0", localPort: 80, peer: "0.0.0.0" },
  ]);
  expect(sockDiag.decodeSockets([{ type: 20, body: body.subarray(0, 71) }])).toEqual([]);
});
const TcpListen = sockDiag.TcpState.listen;

describe("tracked connections to forget", () => {
  const endpoint = (taskId: string, networkId: string, address: string, serving: boolean) =>
    NetworkStateEndpoint.create({ taskId, networkId, address, serving });
  const endpoints = [
    endpoint("t1", "net", "10.0.1.5", true),
    endpoint("t2", "net", "10.0.1.6", false),
    endpoint("t1", "ing", "10.255.0.5", true),
    endpoint("t3", "ing", "10.255.0.6", true),
  ];
  const inputs: NodeInputs = {
    nodeId: "n1",
    view: NetworkView.of({
      networks: [
        NetworkStateNetwork.create({ id: "net", subnets: ["10.0.1.0/24"] }),
        NetworkStateNetwork.create({ id: "ing", subnets: ["10.255.0.0/16"], ingress: true }),
      ],
      nodes: [NetworkStateNode.create({ id: "n1", meshAddress: "10.255.0.2/16" })],
      endpoints,
    }),
    tasks: [],
    leaving: new Set(["t3"]),
    underlayMtu: 1500,
    recovered: [],
    tunnels: undefined,
    ipv6: false,
  };

  it("of the host are datagrams to all but serving tasks and nodes", () => {
    expect(hostFlush(inputs, "all")).toMatchObject([
      { live: ["10.255.0.2", "10.255.0.5", "fd53:7461:726d::aff:2", "fd53:7461:726d::aff:5"], protocols: [17] },
    ]);
  });

  const overlays = [{ networkId: "net", address: "10.0.1.5", address6: "" }];
  const task = { taskId: "t1", serviceId: "", overlays, routed: undefined, inMesh: false, hostPorts: [] };

  it("of a task are datagrams to those that don't serve, connections to those that are gone", () => {
    expect(taskFlush(inputs, task, "all")).toEqual([
      { type: "conntrack", subnets: ["10.0.1.0/24"], live: ["10.0.1.5"], protocols: [17] },
      { type: "conntrack", subnets: ["10.0.1.0/24"], live: ["10.0.1.5", "10.0.1.6"], protocols: [6] },
    ]);
  });

  it("are only those of the endpoints that changed, where these are known, unless another has the address by now", () => {
    const dual = { ...endpoint("t8", "net", "10.0.1.8", true), address6: "fd01::8" };
    const due = [endpoints[1]!, dual, endpoint("t9", "net", "10.0.1.5", true), endpoints[3]!];
    expect(taskFlush(inputs, task, due)).toEqual([
      { type: "conntrack", subnets: ["10.0.1.6/32"], live: [], protocols: [17] },
      { type: "conntrack", subnets: ["10.0.1.8/32", "fd01::8/128"], live: [], protocols: [] },
    ]);
    expect(hostFlush(inputs, due)).toEqual([
      { type: "conntrack", subnets: ["10.255.0.6/32", "fd53:7461:726d::aff:6/128"], live: [], protocols: [17] },
    ]);
    expect([hostFlush(inputs, []), taskFlush(inputs, task, [])]).toEqual([[], []]);
  });
});

describe("tables compared", () => {
  const rule = (chain: string, ...expr: unknown[]) => ({ rule: { chain, expr, handle: Math.random() } });
  const table = (...nftables: Listing["nftables"]): Listing => ({ nftables });
  const base = table(
    { chain: { name: "a" } },
    rule("a", { drop: null }),
    { set: { name: "s", elem: ["10.0.0.1", { concat: ["tcp", 80] }] } },
    { map: { name: "m", elem: [["10.0.0.1", "x"]] } },
  );

  it("are equal whatever their handles and the order of elements", () => {
    const same = table(
      { chain: { name: "a" } },
      rule("a", { drop: null }),
      { set: { name: "s", elem: [{ concat: ["tcp", 80] }, "10.0.0.1"] } },
      { map: { name: "m", elem: [["10.0.0.1", "x"]] } },
    );
    expect(compareListings(base, same)).toEqual([]);
  });

  it("differ by chains, rules and elements, each named", () => {
    const other = table(
      { chain: { name: "a" } },
      rule("a", { accept: null }),
      { chain: { name: "b" } },
      { set: { name: "s", elem: ["10.0.0.2"] } },
    );
    expect(compareListings(base, other).map(({ detail }) => detail)).toEqual([
      'chain a lacks [{"drop":null}], has [{"accept":null}] too many',
      "set s lacks 10.0.0.1, tcp . 80, has 10.0.0.2 too many",
      "set m is missing",
      "chain b should not be there",
    ]);
  });
});
