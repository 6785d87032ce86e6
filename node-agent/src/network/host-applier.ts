import { type Logger, SwarmError } from "@starling/base";
import { Errno, type Link, type Request, rtnetlink, runSteps, type Sysctl } from "@starling/native/net";
import type { DesiredState } from "./desired-state.ts";
import { gathering } from "./encryption/safe-mesh.ts";
import { admitScript, allDevices, droppingChains } from "./foreign-firewall.ts";
import type { HostNetwork } from "./host-network.ts";
import { framesAreJudged, packetsAreJudged } from "./judged-by-rules.ts";
import { hostKinds, ruleKinds } from "./ledger.ts";
import { type Mesh, meshes } from "./names.ts";
import { type HostRules, hostTable, meshTable } from "./nft-host.ts";
import type { NftTable } from "./nft-table.ts";
import { type Observation, observeHost, withDevices } from "./observe.ts";
import { devicesAlone, planAll, planChange, planRules } from "./plan-change.ts";
import { type Entry, entryRequests, type HostPlan, isEmptyPlan, linkRequests } from "./plan-host.ts";
import { RuleLoader } from "./rule-loader.ts";
import { lookAtRules } from "./rule-look.ts";
import { ipv6WithoutAddress } from "./task-interfaces.ts";
import { missingUserChains, userChainScript } from "./user-rules.ts";

/** The host's network as it was looked at; without `entries` (those of devices) when these are known to be as was wanted last. */
type Look = Observation & { readonly entries: boolean };

/** Whether rules that are not ours judge frames of overlay networks, and packets that the host forwards. */
export interface Judged {
  readonly frames: boolean;
  readonly packets: boolean;
}

/**
 * Makes the host's devices, entries and rules as they should be. What the kernel has is looked at once and from then on known to be
 * what was wanted last, so that a change costs what it changes; `forget` has the next apply look again and compare everything.
 */
export class HostApplier {
  readonly #log: Logger;
  readonly #netns: string | undefined;
  readonly #desired: DesiredState;
  #observed: Look | undefined;
  #routed: Observation["routed"] = [];
  /** Whether the kernel's entries are those that were taken from `#desired`. */
  #entriesKnown = false;
  /** Counts `forget` and `forgetLinks`: what was looked at before the last one isn't remembered. */
  #generation = 0;
  /** What of the rules is the node's alone, as loaded last; undefined: the tables are not known, to be replaced whole. */
  #loaded: HostRules | undefined;
  readonly #meshes = new Set<Mesh>();
  /** As audits compare them, of a version of `#desired`. */
  #rendered: { readonly version: number; readonly tables: readonly NftTable[] } | undefined;
  #base = false;
  /** Devices on which IPv6 is known to be on. */
  readonly #withIpv6 = new Set<string>();
  /** Whether others' firewalls were looked at; from then on audits do it. */
  #admitted = false;
  #judged: Judged = { frames: true, packets: true };
  readonly #rules: RuleLoader;

  /** `netns` is the host's network namespace; undefined: the process's own. */
  constructor(options: {
    readonly log: Logger;
    readonly netns: string | undefined;
    readonly desired: DesiredState;
  }) {
    this.#log = options.log;
    this.#netns = options.netns;
    this.#desired = options.desired;
    this.#rules = new RuleLoader(options.netns);
  }

  forget(): void {
    this.#base = false;
    this.#withIpv6.clear();
    this.#entriesKnown = false;
    this.forgetLinks();
  }

  /** Devices came or went, with what hung on them: the rest is known. */
  forgetLinks(): void {
    this.#generation++;
    this.#observed = undefined;
  }

  /** Devices were made, with nothing on them but IPv6 switched on for those of `withIpv6`: the rest is known. */
  devicesMade(made: readonly Link[], withIpv6: readonly string[]): void {
    // A look that is under way may lack them.
    this.#generation++;
    if (this.#observed !== undefined) this.#observed = { ...this.#observed, ...withDevices(this.#observed, made) };
    for (const name of withIpv6) this.#withIpv6.add(name);
  }

  forgetTables(): void {
    this.#loaded = undefined;
    this.#rendered = undefined;
    this.#meshes.clear();
  }

  async observation(): Promise<Observation> {
    return this.#look();
  }

  async #look(): Promise<Look> {
    if (this.#observed !== undefined) return this.#observed;
    const generation = this.#generation;
    const entries = !this.#entriesKnown;
    const observed = await observeHost(this.#netns, entries ? "all" : "devices");
    const routed = entries ? observed.routed : this.#routed.filter(({ device }) => observed.network.links.has(device));
    const look = { ...observed, routed, entries };
    this.#routed = routed;
    if (generation === this.#generation) this.#observed = look;
    return look;
  }

  /** What others' rules judge, as `admit` saw last; until then they may. */
  get judged(): Judged {
    return this.#judged;
  }

  /** Whether others have changed rules of the host since the last call. */
  rulesChangedByOthers(): Promise<boolean> {
    return this.#rules.othersChanged();
  }

  close(): void {
    this.#rules.close();
  }

  /** The tables as they should be in the kernel now. */
  get tables(): readonly NftTable[] {
    if (this.#loaded === undefined) return [];
    const { version } = this.#desired;
    if (this.#rendered?.version !== version) {
      const rules = this.#allRules();
      const meshTables = Array.from(this.#meshes, (mesh) => meshTable(mesh, rules.items.meshPeers.keys()));
      this.#rendered = { version, tables: [hostTable(rules), ...meshTables] };
    }
    return this.#rendered.tables;
  }

  /** Returns how many things of the host's network it changed, rules not counted. Rejects when the kernel refuses. */
  async apply(): Promise<number> {
    await this.#prepare();
    try {
      const plan = (await this.#plan()) ?? (await this.#planAll());
      const links = new Map(this.#desired.ledger.all(["links"]).links);
      // Guards are there before the first device whose packets they hold back.
      if (this.#loaded === undefined) await this.#loadTables([]);
      if (!isEmptyPlan(plan)) await this.#applyPlan(plan, links);
      await this.#loadTables(meshes.filter(({ device }) => links.has(device)));
      return Object.values(plan).reduce((sum, list: readonly unknown[]) => sum + list.length, 0);
    } catch (error) {
      this.forget();
      throw error;
    }
  }

  /** What differs in the kernel now from what is wanted. Rules aside: `tables` are compared by themselves. */
  async differences(): Promise<HostPlan> {
    this.forget();
    const look = await this.#look();
    const plan = planAll(this.#desired.ledger, look.network);
    if (isEmptyPlan(plan)) this.#settle(look);
    return plan;
  }

  /** What is to be done for what changed since the last plan; undefined: everything is to be compared. */
  async #plan(): Promise<HostPlan | undefined> {
    const { entries, network } = await this.#look();
    if (entries || !this.#entriesKnown) return undefined;
    const plan = planChange(this.#desired.ledger, network.links);
    if (plan === undefined) this.forget();
    return plan;
  }

  async #planAll(): Promise<HostPlan> {
    if (this.#observed?.entries === false) this.forget();
    const look = await this.#look();
    const plan = planAll(this.#desired.ledger, look.network);
    this.#settle(look);
    return plan;
  }

  /** What `look` shows is made as was wanted just now. */
  #settle(look: Look): void {
    this.#desired.ledger.take(hostKinds);
    this.#entriesKnown = true;
    if (this.#observed === look) this.#observed = { ...look, network: devicesAlone(look.network), entries: false };
  }

  /**
   * Sees to what lies beside our tables: has others' firewalls let pass what our devices forward, and operators have their chains,
   * when `repair`. Returns a sentence for each chain where it was not so.
   */
  async admit(repair: boolean): Promise<readonly string[]> {
    const { ruleset, ...others } = await lookAtRules(this.#netns);
    this.#judged = { frames: framesAreJudged(ruleset), packets: packetsAreJudged(ruleset, others) };
    const users = missingUserChains(ruleset);
    const findings = users.map((name) => `chain ${name} for operators' rules is missing`);
    if (repair) await this.#rules.load(userChainScript(users));
    for (const chain of droppingChains(ruleset)) {
      const finding = `chain ${chain.name} of another firewall drops what is forwarded and has no rule for the tasks' devices`;
      // A chain may be its owner's alone, or gone again.
      const refused = repair ? await this.#rules.load(admitScript(chain)).then(() => "", textOf) : "";
      findings.push(refused === "" ? finding : `${finding}; it takes none (${refused}): let ${allDevices} pass there`);
    }
    return findings;
  }

  async #prepare(): Promise<void> {
    if (this.#base) return;
    const { ipv6 } = this.#desired.inputs;
    const { routeLearners } = await this.observation();
    await writeSysctls(
      [
        { path: "net/ipv4/ip_forward", value: "1" },
        // Else frames between containers of one overlay would pass the host's IP rules as if routed.
        { path: "net/bridge/bridge-nf-call-iptables", value: "0", optional: true },
        { path: "net/bridge/bridge-nf-call-ip6tables", value: "0", optional: true },
        ...(ipv6 ? forwardingOfIpv6(routeLearners) : []),
      ],
      this.#netns,
    );
    this.#base = true;
    if (this.#admitted) return;
    this.#admitted = true;
    for (const finding of await this.admit(true)) this.#log.info("seen to beside our rules", { finding });
  }

  async #applyPlan(plan: HostPlan, links: HostNetwork["links"]): Promise<void> {
    this.#log.debug("host network changes", {
      links: [
        ...plan.deleteLinks.map((n) => `-${n}`),
        ...plan.createLinks.map((n) => `+${n}`),
        ...plan.changeLinks,
      ].join(" "),
      dropped: plan.dropEntries.length,
      added: plan.addEntries.length,
    });
    const linksChange = plan.deleteLinks.length + plan.createLinks.length + plan.changeLinks.length > 0;
    for (const mesh of meshes) if (plan.deleteLinks.includes(mesh.device)) this.#meshes.delete(mesh);
    if (linksChange) {
      for (const kinds of ["bridges", "others"] as const) {
        const { indexes } = await this.observation();
        await converse(linkRequests(plan, links, kinds, indexes), this.#netns);
        this.forgetLinks();
      }
      await writeSysctls(linkSysctls(plan, links), this.#netns);
    }
    const { indexes } = await this.observation();
    await this.#switchOnIpv6(plan, links);
    for (const requests of entryRequests(plan, indexes)) await converse(requests, this.#netns);
    if (linksChange) this.forgetLinks();
  }

  /** On devices that are to have entries of it, which the kernel would refuse: tasks' are made without, as all were once. */
  async #switchOnIpv6({ addEntries }: HostPlan, links: HostNetwork["links"]): Promise<void> {
    const devices = new Set(addEntries.flatMap(ipv6DeviceOf));
    const off = [...devices].filter((name) => links.has(name) && !this.#withIpv6.has(name));
    await writeSysctls(off.flatMap(ipv6WithoutAddress), this.#netns);
    for (const name of off) this.#withIpv6.add(name);
  }

  /** The host's table, and those of `there`: meshes whose devices exist. */
  async #loadTables(there: readonly Mesh[]): Promise<void> {
    const all = this.#allRules();
    const changes = this.#desired.ledger.take(ruleKinds);
    const script = planRules({ loaded: this.#loaded, loadedMeshes: this.#meshes }, { all, meshes: there, changes });
    this.#loaded = undefined;
    if (script !== "") {
      this.forgetTables();
      await this.#rules.load(script);
    }
    this.#loaded = all;
    this.#meshes.clear();
    for (const mesh of there) this.#meshes.add(mesh);
  }

  #allRules(): HostRules {
    return this.#desired.rulesOf(this.#desired.ledger.all(ruleKinds));
  }
}

const textOf = (error: unknown): string => SwarmError.from(error).message;

/**
 * The kernel forwards IPv6 on no device unless on all. A host that forwards takes no router's advertisements, and loses the
 * default routes that it has from them, unless told to (2) before.
 */
const forwardingOfIpv6 = (routeLearners: readonly string[]): readonly Sysctl[] => [
  ...routeLearners.map((name) => ({ path: `net/ipv6/conf/${name}/accept_ra`, value: "2", optional: true })),
  { path: "net/ipv6/conf/all/forwarding", value: "1" },
];

/** The device of an entry of IPv6; none of others, nor of what hangs on none. */
function ipv6DeviceOf(entry: Entry): readonly string[] {
  if (entry.kind === "route")
    return entry.route.device && entry.route.destination.includes(":") ? [entry.route.device] : [];
  if (entry.kind !== "address" && entry.kind !== "neighbour") return [];
  return entry.address.includes(":") ? [entry.device] : [];
}

function linkSysctls(plan: HostPlan, links: HostNetwork["links"]): readonly Sysctl[] {
  return plan.createLinks.flatMap((name) => [
    { path: `net/ipv6/conf/${name}/disable_ipv6`, value: "1", optional: true },
    ...(links.get(name)?.ipv6 ? ipv6WithoutAddress(name) : []),
    // The host has no address on a bridge, and tells tasks none of its others there (8: answers no ARP).
    ...(links.get(name)?.kind === "bridge" ? [{ path: `net/ipv4/conf/${name}/arp_ignore`, value: "8" }] : []),
    ...(links.get(name)?.vxlan?.withoutChecksum ? [gathering(name)] : []),
    ...(meshes.some(({ device }) => device === name)
      ? ["src_valid_mark", "route_localnet"].map((file) => ({ path: `net/ipv4/conf/${name}/${file}`, value: "1" }))
      : []),
  ]);
}

/** Answers that mean the work is done already: deleting what is gone, making what is there. */
const settled: ReadonlySet<number> = new Set([
  Errno.ENOENT,
  Errno.ESRCH,
  Errno.ENODEV,
  Errno.EADDRNOTAVAIL,
  Errno.EEXIST,
]);

function isDelete(request: Request): boolean {
  const { delLink, delAddress, delRoute, delNeighbour, delRule } = rtnetlink.Rtm;
  return [delLink, delAddress, delRoute, delNeighbour, delRule].some((type) => type === request.type);
}

/** Sends the requests in the process's own namespace or that at `netns`; throws at the first that was refused. */
export async function converse(requests: readonly Request[], netns?: string): Promise<void> {
  if (requests.length === 0) return;
  const step = { type: "netlink", protocol: rtnetlink.routeProtocol, requests } as const;
  const [{ answers }] = await runSteps(netns, [step]);
  checkAnswers(requests, answers);
}

export function checkAnswers(
  requests: readonly Request[],
  answers: readonly { error: number; explanation: string }[],
): void {
  answers.forEach(({ error, explanation }, position) => {
    const request = requests[position]!;
    const tolerated = isDelete(request)
      ? settled.has(error)
      : // Rules and local routes are made without replacing what is there.
        [rtnetlink.Rtm.newRule, rtnetlink.Rtm.newRoute].some((type) => type === request.type) && error === Errno.EEXIST;
    if (error === 0 || tolerated) return;
    throw new Error(`netlink request ${position} (type ${request.type}): errno ${error} ${explanation}`.trim());
  });
}

export async function writeSysctls(settings: readonly Sysctl[], netns?: string): Promise<void> {
  if (settings.length === 0) return;
  const [{ errors }] = await runSteps(netns, [{ type: "sysctl", settings }]);
  const error = errors.find((text) => text !== "");
  if (error !== undefined) throw new Error(error);
}

/** Loads rules in a namespace; `session` names what is kept for its next script. */
export async function loadRules(netns: string | undefined, script: string, session: string): Promise<void> {
  const [result] = await runSteps(netns, [{ type: "nft", script, session }]);
  if (!result.ok) throw new Error(`nftables refused: ${result.error.trim()}`);
}
