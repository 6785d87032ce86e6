import type { NetworkStateMessage } from "@starling/api";
import type { Clock } from "@starling/base";
import { TemporaryError } from "../exec/controller.ts";
import { Zone } from "./dns/zone.ts";
import { applyMessage, emptyView, ingressOf, type NetworkView } from "./state.ts";

const stateTimeoutMs = 10_000;
/** How long clients of a task that is gone are reset rather than left hanging; addresses rest longer than this. */
const deadMs = 60_000;

/** What the managers said so far, and who waits for more. */
export class ViewHolder {
  readonly #clock: Clock;
  /** Ingress addresses of tasks that are gone, with the time until which they count. */
  readonly #dead = new Map<string, number>();
  #view: NetworkView = emptyView;
  #ready = false;
  #zone: Zone | undefined;
  #waiters: (() => void)[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get view(): NetworkView {
    return this.#view;
  }

  /** Whether a COMPLETE message has come. */
  get ready(): boolean {
    return this.#ready;
  }

  get dead(): readonly string[] {
    return [...this.#dead.keys()];
  }

  receive(message: NetworkStateMessage): void {
    const before = this.#view;
    this.#view = applyMessage(before, message);
    this.#ready = true;
    this.#noteDead(before, this.#view);
    this.forgetNames();
    this.wake();
  }

  /** Names as of now; `leaving` tasks are left out. */
  names(leaving: ReadonlySet<string>): Zone {
    this.#zone ??= new Zone(this.#view, leaving);
    return this.#zone;
  }

  /** To be called when the set of leaving tasks changed. */
  forgetNames(): void {
    this.#zone = undefined;
  }

  /** Has all who wait look again. */
  wake(): void {
    for (const wake of this.#waiters.splice(0)) wake();
  }

  /** Resolves once `condition` holds. Throws TemporaryError when it takes too long or `isCancelled`. */
  async until(condition: () => boolean, isCancelled: () => boolean): Promise<void> {
    const deadline = this.#clock.monotonic() + stateTimeoutMs;
    while (!condition()) {
      if (isCancelled()) throw new TemporaryError("network: the task was detached meanwhile");
      const left = deadline - this.#clock.monotonic();
      if (left <= 0) throw new TemporaryError("network: the managers have not sent this node the task's networks yet");
      await new Promise<void>((resolve) => {
        const timer = this.#clock.setTimer(left, resolve);
        this.#waiters.push(() => {
          timer.cancel();
          resolve();
        });
      });
    }
  }

  #noteDead(before: NetworkView, after: NetworkView): void {
    const ingress = ingressOf(after)?.id;
    const now = this.#clock.monotonic();
    const live = new Set<string>();
    for (const endpoint of after.endpoints.values()) if (endpoint.networkId === ingress) live.add(endpoint.address);
    for (const [key, endpoint] of before.endpoints) {
      if (endpoint.networkId === ingress && !after.endpoints.has(key)) this.#dead.set(endpoint.address, now + deadMs);
    }
    for (const [address, until] of this.#dead) if (until <= now || live.has(address)) this.#dead.delete(address);
  }
}
