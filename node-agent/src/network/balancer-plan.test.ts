import { type BalancerChange, balancerMaps } from "@starling/native/net";
import { describe, expect, it } from "vitest";
import { entriesOf, planEntries } from "./balancer-plan.ts";
import { Balances } from "./balances.ts";
import type { VirtualService } from "./nft-task.ts";

const service = (backends: readonly string[], sticky = false): VirtualService => ({
  ...{ virtualIp: "10.0.0.2", networkId: "front", backends, sticky },
});
const three = ["10.0.0.11", "10.0.0.12", "10.0.0.13"];

/** Of a host with a task on network 4097, where there is a service. */
function balancesOf(first: VirtualService): Balances {
  const balances = new Balances();
  balances.setNetwork("front", 4097);
  balances.put("claim", [first]);
  balances.setClient({ cookie: 1n, own: [{ networkId: "front", address: "10.0.0.9" }] });
  return balances;
}

/** The maps after each change. */
function* applied(before: ReturnType<typeof entriesOf>, changes: readonly BalancerChange[]) {
  const maps = Object.fromEntries(Object.entries(before).map(([name, map]) => [name, new Map(map)]));
  for (const { map, key, value } of changes) {
    if (value === undefined) maps[map]!.delete(key);
    else maps[map]!.set(key, value);
    yield maps;
  }
}

describe("entries for the programs of connect time", () => {
  it("have the sizes that the programs expect", () => {
    for (const [name, map] of Object.entries(balancesOf(service(three, true)).entries)) {
      const { keySize, valueSize } = balancerMaps[name as keyof typeof balancerMaps];
      expect(map.size).toBeGreaterThan(0);
      for (const [key, value] of map)
        expect([name, key.length / 2, value.length / 2]).toEqual([name, keySize, valueSize]);
    }
  });

  it("change by what differs, and at no moment does a service count a slot that is not there", () => {
    for (const [from, to] of [
      [three, three.slice(1)],
      [three.slice(1), three],
      [three, []],
      [[], three],
    ] as const) {
      const balances = balancesOf(service(from));
      balances.take();
      let last = balances.entries;
      balances.put("withdraw", [service(from)]);
      balances.put("claim", [service(to)]);
      const { before, after } = balances.take();
      for (const maps of applied(last, planEntries(before, after))) {
        for (const [key, value] of maps["services"]!) {
          for (let slot = 0; slot < Buffer.from(value, "hex").readUInt32LE(); slot++)
            expect(maps["slots"]!.get(`${key}0${slot}000000`)).toBeDefined();
        }
        last = maps as unknown as typeof last;
      }
      expect(last).toEqual(balances.entries);
      expect(balances.take()).toEqual({ before: entriesOf([]), after: entriesOf([]) });
    }
  });

  it("are none of services without tasks, nor of networks without a number", () => {
    expect(balancesOf(service([])).entries.services.size).toBe(0);
    const balances = balancesOf(service(three));
    balances.setNetwork("front", 0);
    const { services, slots, networks_of } = balances.entries;
    expect([services.size, slots.size, [...networks_of.values()]]).toEqual([0, 0, ["00".repeat(40)]]);
  });
});
