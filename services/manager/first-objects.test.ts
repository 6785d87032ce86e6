import { Annotations, Network, NetworkSpec } from "@starling/api";
import { FakeClock } from "@starling/base";
import { all, MemoryStore } from "@starling/store";
import { expect, it } from "vitest";
import { ensurePredefinedNetworks } from "./first-objects.ts";

const namesIn = (store: MemoryStore) =>
  store.view((tx) => tx.networks.find(all).map(({ spec }) => spec.annotations.name)).toSorted();

it("each node's own networks have an object, once, unless a user's has the name", async () => {
  const store = new MemoryStore({ clock: new FakeClock() });
  await ensurePredefinedNetworks(store);
  await ensurePredefinedNetworks(store);
  expect(namesIn(store)).toEqual(["bridge", "host"]);

  const older = new MemoryStore({ clock: new FakeClock() });
  const mine = Network.create({
    id: "mine",
    spec: NetworkSpec.create({ annotations: Annotations.create({ name: "host" }) }),
  });
  await older.update((tx) => void tx.networks.create(mine));
  await ensurePredefinedNetworks(older);
  expect(namesIn(older)).toEqual(["bridge", "host"]);
  expect(older.view((tx) => tx.networks.get("mine"))?.driverState).toBeUndefined();
});
