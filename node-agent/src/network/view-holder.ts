import { type NetworkStateEndpoint, type NetworkStateMessage, NetworkStateMessage_Type } from "@starling/api";
import type { Clock, Millis } from "@starling/base";
import { TemporaryError } from "../exec/controller.ts";
import { endpointKey, NetworkView } from "./state.ts";

const stateTimeoutMs = 10_000;
/** Addresses remembered whose task is gone and that no other task has: those most recently lost. */
const deadMax = 4_096;

/** What the managers said so far, and who waits for more. */
export class ViewHolder {
  readonly #clock: Clock;
  /** Addresses of tasks that are gone, by `networkId/address`, oldest first. */
  readonly #dead = new Map<string, NetworkStateEndpoint>();
  readonly view = new NetworkView();
  #ready = false;
  #foreign = false;
  #waiters: (() => void)[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether a COMPLETE message has come, or none will. */
  get ready(): boolean {
    return this.#ready;
  }

  /** Whether the managers are of another make, so that nothing will come. */
  get foreign(): boolean {
    return this.#foreign;
  }

  /** The managers know no such state: there is none but this node's own. */
  becomeForeign(): void {
    this.#ready = true;
    this.#foreign = true;
    this.wake();
  }

  /** Called when an endpoint's task is gone and its address is nobody else's yet, or not any more. */
  onDead: (endpoint: NetworkStateEndpoint, isDead: boolean) => void = () => {};

  /** Returns the endpoints of tasks that stopped serving, or went, by it. */
  receive(message: NetworkStateMessage): readonly NetworkStateEndpoint[] {
    const { endpoints } = this.view;
    const isComplete = message.type === NetworkStateMessage_Type.COMPLETE;
    const told = message.changes.flatMap(({ endpoint }) => (endpoint === undefined ? [] : [endpointKey(endpoint)]));
    const changed = new Set(isComplete ? [...endpoints.keys(), ...told] : told);
    const before = Array.from(changed, (key) => [key, endpoints.get(key)] as const);
    this.view.apply(message);
    this.#ready = true;
    this.#foreign = false;
    this.#noteDead(before);
    // The rest is gone through only when networks went.
    if (isComplete || message.changes.some(({ network }) => network !== undefined)) this.#forgetNetworks();
    this.wake();
    return before.flatMap(([key, old]) => {
      const now = endpoints.get(key);
      return old !== undefined && (now === undefined || (old.serving && !now.serving)) ? [old] : [];
    });
  }

  /** Has all who wait look again. */
  wake(): void {
    for (const wake of this.#waiters.splice(0)) wake();
  }

  /** Resolves once `condition` holds. Throws TemporaryError when it takes too long or `isCancelled` (`wake` has it look). */
  async until(
    condition: () => boolean,
    options: { readonly isCancelled: () => boolean; readonly timeoutMs?: Millis },
  ): Promise<void> {
    const { isCancelled, timeoutMs = stateTimeoutMs } = options;
    const deadline = this.#clock.monotonic() + timeoutMs;
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

  /** `changed` has the keys of endpoints that may differ, and what they were before. */
  #noteDead(changed: readonly (readonly [string, NetworkStateEndpoint | undefined])[]): void {
    const keyOf = ({ networkId, address }: NetworkStateEndpoint) => `${networkId}/${address}`;
    const { endpoints } = this.view;
    for (const [key, old] of changed) {
      if (old === undefined || endpoints.has(key)) continue;
      this.#bury(keyOf(old));
      this.#dead.set(keyOf(old), old);
      this.onDead(old, true);
    }
    if (this.#dead.size === 0) return;
    for (const [key] of changed) {
      const now = endpoints.get(key);
      if (now !== undefined) this.#bury(keyOf(now));
    }
    for (const key of this.#dead.keys()) {
      if (this.#dead.size <= deadMax) break;
      this.#bury(key);
    }
  }

  #forgetNetworks(): void {
    for (const [key, { networkId }] of this.#dead) if (!this.view.networks.has(networkId)) this.#bury(key);
  }

  /** Forgets who had the address. */
  #bury(key: string): void {
    const endpoint = this.#dead.get(key);
    if (endpoint === undefined) return;
    this.#dead.delete(key);
    this.onDead(endpoint, false);
  }
}
