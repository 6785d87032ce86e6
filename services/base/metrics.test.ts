import { describe, expect, it } from "vitest";
import { Metrics } from "./metrics.ts";

const valuesOf = async (metrics: Metrics) =>
  (await metrics.render()).split("\n").filter((line) => line !== "" && !line.startsWith("#"));

describe("metrics", () => {
  it("give the same instrument to all who ask by its name", async () => {
    const metrics = new Metrics();
    metrics.counter("calls_total", "Calls made.", ["code"]).inc({ code: "Ok" }, 2);
    metrics.counter("calls_total", "Calls made.", ["code"]).inc({ code: "Ok" });
    metrics.gauge("leader", "Whether it leads.").set(1);
    expect(await valuesOf(metrics)).toEqual(['calls_total{code="Ok"} 3', "leader 1"]);
  });

  it("count observations up to each bound, the bound itself included", async () => {
    const metrics = new Metrics();
    const latency = metrics.histogram("latency_seconds", "Time.", { buckets: [0.1, 1] });
    for (const seconds of [0.05, 0.1, 0.5, 7]) latency.observe(seconds);
    expect(await valuesOf(metrics)).toEqual([
      'latency_seconds_bucket{le="0.1"} 2',
      'latency_seconds_bucket{le="1"} 3',
      'latency_seconds_bucket{le="+Inf"} 4',
      "latency_seconds_sum 7.65",
      "latency_seconds_count 4",
    ]);
  });

  it("are read where they are kept, as they are then", async () => {
    const metrics = new Metrics();
    const kept = { a: 1, b: 0 };
    metrics.readCounter("x_total", "X.", ["of"], () => Object.entries(kept).map(([of, value]) => [{ of }, value]));
    expect(await valuesOf(metrics)).toEqual(['x_total{of="a"} 1', 'x_total{of="b"} 0']);
    kept.b += 2;
    expect(await valuesOf(metrics)).toEqual(['x_total{of="a"} 1', 'x_total{of="b"} 2']);
  });

  it("forget what a reset took away", async () => {
    const metrics = new Metrics();
    const nodes = metrics.gauge("by_state", "Nodes.", ["state"]);
    nodes.set({ state: "ready" }, 3);
    nodes.reset();
    nodes.set({ state: "down" }, 1);
    expect(await valuesOf(metrics)).toEqual(['by_state{state="down"} 1']);
  });
});
