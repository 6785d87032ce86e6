import { Cluster } from "@starling/api";
import { FakeClock, nullLogger } from "@starling/base";
import { all, MemoryStore } from "@starling/store";
import { afterEach, expect, it } from "vitest";
import { createNetworkKeyManager } from "./network-keys.ts";

let stop = new AbortController();
afterEach(() => stop.abort());

async function lead(store: MemoryStore, clock: FakeClock): Promise<void> {
  stop.abort();
  stop = new AbortController();
  const manager = createNetworkKeyManager({ store, clock, random: () => 0.5, log: nullLogger });
  void manager.run(stop.signal);
  await clock.advance(0);
}

const keysIn = (store: MemoryStore) => store.view((tx) => tx.clusters.find(all)[0]!);
const timesOf = (store: MemoryStore, subsystem: string) =>
  keysIn(store)
    .networkBootstrapKeys.filter((key) => key.subsystem === subsystem)
    .map(({ lamportTime }) => lamportTime);

it("a cluster has keys of 16 bytes for gossip and ipsec; each 12 h one more, three at most, whoever leads", async () => {
  const clock = new FakeClock();
  const store = new MemoryStore({ clock });
  await store.update((tx) => void tx.clusters.create(Cluster.create({ id: "c" })));
  await lead(store, clock);
  expect(keysIn(store)).toMatchObject({
    encryptionKeyLamportClock: 32_770,
    networkBootstrapKeys: [
      { subsystem: "networking:gossip", algorithm: 0, lamportTime: 32_769 },
      { subsystem: "networking:ipsec", algorithm: 0, lamportTime: 32_770 },
    ],
  });
  expect(keysIn(store).networkBootstrapKeys.map(({ key }) => key.length)).toEqual([16, 16]);

  await clock.advance(12 * 3_600_000 - 1);
  expect(timesOf(store, "networking:gossip")).toHaveLength(1);
  await clock.advance(1);
  expect(timesOf(store, "networking:gossip")).toEqual([32_771, 32_769]);

  const before = keysIn(store).networkBootstrapKeys;
  await lead(store, clock);
  expect(keysIn(store).networkBootstrapKeys, "the next leader goes on with what is there").toEqual(before);
  for (let n = 0; n < 2; n++) await clock.advance(12 * 3_600_000);
  expect(timesOf(store, "networking:gossip")).toEqual([32_775, 32_773, 32_771]);
  expect(timesOf(store, "networking:ipsec")).toEqual([32_776, 32_774, 32_772]);
  const texts = keysIn(store).networkBootstrapKeys.map(({ key }) => Buffer.from(key).toString("hex"));
  expect(new Set(texts).size, "no key is there twice").toBe(6);
});
