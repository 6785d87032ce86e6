import { type Logger, SwarmError } from "@starling/base";
import {
  type DeviceObject,
  DevicePrograms,
  decodeReplies,
  Errno,
  type Request,
  rtnetlink,
  runSteps,
  trafficControl,
} from "@starling/native/net";
import { describeMaps } from "./describe-plan.ts";
import type { DesiredState } from "./desired-state.ts";
import { writeSysctls } from "./host-applier.ts";
import type { Items, Kinds } from "./ledger.ts";
import type { Observation } from "./observe.ts";
import {
  changeEntries,
  type OwnEntries,
  planShortcuts,
  type ShortcutKind,
  type ShortcutPlan,
  type ShortcutState,
} from "./shortcut-plan.ts";

type State<MapName extends string, Program extends string> =
  /** Nothing is loaded by this process. */
  | { readonly t: "idle" }
  | { readonly t: "open"; readonly loaded: DevicePrograms<MapName, Program> }
  /** Not to be used, or refused by the kernel, for as long as this process lives. */
  | { readonly t: "off" };

/** What was wanted last, of which the kernel has all, and what it was worked out from. */
interface Made<MapName extends string, Program extends string> extends ShortcutState<MapName, Program> {
  readonly maps: OwnEntries<MapName>;
  readonly programs: ReadonlyMap<number, Program>;
  readonly indexes: Observation["indexes"];
  readonly isAllowed: boolean;
}

/** Loads programs; by default from this build. */
export type LoadPrograms = <MapName extends string, Program extends string>(
  object: DeviceObject<MapName, Program>,
) => Promise<DevicePrograms<MapName, Program>>;

export interface ShortcutOptions {
  readonly log: Logger;
  /** The host's network namespace; undefined: the process's own. */
  readonly netns: string | undefined;
  readonly desired: DesiredState;
  /** Else those of before are taken away. */
  readonly use: boolean;
  readonly load?: LoadPrograms | undefined;
}

/**
 * Has packets of one kind take a shorter way, by eBPF at the host's devices, where the kernel allows it and nobody has rules about
 * them. The long way is always whole: nothing else depends on the state of this, and nobody waits for it.
 */
export class Shortcuts<MapName extends string, Program extends string, Kind extends keyof Kinds> {
  readonly #kind: ShortcutKind<MapName, Program, Kind>;
  readonly #log: Logger;
  readonly #netns: string | undefined;
  readonly #desired: DesiredState;
  readonly #load: LoadPrograms;
  #state: State<MapName, Program>;
  /** Undefined: what the kernel has is not known. */
  #made: Made<MapName, Program> | undefined;
  /** Counts `forget`: what is under way meanwhile is not known after it. */
  #forgotten = 0;

  constructor(kind: ShortcutKind<MapName, Program, Kind>, options: ShortcutOptions) {
    this.#kind = kind;
    this.#log = options.log;
    this.#netns = options.netns;
    this.#desired = options.desired;
    this.#load = options.load ?? DevicePrograms.open;
    this.#state = { t: options.use ? "idle" : "off" };
    if (!options.use) this.#log.info(`${kind.what} ${kind.long}, as told`);
  }

  /** Whether packets take the short way. */
  get inUse(): boolean {
    return this.#made !== undefined && this.#made.programs.size > 0;
  }

  /** Loads the programs; rejects where the kernel does not allow it, saying why. */
  async open(): Promise<void> {
    if (this.#state.t !== "idle") return;
    const { what, short, object } = this.#kind;
    this.#state = { t: "open", loaded: await this.#load(object) };
    this.#log.info(`${what} ${short}, by eBPF`);
  }

  /** `open`, for who wants it or nothing. */
  async must(): Promise<void> {
    await this.open().catch((error) => {
      throw new SwarmError("FailedPrecondition", `${this.#kind.what} by eBPF: ${SwarmError.from(error).message}`);
    });
  }

  /** Has the kernel have what is wanted by now; none unless `isAllowed`. When it refuses, they go, and stay away. */
  async apply(observation: Observation, isAllowed: boolean): Promise<void> {
    try {
      await this.#apply(observation, isAllowed);
    } catch (error) {
      this.close();
      const { what, long } = this.#kind;
      this.#log.warn(`${what} ${long}, since the kernel does not allow eBPF for them`, { error });
      // Where the kernel does not let us take any away, it has taken none.
      await this.#apply(observation, isAllowed).catch((again) =>
        this.#log.debug(`no programs for ${what} were taken off devices`, { error: again }),
      );
    }
  }

  /** What differs from what was made last, each a sentence. */
  async differences(): Promise<readonly string[]> {
    const made = this.#made;
    if (this.#state.t !== "open" || made === undefined) return [];
    const { loaded } = this.#state;
    const maps = await loaded.maps.readAll();
    const { changes, attach } = planShortcuts({ maps, programs: await this.#attached(loaded, made) }, made);
    const lacking = attach.size === 0 ? [] : [`${attach.size} devices lack their eBPF program for ${this.#kind.what}`];
    return [...describeMaps(changes), ...lacking];
  }

  /** Has the next `apply` look again. */
  forget(): void {
    this.#forgotten++;
    this.#made = undefined;
  }

  /** Ends this process's hold for good: what is in the kernel goes on. */
  close(): void {
    if (this.#state.t === "open") this.#state.loaded.close();
    this.#state = { t: "off" };
    this.forget();
  }

  async #apply(observation: Observation, isAllowed: boolean): Promise<void> {
    const { kinds, entries, programs } = this.#kind;
    const { ledger } = this.#desired;
    const { before, after } = ledger.take(kinds);
    const { indexes } = observation;
    const made = this.#made;
    const isSame = made?.indexes === indexes && made.isAllowed === isAllowed;
    if (isSame && isEmpty(before) && isEmpty(after)) return;
    const items = ledger.all(kinds);
    const nothing = Object.fromEntries(kinds.map((kind) => [kind, new Map()])) as unknown as Items<Kind>;
    const isPossible = isAllowed && this.#state.t !== "off";
    const wanted = programs(isPossible ? items : nothing, observation);
    const isWanted = wanted.size > 0;
    this.#made = undefined;
    const forgotten = this.#forgotten;
    if (isWanted) await this.open();
    const there = new Set(indexes.values());
    let maps: OwnEntries<MapName>;
    if (made !== undefined && made.programs.size > 0 && isSame && isWanted) {
      // What changed costs no more than that.
      const [from, to] = [entries(before, observation), entries(after, observation)];
      const plan = planShortcuts({ maps: from, programs: made.programs }, { maps: to, programs: wanted });
      await this.#make(plan, there);
      maps = made.maps;
      changeEntries(maps, plan.changes);
    } else {
      const former = made ?? (await this.#former(observation));
      maps = this.#state.t === "open" ? entries(isWanted ? items : nothing, observation) : this.#noEntries();
      await this.#make(planShortcuts(former, { maps, programs: wanted }), there);
    }
    if (forgotten === this.#forgotten) this.#made = { maps, programs: wanted, indexes, isAllowed };
  }

  /** All that may be there: what a former process left at devices has maps of its own. */
  async #former(observation: Observation): Promise<ShortcutState<MapName, Program>> {
    const maps = this.#state.t === "open" ? await this.#state.loaded.maps.readAll() : this.#noEntries();
    const devices = [...observation.indexes].filter(([name]) => this.#kind.mayHave(name));
    return { maps, programs: new Map(devices.map(([, index]) => [index, "unknown"] as const)) };
  }

  /** Of maps that are not loaded. */
  #noEntries(): OwnEntries<MapName> {
    const maps = Object.keys(this.#kind.object.maps).map((map) => [map, new Map<string, string>()]);
    return Object.fromEntries(maps) as OwnEntries<MapName>;
  }

  async #make({ changes, attach, detach }: ShortcutPlan<MapName, Program>, there: ReadonlySet<number>): Promise<void> {
    await this.#converse(
      detach.filter((index) => there.has(index)).map(trafficControl.deleteFilter),
      // The device may have none, or be gone.
      [Errno.ENOENT, Errno.EINVAL, Errno.ENODEV],
    );
    if (this.#state.t !== "open") return;
    const { loaded } = this.#state;
    if (changes.length > 0) await loaded.maps.change(changes);
    if (attach.size > 0) await writeSysctls(this.#kind.sysctls, this.#netns);
    await this.#converse(
      [...attach].flatMap(([index, at]) => [
        trafficControl.addClsact(index),
        trafficControl.addFilter(index, loaded.program(at)),
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
  async #attached(
    loaded: DevicePrograms<MapName, Program>,
    { programs }: ShortcutState<MapName, Program>,
  ): Promise<ShortcutState<MapName, Program>["programs"]> {
    const steps = Array.from(programs.keys(), (index) => ({
      ...{ type: "netlink" as const, protocol: rtnetlink.routeProtocol },
      requests: [trafficControl.getFilters(index)],
    }));
    const results = await runSteps(this.#netns, steps);
    const found = results.flatMap(({ replies }) => [...trafficControl.decodeFilters(decodeReplies(replies))]);
    const places = Object.keys(this.#kind.object.programs) as Program[];
    const byId = new Map(places.map((at) => [loaded.program(at).id, at]));
    return new Map(found.map(([index, id]) => [index, byId.get(id) ?? "unknown"]));
  }
}

const isEmpty = (items: Readonly<Record<string, ReadonlyMap<string, unknown>>>): boolean =>
  Object.values(items).every(({ size }) => size === 0);
