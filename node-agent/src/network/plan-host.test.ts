import { rtnetlink } from "@starling/native/net";
import { describe, expect, it } from "vitest";
import type { HostNetwork } from "./host-network.ts";
import { entryRequests, isEmptyPlan, planHost } from "./plan-host.ts";

const empty: HostNetwork = {
  links: new Map(),
  addresses: new Set(),
  routes: new Map(),
  neighbours: new Map(),
  forwarding: new Map(),
  returnTables: new Set(),
};
const vxlan = { vni: 4097, local: "192.168.0.1", port: 4789, proxy: true };
const overlay: HostNetwork = {
  ...empty,
  links: new Map([
    ["sb-n", { kind: "bridge" as const, mtu: 1450 }],
    ["sx-n", { kind: "vxlan" as const, mtu: 1450, master: "sb-n", vxlan }],
  ]),
  neighbours: new Map([["sx-n|10.0.0.5", "02:42:0a:00:00:05"]]),
  forwarding: new Map([["sx-n|02:42:0a:00:00:05", "192.168.0.2"]]),
};

describe("planHost", () => {
  it("is empty when all is as it should be", () => {
    expect(isEmptyPlan(planHost(overlay, overlay))).toBe(true);
  });

  it("makes what is missing and drops what is stale", () => {
    const moved = {
      ...overlay,
      forwarding: new Map([["sx-n|02:42:0a:00:00:05", "192.168.0.3"]]),
      neighbours: new Map(),
    };
    const plan = planHost(moved, overlay);
    expect(plan).toMatchObject({ createLinks: [], deleteLinks: [] });
    expect(plan.dropEntries).toEqual([
      { kind: "neighbour", device: "sx-n", address: "10.0.0.5", mac: "02:42:0a:00:00:05" },
    ]);
    expect(plan.addEntries).toEqual([
      { kind: "forwarding", device: "sx-n", mac: "02:42:0a:00:00:05", destination: "192.168.0.3" },
    ]);
  });

  it("gives a device its new address before the old one goes, so that it is never without and its routes stay", () => {
    const route = { destination: "10.255.0.9/32", device: "sx-n" };
    const at = (address: string): HostNetwork => ({
      ...overlay,
      addresses: new Set([`sx-n|${address}`]),
      routes: new Map([["r", route]]),
    });
    const plan = planHost(at("10.255.0.3/32"), at("10.255.0.2/32"));
    const types = [...entryRequests(plan, new Map([["sx-n", 7]]))].flat().map(({ type }) => type);
    expect(types).toEqual([rtnetlink.Rtm.newAddress, rtnetlink.Rtm.delAddress]);
  });

  it("makes a VXLAN device anew when its VXLAN id or underlay address changed, with all its entries", () => {
    const renumbered = new Map(overlay.links).set("sx-n", {
      kind: "vxlan",
      mtu: 1450,
      master: "sb-n",
      vxlan: { ...vxlan, local: "192.168.0.9" },
    });
    const plan = planHost({ ...overlay, links: renumbered }, overlay);
    expect(plan).toMatchObject({ deleteLinks: ["sx-n"], createLinks: ["sx-n"], dropEntries: [] });
    expect(plan.addEntries.map((entry) => entry.kind)).toEqual(["neighbour", "forwarding"]);
  });

  it("keeps the bridge of a task that nobody has attached yet after a restart, and the task's entries", () => {
    const running: HostNetwork = {
      ...overlay,
      links: new Map(overlay.links).set("so0-t", { kind: "veth", mtu: 1450, master: "sb-n" }),
      forwarding: new Map(overlay.forwarding).set("so0-t|02:42:0a:00:00:04", ""),
    };
    expect(planHost(empty, running)).toMatchObject({ deleteLinks: [] });
    expect(planHost(overlay, running)).toMatchObject({ dropEntries: [], deleteLinks: [] });
    expect(planHost(empty, overlay).deleteLinks).toEqual(["sb-n", "sx-n"]);
  });
});
