import { InternalRaftRequest, type StoreAction } from "@starling/api";
import { type Clock, metrics, type Random, SwarmError } from "@starling/base";

interface Waiting {
  readonly since: number;
  readonly apply: (index: number) => void;
  readonly resolve: () => void;
  readonly reject: (error: SwarmError) => void;
}

/** One entry's data at most: larger ones would not pass a gRPC message. */
const requestBytesMax = 2 * 1024 * 1024;
const latency = metrics.histogram("swarm_raft_transaction_latency_seconds", "Time from a proposal to its application.");

/** This leader's proposals on their way, by the id in their entry. */
export class Proposals {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #waiting = new Map<bigint, Waiting>();

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  get count(): number {
    return this.#waiting.size;
  }

  /** Encodes `actions` and hands the bytes to `append`. Rejects Unavailable when `refused` is called. */
  propose(
    actions: readonly StoreAction[],
    apply: (index: number) => void,
    append: (data: Uint8Array, refused: () => void) => void,
  ): Promise<void> {
    const id = random64(this.#random);
    const data = InternalRaftRequest.encode({ id, action: actions });
    if (data.length > requestBytesMax) {
      const text = `raft: raft message is too large and can't be sent: ${data.length} bytes, at most ${requestBytesMax}`;
      return Promise.reject(new SwarmError("InvalidArgument", text));
    }
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { since: this.#clock.monotonic(), apply, resolve, reject });
      append(data, () => {
        this.#waiting.delete(id);
        reject(new SwarmError("Unavailable", "raft does not take proposals now (leadership moves): try again"));
      });
    });
  }

  /** Applies the entry if it is one of ours that still waits. */
  maybeApply(data: Uint8Array, index: number): boolean {
    if (this.#waiting.size === 0) return false;
    const id = requestId(data);
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return false;
    this.#waiting.delete(id);
    waiting.apply(index);
    latency.observe((this.#clock.monotonic() - waiting.since) / 1000);
    waiting.resolve();
    return true;
  }

  /** All that wait: their outcome is unknown, they may still be committed. */
  abandon(reason: SwarmError): void {
    const all = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of all) reject(reason);
  }
}

/** A random id that is not 0. */
export function random64(random: Random): bigint {
  const word = () => BigInt(Math.floor(random() * 0x1_0000_0000));
  return (word() << 32n) | word() || 1n;
}

/** InternalRaftRequest.id, read from its place at the front; 0 when it is not there. */
function requestId(data: Uint8Array): bigint {
  if (data[0] !== 0x08) return 0n;
  let id = 0n;
  let shift = 0n;
  for (let at = 1; at < Math.min(data.length, 11); at++) {
    const byte = data[at]!;
    id |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) return BigInt.asUintN(64, id);
    shift += 7n;
  }
  return 0n;
}
