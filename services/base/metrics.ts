/// <reference path="./prom-client.d.ts" />
import Counter from "prom-client/lib/counter.js";
import Gauge from "prom-client/lib/gauge.js";
import Histogram from "prom-client/lib/histogram.js";
import Registry from "prom-client/lib/registry.js";

export type { Counter, Gauge, Histogram };

const defaultBuckets = [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10];

/**
 * The process's Prometheus metrics. A station asks for its instruments by name where it uses them; asking twice for one
 * name gives the same instrument, so parts that restart (a leader's loops) need no bookkeeping.
 */
export class Metrics {
  readonly #registry = new Registry();

  counter<L extends string = never>(name: string, help: string, labelNames: readonly L[] = []): Counter<L> {
    return this.#known<Counter<L>>(name) ?? new Counter({ name, help, labelNames, registers: [this.#registry] });
  }

  /** A counter that is kept elsewhere, for what happens all the time: `read` gives its values, by labels, when they are asked for. */
  readCounter<L extends string>(
    name: string,
    help: string,
    labelNames: readonly L[],
    read: () => Iterable<readonly [Readonly<Record<L, string>>, number]>,
  ): void {
    if (this.#known(name) !== undefined) return;
    new Counter({
      ...{ name, help, labelNames, registers: [this.#registry] },
      collect() {
        this.reset();
        for (const [labels, value] of read()) this.inc(labels, value);
      },
    });
  }

  gauge<L extends string = never>(name: string, help: string, labelNames: readonly L[] = []): Gauge<L> {
    return this.#known<Gauge<L>>(name) ?? new Gauge({ name, help, labelNames, registers: [this.#registry] });
  }

  /** `buckets` are upper bounds, ascending, in the metric's unit (seconds by Prometheus' custom). */
  histogram(name: string, help: string, options: { readonly buckets?: readonly number[] } = {}): Histogram {
    const buckets = [...(options.buckets ?? defaultBuckets)];
    return this.#known<Histogram>(name) ?? new Histogram({ name, help, buckets, registers: [this.#registry] });
  }

  /** All of them in Prometheus' text format. */
  render(): Promise<string> {
    return this.#registry.metrics();
  }

  /** Content-Type of what `render` gives. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  #known<I>(name: string): I | undefined {
    return this.#registry.getSingleMetric(name) as I | undefined;
  }
}

/** The one instance that a process serves at `--listen-metrics`. */
export const metrics = new Metrics();
