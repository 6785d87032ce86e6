import { describe, expect, it } from "vitest";
import { Metrics } from "./metrics.ts";

describe("metrics", () => {
  it("are shown in Prometheus' text format", () => {
    const metrics = new Metrics();
    metrics.counter("calls_total", "Calls\nmade.", ["code"]).inc({ code: 'a"b\\c\n' }, 2);
    metrics.gauge("leader", "Whether it leads.").set(1);
    expect(metrics.render()).toBe(
      [
        "# HELP calls_total Calls\\nmade.",
        "# TYPE calls_total counter",
        'calls_total{code="a\\"b\\\\c\\n"} 2',
        "# HELP leader Whether it leads.",
        "# TYPE leader gauge",
        "leader 1",
        "",
      ].join("\n"),
    );
  });

  it("count observations up to each bound, the bound itself included", () => {
    const metrics = new Metrics();
    const latency = metrics.histogram("latency_seconds", "Time.", { buckets: [0.1, 1] });
    for (const seconds of [0.05, 0.1, 0.5, 7]) latency.observe(seconds);
    expect(metrics.render().split("\n").slice(2, -1)).toEqual([
      'latency_seconds_bucket{le="0.1"} 2',
      'latency_seconds_bucket{le="1"} 3',
      'latency_seconds_bucket{le="+Inf"} 4',
      "latency_seconds_sum 7.65",
      "latency_seconds_count 4",
    ]);
  });

  it("without labels are there from the start, with labels once they are set", () => {
    const metrics = new Metrics();
    metrics.counter("plain_total", "");
    metrics.gauge("by_state", "", ["state"]);
    const values = () =>
      metrics
        .render()
        .split("\n")
        .filter((line) => line !== "" && !line.startsWith("#"));
    expect(values()).toEqual(["plain_total 0"]);
    metrics.gauge("by_state", "", ["state"]).set({ state: "ready" }, 3);
    expect(values()).toEqual(["plain_total 0", 'by_state{state="ready"} 3']);
    metrics.gauge("by_state", "", ["state"]).reset();
    expect(values()).toEqual(["plain_total 0"]);
  });
});
