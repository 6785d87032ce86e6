import { Counter, Gauge, Histogram, type Instrument } from "./instruments.ts";

const defaultBuckets = [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10];

/**
 * The process's Prometheus metrics. A station asks for its instruments by name where it uses them; asking twice for one
 * name gives the same instrument, so parts that restart (a leader's loops) need no bookkeeping.
 */
export class Metrics {
  readonly #instruments = new Map<string, Instrument>();

  counter<L extends string = never>(name: string, help: string, labelNames: readonly L[] = []): Counter<L> {
    return this.#get(name, () => new Counter(name, help, labelNames));
  }

  gauge<L extends string = never>(name: string, help: string, labelNames: readonly L[] = []): Gauge<L> {
    return this.#get(name, () => new Gauge(name, help, labelNames));
  }

  /** `buckets` are upper bounds, ascending, in the metric's unit (seconds by Prometheus' custom). */
  histogram(name: string, help: string, options: { readonly buckets?: readonly number[] } = {}): Histogram {
    return this.#get(name, () => new Histogram(name, help, options.buckets ?? defaultBuckets));
  }

  /** All of them in Prometheus' text format. */
  render(): string {
    return [...this.#instruments.values()].map((instrument) => instrument.render()).join("");
  }

  #get<I extends Instrument>(name: string, make: () => I): I {
    const known = this.#instruments.get(name);
    if (known !== undefined) return known as I;
    const made = make();
    this.#instruments.set(name, made);
    return made;
  }
}

/** Content-Type of `Metrics.render`. */
export const metricsContentType = "text/plain; version=0.0.4; charset=utf-8";

/** The one instance that a process serves at `--listen-metrics`. */
export const metrics = new Metrics();
