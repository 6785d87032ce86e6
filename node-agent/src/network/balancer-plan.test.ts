import { type BalancerChange, balancerMaps } from "@starling/native/net";
import { describe, expect, it } from "vitest";
import {
  type BalancedTask,
  balancerParts,
  entriesOf,
  planEntries,
  planParts,
  withoutUnknown,
} from "./balancer-plan.ts";
import type { VirtualService } from "./nft-task.ts";

const service = (backends: readonly string[], sticky = false): VirtualService => ({
  ...{ virtualIp: "10.0.0.2", networkId: "front", backends, sticky },
});
const task = (cookie: bigint): BalancedTask => ({ cookie, own: [{ networkId: "front", address: "10.0.0.9" }] });
const parts = (services: readonly VirtualService[], tasks: readonly BalancedTask[] = [task(1n)]) =>
  balancerParts(services, tasks, () => 4097);
const three = ["10.0.0.11", "10.0.0.12", "10.0.0.13"];

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
    for (const [name, map] of Object.entries(entriesOf(parts([service(three, true)]).values()))) {
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
      const [before, after] = [parts([service(from)]), parts([service(to)])];
      let last = entriesOf(before.values());
      for (const maps of applied(last, planParts(before, after))) {
        for (const [key, value] of maps["services"]!) {
          for (let slot = 0; slot < Buffer.from(value, "hex").readUInt32LE(); slot++)
            expect(maps["slots"]!.get(`${key}0${slot}000000`)).toBeDefined();
        }
        last = maps as unknown as typeof last;
      }
      expect(last).toEqual(entriesOf(after.values()));
    }
    expect(planParts(parts([service(three)]), parts([service(three)]))).toEqual([]);
  });

  it("of tasks that nobody has attached yet are left alone, those of services are not", () => {
    const found = entriesOf(parts([service(three, true)], [task(1n), task(2n)]).values());
    const wanted = entriesOf(parts([service(three.slice(1), true)], [task(1n)]).values());
    const changes = planEntries(withoutUnknown(found, [1n]), wanted);
    expect(changes.filter(({ key }) => key.startsWith("02"))).toEqual([]);
    expect(changes.filter(({ map, value }) => map === "slots" && value === undefined)).toHaveLength(1);
  });
});
