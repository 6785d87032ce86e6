import { NetworkStateEndpoint, NetworkStateNetwork, NetworkStateNode } from "@starling/api";
import { expect, it } from "vitest";
import type { NodeInputs } from "./desired.ts";
import { checkPaths, judgePaths } from "./path-check.ts";
import { NetworkView } from "./state.ts";
import { wantedNetwork } from "./test-desired.ts";

const node = (id: string, underlayAddress: string, host: number) =>
  NetworkStateNode.create({ id, underlayAddress, meshAddress: `10.255.0.${host}/16` });
const nodes = [node("self", "fd99::1", 1), node("peer", "fd99::2", 2), node("other", "10.0.0.3", 3)];
const network = NetworkStateNetwork.create({ id: "net", vni: 4097, subnets: ["10.0.1.0/24"] });
const ingress = NetworkStateNetwork.create({ id: "ing", vni: 4096, subnets: ["10.255.0.0/16"], ingress: true });
const endpoints = nodes.map(({ id: nodeId }, i) =>
  NetworkStateEndpoint.create({ networkId: "net", taskId: `t${i}`, nodeId, address: `10.0.1.${i + 2}` }),
);
const inputs: NodeInputs = {
  nodeId: "self",
  view: NetworkView.of({ networks: [network, ingress], nodes, endpoints }),
  tasks: [],
  leaving: new Set(),
  underlayMtu: 1500,
  recovered: [],
  tunnels: undefined,
  ipv6: false,
};

it("a node reached by the other family gets no entries, which the kernel would refuse, and holds up no other", () => {
  const { links, forwarding } = wantedNetwork(inputs);
  expect([...forwarding.values()]).toEqual(["fd99::2", "fd99::2"]);
  expect([...links.values()].map(({ mtu }) => mtu)).toEqual([1430, 1430, 1430]);
});

it("the check names a node of the other family, and what to give both", async () => {
  const view = NetworkView.of({
    networks: [network, ingress],
    nodes: nodes.filter(({ id }) => id !== "peer"),
    endpoints,
  });
  const findings = await checkPaths({ nodeId: "self", view, netns: undefined, mtu: 1430, vxlanPort: 4789 });
  expect(findings.map(({ detail }) => detail)).toEqual([
    "node other is reached at 10.0.0.3, this one at fd99::1: give both a --data-path-addr of one family",
  ]);
});

it("the check says what to look at when a node of an IPv6 underlay does not answer", () => {
  const result = {
    nodeId: "peer",
    underlayAddress: "fd99::2",
    underlay: undefined,
    small: "no answer",
    full: "no answer",
    tcp: "no answer",
    behindNat: [],
  };
  expect(judgePaths([result], 1430, 4790).map(({ detail }) => detail)).toEqual([
    expect.stringMatching(/does not answer by VXLAN at fd99::2: .* UDP port 4790/),
  ]);
});

it("the check tells checksums that a device gets wrong from packets that are too long and ways that are shut", () => {
  const answers = {
    nodeId: "peer",
    underlayAddress: "10.0.0.3",
    underlay: "",
    small: "",
    full: "",
    tcp: "",
    behindNat: [],
  };
  const said = (result: Partial<typeof answers>) =>
    judgePaths([{ ...answers, ...result }], 1450, 4789).map(({ detail }) => detail);
  expect(said({})).toEqual([]);
  expect(said({ tcp: "no answer" })).toEqual([expect.stringMatching(/^TCP to node peer.*tx-checksum-ip-generic off/)]);
  expect(said({ tcp: "no answer", full: "no answer" })).toEqual([expect.stringMatching(/^packets of 1450 bytes/)]);
  expect(said({ tcp: "no answer", full: "no answer", small: "no answer" })).toEqual([
    expect.stringMatching(/answers at 10.0.0.3, but not by VXLAN/),
  ]);
});
