import { type Logger, SwarmError } from "@starling/base";
import {
  decodeReplies,
  Errno,
  type Request,
  rtnetlink,
  runSteps,
  Shortcut,
  type ShortcutProgram,
  shortcutPrograms,
  trafficControl,
} from "@starling/native/net";
import { describeMaps } from "./describe-plan.ts";
import type { DesiredState } from "./desired-state.ts";
import { shortcutKinds } from "./ledger.ts";
import type { Observation } from "./observe.ts";
import {
  mayHaveShortcut,
  noShortcuts,
  planShortcuts,
  type ShortcutPlan,
  type ShortcutState,
  type WantedShortcuts,
  wantedShortcuts,
} from "./shortcut-plan.ts";

type State =
  /** Nothing is loaded by this process. */
  | { readonly t: "idle" }
  | { readonly t: "open"; readonly shortcut: Shortcut }
  /** Not to be used, or refused by the kernel, for as long as this process lives. */
  | { readonly t: "off" };

/** What was wanted last, of which the kernel has all, and what it was worked out from. */
interface Made extends WantedShortcuts {
  readonly indexes: Observation["indexes"];
  readonly isAllowed: boolean;
}

/**
 * Frames of overlay networks go past the bridge, by eBPF at tasks' and VXLAN devices, where the kernel allows it and nobody has
 * rules about frames. Bridges are always whole: nothing else depends on the state of this, and nobody waits for it.
 */
export class Shortcuts {
  readonly #log: Logger;
  readonly #netns: string | undefined;
  readonly #desired: DesiredState;
  readonly #load: () => Promise<Shortcut>;
  #state: State;
  /** Undefined: what the kernel has is not known. */
  #made: Made | undefined;
  /** Counts `forget`: what is under way meanwhile is not known after it. */
  #forgotten = 0;

  /** `netns` is the host's network namespace (undefined: the process's own); without `use` those of before are taken away. */
  constructor(options: {
    readonly log: Logger;
    readonly netns: string | undefined;
    readonly desired: DesiredState;
    readonly use: boolean;
    /** Loads the programs; default: from this build. */
    readonly load?: (() => Promise<Shortcut>) | undefined;
  }) {
    this.#log = options.log;
    this.#netns = options.netns;
    this.#desired = options.desired;
    this.#load = options.load ?? Shortcut.open;
    this.#state = { t: options.use ? "idle" : "off" };
    if (!options.use) this.#log.info("frames of overlay networks pass their bridges, as told");
  }

  /** Whether frames of tasks here go past their bridges. */
  get inUse(): boolean {
    return this.#made !== undefined && this.#made.programs.size > 0;
  }

  /** Loads the programs; rejects where the kernel does not allow it. */
  async open(): Promise<void> {
    if (this.#state.t !== "idle") return;
    this.#state = { t: "open", shortcut: await this.#load() };
    this.#log.info("frames of overlay networks go past their bridges, by eBPF");
  }

  /** Has the kernel have what is wanted by now; none unless `isAllowed`. When it refuses, they go, and stay away. */
  async apply({ indexes }: Pick<Observation, "indexes">, isAllowed: boolean): Promise<void> {
    try {
      await this.#apply(indexes, isAllowed);
    } catch (error) {
      this.close();
      this.#log.warn("frames of overlay networks pass their bridges, since the kernel does not allow eBPF for them", {
        error,
      });
      // Where the kernel does not let us take any away, it has taken none.
      await this.#apply(indexes, isAllowed).catch((again) =>
        this.#log.debug("no programs were taken off devices of overlay networks", { error: again }),
      );
    }
  }

  /** What differs from what was made last, each a sentence. */
  async differences(): Promise<readonly string[]> {
    const made = this.#made;
    if (this.#state.t !== "open" || made === undefined) return [];
    const { shortcut } = this.#state;
    const maps = await shortcut.maps.readAll();
    const { changes, attach } = planShortcuts({ maps, programs: await this.#attached(shortcut, made) }, made);
    const lacking = attach.size === 0 ? [] : [`${attach.size} devices of overlay networks lack their eBPF program`];
    return [...describeMaps(changes), ...lacking];
  }

  /** Has the next `apply` look again. */
  forget(): void {
    this.#forgotten++;
    this.#made = undefined;
  }

  /** Ends this process's hold for good: what is in the kernel goes on. */
  close(): void {
    if (this.#state.t === "open") this.#state.shortcut.close();
    this.#state = { t: "off" };
    this.forget();
  }

  async #apply(indexes: Observation["indexes"], isAllowed: boolean): Promise<void> {
    const { ledger } = this.#desired;
    const { before, after } = ledger.take(shortcutKinds);
    const made = this.#made;
    const isSame = made?.indexes === indexes && made.isAllowed === isAllowed;
    if (isSame && before.ports.size + after.ports.size === 0) return;
    const isPossible = isAllowed && this.#state.t !== "off";
    const wanted = isPossible ? wantedShortcuts(ledger.all(shortcutKinds).ports, indexes) : noShortcuts;
    this.#made = undefined;
    const forgotten = this.#forgotten;
    if (wanted.programs.size > 0) await this.open();
    await this.#make(planShortcuts(made ?? (await this.#former(indexes)), wanted), new Set(indexes.values()));
    if (forgotten === this.#forgotten) this.#made = { ...wanted, indexes, isAllowed };
  }

  /** All that may be there: what a former process left at devices has maps of its own. */
  async #former(indexes: Observation["indexes"]): Promise<ShortcutState> {
    const maps = this.#state.t === "open" ? await this.#state.shortcut.maps.readAll() : noShortcuts.maps;
    const devices = [...indexes].filter(([name]) => mayHaveShortcut(name));
    return { maps, programs: new Map(devices.map(([, index]) => [index, "unknown"] as const)) };
  }

  async #make({ changes, attach, detach }: ShortcutPlan, there: ReadonlySet<number>): Promise<void> {
    await this.#converse(
      detach.filter((index) => there.has(index)).map(trafficControl.deleteFilter),
      // The device may have none, or be gone.
      [Errno.ENOENT, Errno.EINVAL, Errno.ENODEV],
    );
    if (this.#state.t !== "open") return;
    const { shortcut } = this.#state;
    if (changes.length > 0) await shortcut.maps.change(changes);
    const program = (at: ShortcutProgram) => ({ fd: shortcut.program(at).fd, name: `starling_from_${at}` });
    await this.#converse(
      [...attach].flatMap(([index, at]) => [
        trafficControl.addClsact(index),
        trafficControl.addFilter(index, program(at)),
      ]),
      [Errno.EEXIST, Errno.ENODEV],
    );
  }

  /** Throws at the first request that was refused with another errno than those. */
  async #converse(requests: readonly Request[], tolerated: readonly number[]): Promise<void> {
    if (requests.length === 0) return;
    const [{ answers }] = await runSteps(this.#netns, [
      { type: "netlink", protocol: rtnetlink.routeProtocol, requests },
    ]);
    const refused = answers.find(({ error }) => error !== 0 && !tolerated.includes(error));
    if (refused !== undefined)
      throw new SwarmError("Internal", `traffic control: errno ${refused.error} ${refused.explanation}`.trim());
  }

  /** Which of our programs are at the devices where they were put. */
  async #attached(shortcut: Shortcut, { programs }: ShortcutState): Promise<ShortcutState["programs"]> {
    const steps = Array.from(programs.keys(), (index) => ({
      ...{ type: "netlink" as const, protocol: rtnetlink.routeProtocol },
      requests: [trafficControl.getFilters(index)],
    }));
    const results = await runSteps(this.#netns, steps);
    const found = results.flatMap(({ replies }) => [...trafficControl.decodeFilters(decodeReplies(replies))]);
    const byId = new Map(shortcutPrograms.map((at) => [shortcut.program(at).id, at]));
    return new Map(found.map(([index, id]) => [index, byId.get(id) ?? "unknown"]));
  }
}
