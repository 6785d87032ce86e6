import type { Clock, Metrics, Millis } from "@starling/base";

/** One in this many reads and lookups is timed: they may take less than looking at the clock. */
const READS_PER_SAMPLE = 32;
const LOOKUPS_PER_SAMPLE = 256;

const buckets = [0.00001, 0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5];

/** The store's histograms, under SwarmKit's names, in seconds. */
export class StoreMetrics {
  readonly #clock: Clock;
  readonly #read;
  readonly #write;
  readonly #batch;
  readonly #held;
  readonly #lookup;
  #reads = 0;
  #lookups = 0;

  constructor(metrics: Metrics, clock: Clock) {
    const histogram = (name: string, help: string) => metrics.histogram(name, help, { buckets });
    this.#clock = clock;
    this.#read = histogram("swarm_store_read_tx_latency_seconds", "Time of a read transaction (sampled)");
    this.#lookup = histogram("swarm_store_lookup_latency_seconds", "Time of a lookup by id in an update (sampled)");
    this.#write = histogram("swarm_store_write_tx_latency_seconds", "Time of an update from its call to its commit");
    this.#batch = histogram("swarm_store_batch_latency_seconds", "Time of a batch from its call to its last commit");
    this.#held = histogram(
      "swarm_store_memory_store_lock_duration_seconds",
      "Time that an update's callback holds the store",
    );
  }

  timeRead<T>(read: () => T): T {
    if (this.#reads++ % READS_PER_SAMPLE !== 0) return read();
    const startedAt = this.#clock.monotonic();
    const value = read();
    this.#read.observe((this.#clock.monotonic() - startedAt) / 1000);
    return value;
  }

  readonly timeLookup = <T>(lookup: () => T): T => {
    if (this.#lookups++ % LOOKUPS_PER_SAMPLE !== 0) return lookup();
    const startedAt = this.#clock.monotonic();
    const found = lookup();
    this.#lookup.observe((this.#clock.monotonic() - startedAt) / 1000);
    return found;
  };

  timeCallback<T>(write: () => T): T {
    const startedAt = this.#clock.monotonic();
    const value = write();
    this.#held.observe((this.#clock.monotonic() - startedAt) / 1000);
    return value;
  }

  observeWrite(startedAt: Millis): void {
    this.#write.observe((this.#clock.monotonic() - startedAt) / 1000);
  }

  observeBatch(startedAt: Millis): void {
    this.#batch.observe((this.#clock.monotonic() - startedAt) / 1000);
  }
}
