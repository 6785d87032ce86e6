import { NetworkStateEndpoint, NetworkStateNetwork } from "@starling/api";
import { expect, it } from "vitest";
import type { NodeInputs } from "./desired.ts";
import { chooseParent, idleVlans } from "./parent-device.ts";
import { NetworkView } from "./state.ts";

const links = [
  { name: "lo", index: 1, mtu: 65536, up: true },
  { name: "ens3", index: 2, mtu: 9000, up: true },
  { name: "ens4", index: 3, mtu: 1500, up: false },
];

it("the parent is the first of the devices that the host has", () => {
  expect(chooseParent(["eth0", "ens3"], links)).toEqual({ kind: "there", name: "ens3", index: 2, mtu: 9000, up: true });
});

it("a VLAN device is made where only the device below is there", () => {
  expect(chooseParent(["eth0.50", "ens3.50"], links)).toMatchObject({ kind: "vlan", name: "ens3.50" });
  expect(chooseParent(["ens3.0", "ens3.4095"], links)).toMatchObject({ kind: "missing" });
});

it.each([
  [["eth0"], "this host has no device eth0: name one that it has, too (--opt parent=NAME,…)"],
  [["eth0", "eth1.9"], "this host has none of the devices eth0, eth1.9"],
  [["ens4"], "this host's device ens4 is down: ip link set ens4 up"],
])("%j is refused with the reason", (parents, reason) => {
  expect(chooseParent(parents, links)).toMatchObject({ kind: "missing", reason: expect.stringContaining(reason) });
});

it("a VLAN device goes with the last task here of the networks on it, also one that was not attached again yet", () => {
  const network = NetworkStateNetwork.create({ id: "lan", parents: ["ens3.50"] });
  const endpoint = (nodeId: string) => NetworkStateEndpoint.create({ networkId: "lan", taskId: "t", nodeId });
  const inputs = (nodeId: string) =>
    ({
      nodeId: "here",
      view: NetworkView.of({ networks: [network], endpoints: [endpoint(nodeId)] }),
      tasks: [],
    }) as unknown as NodeInputs;
  expect(idleVlans(["ens3.50", "ens3.60"], inputs("here"))).toEqual(["ens3.60"]);
  expect(idleVlans(["ens3.50"], inputs("there"))).toEqual(["ens3.50"]);
});
