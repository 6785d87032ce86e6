/** Pure: no clock, no I/O, no randomness. */
import { type Change, Claims } from "./claims.ts";
import { isOf, type Reachable, type SpreadCount, type VirtualService } from "./nft-task.ts";

/** What a task's tables should have now, as against what they have. */
export type ReachUpdate =
  | { readonly kind: "none" }
  | { readonly kind: "part"; readonly before: Reachable; readonly after: Reachable }
  | { readonly kind: "whole"; readonly reachable: Reachable };

const none: ReachUpdate = { kind: "none" };

/** What lies on some networks: shared by all tasks on just these. */
export class Reach {
  readonly networks: ReadonlySet<string>;
  readonly #services = new Claims<VirtualService>(
    ({ networkId, virtualIp, sticky, backends }) => `${networkId} ${virtualIp} ${sticky} ${backends.join()}`,
  );
  readonly #spreads = new Claims<SpreadCount>(() => "");
  readonly #dead = new Claims<true>(String);
  /** Counts changes. */
  #version = 0;
  /** What changed between two versions: those of the last calls of `take`. */
  #last:
    | { readonly from: number; readonly to: number; readonly before: Reachable; readonly after: Reachable }
    | undefined;

  constructor(networks: ReadonlySet<string>) {
    this.networks = networks;
  }

  get version(): number {
    return this.#version;
  }

  /** All that is there. */
  get reachable(): Reachable {
    const services = [...this.#services.values.values()];
    return { services, spreads: [...this.#spreads.values.values()], dead: [...this.#dead.values.keys()] };
  }

  put(how: "claim" | "withdraw", services: readonly VirtualService[]): void {
    for (const service of services) {
      this.#version++;
      this.#services[how](service.virtualIp, service);
      if (service.sticky || service.backends.length === 0) continue;
      const spread = { family: isOf(4, service.virtualIp) ? 4 : 6, tasks: service.backends.length } as const;
      this.#spreads[how](`${spread.family} ${spread.tasks}`, spread);
    }
  }

  putDead(how: "claim" | "withdraw", addresses: readonly string[]): void {
    this.#version++;
    for (const address of addresses) this.#dead[how](address, true);
  }

  /** Takes all services back. */
  clearServices(): void {
    this.#version++;
    this.#services.clear();
    this.#spreads.clear();
  }

  /** To be called before tasks' tables are brought up to date: tables of the last call's version cost what changed since. */
  take(): void {
    const from = this.#last?.to ?? -1;
    if (from === this.#version) return;
    const [services, spreads, dead] = [this.#services.take(), this.#spreads.take(), this.#dead.take()];
    const part = (which: keyof Change<unknown>): Reachable => ({
      ...{
        services: [...services[which].values()],
        spreads: [...spreads[which].values()],
        dead: [...dead[which].keys()],
      },
    });
    this.#last = { from, to: this.#version, before: part("before"), after: part("after") };
  }

  /** For tables of `version`; undefined: they are not known. */
  since(version: number | undefined): ReachUpdate {
    if (version === this.#version) return none;
    const last = this.#last;
    if (version === undefined || last?.from !== version || last.to !== this.#version)
      return { kind: "whole", reachable: this.reachable };
    return { kind: "part", before: last.before, after: last.after };
  }
}
