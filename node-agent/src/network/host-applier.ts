import { type Logger, SwarmError } from "@starling/base";
import { Errno, type Request, rtnetlink, runSteps, type Sysctl } from "@starling/native/net";
import { desiredHostNetwork, desiredHostRules, type NodeInputs } from "./desired.ts";
import { admitScript, allDevices, droppingChains, type Ruleset } from "./foreign-firewall.ts";
import { type HostNetwork, isMadeElsewhere } from "./host-network.ts";
import { type Mesh, meshes } from "./names.ts";
import { hostTable, meshTable } from "./nft-host.ts";
import { type NftTable, planTable } from "./nft-table.ts";
import { type Observation, observeHost } from "./observe.ts";
import { type Entry, entryRequests, type HostPlan, isEmptyPlan, linkRequests, planHost } from "./plan-host.ts";
import { RuleLoader } from "./rule-loader.ts";
import { missingUserChains, userChainScript } from "./user-rules.ts";

/**
 * Makes the host's devices, entries and rules as they should be. What the kernel has is looked at once and then
 * remembered, so that a change costs what it changes; `forget` has the next apply look again.
 */
export class HostApplier {
  readonly #log: Logger;
  readonly #netns: string | undefined;
  #observed: Observation | undefined;
  /** Counts `forget`: what was looked at before the last one isn't remembered. */
  #generation = 0;
  /** Tables as last loaded; undefined: not known, to be replaced whole. */
  #host: NftTable | undefined;
  readonly #meshes = new Map<Mesh, NftTable>();
  #base = false;
  /** Devices on which IPv6 is known to be on. */
  readonly #withIpv6 = new Set<string>();
  /** Whether others' firewalls were looked at; from then on audits do it. */
  #admitted = false;
  readonly #rules: RuleLoader;

  /** `netns` is the host's network namespace; undefined: the process's own. */
  constructor(log: Logger, netns: string | undefined) {
    this.#log = log;
    this.#netns = netns;
    this.#rules = new RuleLoader(netns);
  }

  forget(): void {
    this.#base = false;
    this.#withIpv6.clear();
    this.#generation++;
    this.#observed = undefined;
  }

  forgetTables(): void {
    this.#host = undefined;
    this.#meshes.clear();
  }

  async observation(): Promise<Observation> {
    if (this.#observed !== undefined) return this.#observed;
    const generation = this.#generation;
    const observed = await observeHost(this.#netns);
    if (generation === this.#generation) this.#observed = observed;
    return observed;
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
    return [...(this.#host === undefined ? [] : [this.#host]), ...this.#meshes.values()];
  }

  /** Returns how many things of the host's network it changed, rules not counted. Rejects when the kernel refuses. */
  async apply(inputs: NodeInputs): Promise<number> {
    await this.#prepare(inputs);
    const desired = desiredHostNetwork(inputs);
    const plan = planHost(desired, (await this.observation()).network);
    try {
      // Guards are there before the first device whose packets they hold back.
      if (this.#host === undefined) await this.#loadTables(inputs, []);
      if (!isEmptyPlan(plan)) await this.#applyPlan(plan, desired);
      const there = meshes.filter(({ device }) => desired.links.has(device));
      await this.#loadTables(inputs, there);
    } catch (error) {
      this.forget();
      throw error;
    }
    return Object.values(plan).reduce((sum, list: readonly unknown[]) => sum + list.length, 0);
  }

  /** What differs in the kernel now from what `inputs` ask for. Rules aside: `tables` are compared by themselves. */
  async differences(inputs: NodeInputs): Promise<HostPlan> {
    this.forget();
    return planHost(desiredHostNetwork(inputs), (await this.observation()).network);
  }

  /**
   * Sees to what lies beside our tables: has others' firewalls let pass what our devices forward, and operators have their chains,
   * when `repair`. Returns a sentence for each chain where it was not so.
   */
  async admit(repair: boolean): Promise<readonly string[]> {
    const [listing] = await runSteps(this.#netns, [{ type: "nft", script: "list ruleset", json: true }]);
    if (!listing.ok) throw new Error(`nftables refused: ${listing.error.trim()}`);
    const ruleset = JSON.parse(listing.output) as Ruleset;
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

  async #prepare({ ipv6 }: NodeInputs): Promise<void> {
    if (this.#base) return;
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

  async #applyPlan(plan: HostPlan, desired: HostNetwork): Promise<void> {
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
        await converse(linkRequests(plan, desired, kinds, indexes), this.#netns);
        this.forget();
      }
      await writeSysctls(linkSysctls(plan, desired), this.#netns);
    }
    const generation = this.#generation;
    const observed = await this.observation();
    await this.#switchOnIpv6(plan, desired);
    await converse(entryRequests(plan, observed.indexes), this.#netns);
    if (linksChange) this.forget();
    if (generation !== this.#generation) return;
    const network = { ...desired, ...keptEntries(observed.network, desired), links: observed.network.links };
    this.#observed = { ...observed, network };
  }

  /** On devices that are to have entries of it, which the kernel would refuse: tasks' are made without, as all were once. */
  async #switchOnIpv6({ addEntries }: HostPlan, desired: HostNetwork): Promise<void> {
    const devices = new Set(addEntries.flatMap(ipv6DeviceOf));
    const off = [...devices].filter((name) => desired.links.has(name) && !this.#withIpv6.has(name));
    const settings = off.flatMap((name) => [
      { path: `net/ipv6/conf/${name}/addr_gen_mode`, value: "1" },
      { path: `net/ipv6/conf/${name}/disable_ipv6`, value: "0" },
    ]);
    await writeSysctls(settings, this.#netns);
    for (const name of off) this.#withIpv6.add(name);
  }

  /** The host's table, and those of `there`: meshes whose devices exist. */
  async #loadTables(inputs: NodeInputs, there: readonly Mesh[]): Promise<void> {
    const rules = desiredHostRules(inputs);
    const host = hostTable(rules);
    const tables = new Map(there.map((mesh) => [mesh, meshTable(mesh, rules.peers)]));
    const scripts = [...tables].map(([mesh, table]) => planTable(this.#meshes.get(mesh), table));
    const script = planTable(this.#host, host) + scripts.join("");
    if (script === "") return;
    try {
      await this.#rules.load(script);
    } catch (error) {
      this.forgetTables();
      throw error;
    }
    this.#host = host;
    for (const [mesh, table] of tables) this.#meshes.set(mesh, table);
  }
}

const textOf = (error: unknown): string => SwarmError.from(error).message;

/** Entries of tasks' devices that the plan leaves alone since nobody speaks for them. */
function keptEntries(
  observed: HostNetwork,
  desired: HostNetwork,
): Pick<HostNetwork, "routes" | "neighbours" | "forwarding"> {
  const spoken = [...observed.links].every(([name, link]) => link.kind !== "veth" || desired.links.has(name));
  if (spoken) return desired;
  const unspoken = (device: string | undefined) =>
    device !== undefined && isMadeElsewhere(observed.links.get(device)) && !desired.links.has(device);
  const byDevice = ([key]: readonly [string, string]) => unspoken(key.split("|")[0]);
  return {
    routes: new Map([...[...observed.routes].filter(([, route]) => unspoken(route.device)), ...desired.routes]),
    neighbours: new Map([...[...observed.neighbours].filter(byDevice), ...desired.neighbours]),
    forwarding: new Map([...[...observed.forwarding].filter(byDevice), ...desired.forwarding]),
  };
}

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

function linkSysctls(plan: HostPlan, desired: HostNetwork): readonly Sysctl[] {
  return plan.createLinks.flatMap((name) => [
    { path: `net/ipv6/conf/${name}/disable_ipv6`, value: "1", optional: true },
    // Takes IPv6 neighbour entries, but no address of its own.
    ...(desired.links.get(name)?.ipv6
      ? [
          { path: `net/ipv6/conf/${name}/addr_gen_mode`, value: "1" },
          { path: `net/ipv6/conf/${name}/disable_ipv6`, value: "0" },
        ]
      : []),
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
      : request.type === rtnetlink.Rtm.newRule && error === Errno.EEXIST;
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
