import {
  Annotations,
  Cluster,
  ClusterSpec,
  DispatcherConfig,
  durationOfMs,
  Node,
  NodeSpec,
  patienceLabels,
} from "@starling/api";
import { FakeClock } from "@starling/base";
import { MemoryStore } from "@starling/store";
import { describe, expect, it } from "vitest";
import { Patiences } from "./patiences.ts";

const labelled = (labels: Readonly<Record<string, string>>) => Annotations.create({ name: "x", labels });
const node = (id: string, labels: Readonly<Record<string, string>> = {}) =>
  Node.create({ id, spec: NodeSpec.create({ annotations: labelled(labels) }) });
const cluster = (periodMs: number, labels: Readonly<Record<string, string>> = {}) =>
  Cluster.create({
    id: "cluster",
    spec: ClusterSpec.create({
      annotations: labelled(labels),
      dispatcher: DispatcherConfig.create({ heartbeatPeriod: durationOfMs(periodMs) }),
    }),
  });

describe("patience with nodes", () => {
  it("follows the cluster's object, each node's labels and the number of nodes", async () => {
    const store = new MemoryStore({ clock: new FakeClock() });
    const patiences = new Patiences(store, "cluster");
    expect(patiences.periodMs()).toBe(1_000);
    expect(patiences.of("nobody").alertMs).toBe(3_000);
    await store.update((tx) => {
      tx.clusters.create(cluster(2_000));
      tx.nodes.create(node("plain"));
      tx.nodes.create(node("patient", { [patienceLabels.moveAfter]: "1m" }));
    });
    expect(patiences.periodMs()).toBe(2_000);
    expect(patiences.of("plain")).toMatchObject({ alertMs: 6_000, moveMs: 6_000 });
    expect(patiences.of("patient")).toMatchObject({ alertMs: 6_000, moveMs: 60_000 });
    await store.update((tx) => {
      const { meta } = tx.clusters.get("cluster")!;
      tx.clusters.update({ ...cluster(2_000, { [patienceLabels.moveAfter]: "20s" }), meta });
      tx.nodes.update({ ...node("patient"), meta: tx.nodes.get("patient")!.meta });
    });
    for (const id of ["plain", "patient"]) expect(patiences.of(id)).toMatchObject({ alertMs: 6_000, moveMs: 20_000 });
    await store.update((tx) => {
      for (let n = 0; n < 5_000; n++) tx.nodes.create(node(`n${n}`));
    });
    expect(patiences.periodMs()).toBeGreaterThan(4_000);
    expect(patiences.of("plain").alertMs).toBe(3 * patiences.periodMs());
  });
});
