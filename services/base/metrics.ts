import { Counter, Gauge, Histogram, Registry } from "prom-client";

/**
 * The process's Prometheus metrics. A station asks for its instruments by name where it uses them; asking twice for one
 * name gives the same instrument, so parts that restart (a leader's loops) need no bookkeeping.
 */
export class Metrics {
  readonly registry = new Registry();

  counter<L extends string = never>(name: string, help: string, labelNames: readonly L[] = []): Counter<L> {
    const known = this.registry.getSingleMetric(name) as Counter<L> | undefined;
    return known ?? new Counter({ name, help, labelNames: [...labelNames], registers: [this.registry] });
  }

  gauge<L extends string = never>(name: string, help: string, labelNames: readonly L[] = []): Gauge<L> {
    const known = this.registry.getSingleMetric(name) as Gauge<L> | undefined;
    return known ?? new Gauge({ name, help, labelNames: [...labelNames], registers: [this.registry] });
  }

  /** `buckets` are upper bounds in the metric's unit (seconds by Prometheus' custom). */
  histogram<L extends string = never>(
    name: string,
    help: string,
    options: { readonly labelNames?: readonly L[]; readonly buckets?: readonly number[] } = {},
  ): Histogram<L> {
    const known = this.registry.getSingleMetric(name) as Histogram<L> | undefined;
    const buckets = options.buckets ?? [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10];
    return (
      known ??
      new Histogram({
        name,
        help,
        labelNames: [...(options.labelNames ?? [])],
        buckets: [...buckets],
        registers: [this.registry],
      })
    );
  }
}

/** The one instance that a process serves at `--listen-metrics`. */
export const metrics = new Metrics();
