import { readFileSync } from "node:fs";
import { type Logger, SwarmError } from "@starling/base";
import { Balancer } from "@starling/native/net";
import { planEntries } from "./balancer-plan.ts";
import { describeMaps } from "./describe-plan.ts";
import type { DesiredState } from "./desired-state.ts";
import { tasksCgroup } from "./tasks-cgroup.ts";

type State =
  /** No task is here: nothing is attached by this process. `open` leaves it. */
  | { readonly t: "idle" }
  /** Programs are being loaded and attached; then it is open or off. */
  | { readonly t: "opening"; readonly done: Promise<void> }
  /** They are attached. `known`: the maps have what was taken of the balances last. `close` leaves it, and a refused change. */
  | { readonly t: "open"; readonly balancer: Balancer; known: boolean }
  /** Not to be used, or refused by the kernel, for as long as this process lives. `former`: whether to look for a former one's programs. */
  | { readonly t: "off"; readonly reason: string; former: boolean };

/**
 * Virtual IPs of TCP by eBPF when a socket connects: one set of maps for all tasks of this host. It only goes before tasks' tables,
 * which do all that it does not: so nothing else depends on its state.
 */
export class ConnectTime {
  readonly #nodeId: string;
  readonly #log: Logger;
  readonly #desired: DesiredState;
  readonly #cgroup: string | undefined;
  #state: State;

  /** `cgroup`: folder of the group of cgroup v2 that all tasks are below; with `use` false former programs there are taken away. */
  constructor(options: {
    readonly nodeId: string;
    readonly log: Logger;
    readonly desired: DesiredState;
    readonly cgroup: string | undefined;
    readonly use: boolean;
  }) {
    this.#nodeId = options.nodeId;
    this.#log = options.log;
    this.#desired = options.desired;
    this.#cgroup = options.cgroup;
    const isPossible = options.cgroup !== undefined;
    this.#state =
      options.use && isPossible ? { t: "idle" } : { t: "off", reason: "no cgroup v2 is mounted", former: true };
    if (options.use && !isPossible) this.#log.info("virtual IPs by nftables alone, since no cgroup v2 is mounted");
    else if (!options.use) this.#log.info("virtual IPs by nftables alone, as told");
  }

  get inUse(): boolean {
    return this.#state.t === "open";
  }

  /** Whether `open` would begin. */
  get isIdle(): boolean {
    return this.#state.t === "idle";
  }

  /** Why it is not used, and won't be. */
  get refusal(): string | undefined {
    return this.#state.t === "off" ? this.#state.reason : undefined;
  }

  /** Attaches the programs; resolves when they are, or when the kernel has refused, which is logged. */
  open(): Promise<void> {
    const cgroup = this.#cgroup;
    if (this.#state.t === "idle" && cgroup !== undefined) this.#state = { t: "opening", done: this.#open(cgroup) };
    return this.opened();
  }

  /** Resolves when no opening is under way. */
  async opened(): Promise<void> {
    if (this.#state.t === "opening") await this.#state.done;
  }

  /** Has the maps be as is wanted. When they can't, the programs go. */
  async apply(): Promise<void> {
    const state = this.#state;
    if (state.t === "off") return this.#removeFormer(state);
    if (state.t !== "open") return;
    try {
      const { balances } = this.#desired;
      const { before, after } = balances.take();
      const { known } = state;
      state.known = false;
      const wanted = known ? after : balances.entries;
      const changes = planEntries(known ? before : await state.balancer.maps.readAll(), wanted);
      if (changes.length > 0) await state.balancer.maps.change(changes);
      state.known = true;
    } catch (error) {
      await this.close({ detach: true }).catch(() => {}); // They are looked for once more below.
      this.#refuse(error);
      await this.apply();
    }
  }

  /** What differs from what is wanted, each a sentence. */
  async differences(): Promise<readonly string[]> {
    const state = this.#state;
    if (state.t !== "open" || !state.known) return [];
    const wanted = this.#desired.balances.entries;
    const changes = planEntries(await state.balancer.maps.readAll(), wanted);
    const found = describeMaps(changes);
    return state.balancer.isAttached ? found : [...found, "eBPF programs for virtual IPs are not attached"];
  }

  /** Has the next `open` and `apply` look again. */
  forget(): void {
    if (this.#state.t !== "open") return;
    this.#state.known = false;
    if (!this.#state.balancer.isAttached) this.#close({ detach: false });
  }

  /** Takes the programs away when no task is here, as `detach`; without it they go on for those that run. */
  async close(options: { readonly detach: boolean }): Promise<void> {
    await this.opened();
    this.#close(options);
  }

  #close(options: { readonly detach: boolean }): void {
    if (this.#state.t !== "open") return;
    const { balancer } = this.#state;
    this.#state = { t: "idle" };
    this.#desired.dropBalances();
    balancer.close(options);
  }

  async #open(cgroup: string): Promise<void> {
    try {
      const balancer = await Balancer.open(cgroup, this.#nodeId);
      this.#state = { t: "open", balancer, known: false };
      this.#log.info("virtual IPs of TCP by eBPF when a socket connects", { cgroup });
    } catch (error) {
      this.#refuse(error);
    }
  }

  #refuse(error: unknown): void {
    this.#state = { t: "off", reason: SwarmError.from(error).message, former: true };
    this.#log.warn("virtual IPs by nftables alone, since the kernel does not allow eBPF for them", { error });
  }

  /** Programs that a process with the same node id left would go on by what it knew. */
  async #removeFormer(state: State & { readonly t: "off" }): Promise<void> {
    if (!state.former || this.#cgroup === undefined) return;
    state.former = false;
    // Where the kernel does not let us look, it has let nobody attach any.
    await Balancer.remove(this.#cgroup, this.#nodeId).catch((error) =>
      this.#log.debug("no eBPF programs of before could be looked for", { error }),
    );
  }
}

/** See `tasksCgroup`, of this process. `parent`: where containers have their groups instead of beside swarmd's. */
export function ownTasksCgroup(parent: string | undefined): string | undefined {
  const [mountinfo, group] = ["mountinfo", "cgroup"].map((file) => readFileSync(`/proc/self/${file}`, "utf8"));
  return tasksCgroup(mountinfo!, group!, parent);
}
