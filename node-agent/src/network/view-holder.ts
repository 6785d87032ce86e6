import { type NetworkStateEndpoint, type NetworkStateMessage, NetworkStateMessage_Type } from "@starling/api";
import type { Clock, Millis } from "@starling/base";
import { TemporaryError } from "../exec/controller.ts";
import { Zone } from "./dns/zone.ts";
import { applyMessage, emptyView, endpointKey, type NetworkView } from "./state.ts";

const stateTimeoutMs = 10_000;
/** Addresses remembered whose task is gone and that no other task has: those most recently lost. */
const deadMax = 4_096;

/** What the managers said so far, and who waits for more. */
export class ViewHolder {
  readonly #clock: Clock;
  /** Addresses of tasks that are gone, by `networkId/address`, oldest first. */
  readonly #dead = new Map<string, NetworkStateEndpoint>();
  #view: NetworkView = emptyView;
  #ready = false;
  #foreign = false;
  #zone: Zone | undefined;
  #waiters: (() => void)[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get view(): NetworkView {
    return this.#view;
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

  /** Endpoints of tasks that are gone and whose addresses are nobody else's yet. */
  get dead(): Iterable<NetworkStateEndpoint> {
    return this.#dead.values();
  }

  /** Returns the endpoints of tasks that stopped serving, or went, by it. */
  receive(message: NetworkStateMessage): readonly NetworkStateEndpoint[] {
    const before = this.#view;
    this.#view = applyMessage(before, message);
    this.#ready = true;
    this.#foreign = false;
    const changed =
      message.type === NetworkStateMessage_Type.COMPLETE
        ? [...before.endpoints.keys(), ...this.#view.endpoints.keys()]
        : message.changes.flatMap(({ endpoint }) => (endpoint === undefined ? [] : [endpointKey(endpoint)]));
    this.#noteDead(before, changed);
    this.forgetNames();
    this.wake();
    return changed.flatMap((key) => {
      const old = before.endpoints.get(key);
      const now = this.#view.endpoints.get(key);
      return old !== undefined && (now === undefined || (old.serving && !now.serving)) ? [old] : [];
    });
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

  /** `changed` has the keys of endpoints that may differ from those in `before`. */
  #noteDead(before: NetworkView, changed: readonly string[]): void {
    const keyOf = ({ networkId, address }: NetworkStateEndpoint) => `${networkId}/${address}`;
    const { endpoints, networks } = this.#view;
    for (const key of changed) {
      const old = before.endpoints.get(key);
      if (old !== undefined && !endpoints.has(key)) this.#dead.set(keyOf(old), old);
    }
    if (this.#dead.size === 0) return;
    for (const key of changed) {
      const now = endpoints.get(key);
      if (now !== undefined) this.#dead.delete(keyOf(now));
    }
    for (const [key, { networkId }] of this.#dead) {
      if (this.#dead.size > deadMax || !networks.has(networkId)) this.#dead.delete(key);
    }
  }
}
