/** For tests: a kernel that is told what to do by plans and scripts. */
import { type HostLink, type HostNetwork, type HostRoute, pair, routeKey, unpair } from "./host-network.ts";
import type { HostPlan } from "./plan-host.ts";

/** nftables of one namespace: takes our scripts, and refuses what nft would. */
export class ModelNft {
  readonly #tables = new Map<string, { sets: Map<string, Map<string, string>>; chains: Map<string, string[]> }>();

  load(script: string): void {
    for (const line of this.#statements(script)) this.#do(line);
    for (const { sets, chains } of this.#tables.values()) {
      const texts = [...chains.values(), ...[...sets.values()].map((elements) => [...elements.values()])].flat();
      for (const text of texts) {
        const target = /goto (\S+)$/.exec(text)?.[1];
        if (target !== undefined && !chains.has(target)) throw new Error(`nothing to go to: ${text}`);
      }
    }
  }

  /** All that is there, in no order but that of rules. */
  get listing(): unknown {
    const sorted = <V>(map: Map<string, V>) => [...map].sort(([a], [b]) => (a < b ? -1 : 1));
    return sorted(this.#tables).map(([name, { sets, chains }]) => [
      name,
      sorted(sets).map(([set, elements]) => [set, sorted(elements)]),
      sorted(chains),
    ]);
  }

  /** Whole tables are turned into the statements that they stand for. */
  #statements(script: string): readonly string[] {
    let table = "";
    let chain = "";
    return script.split("\n").flatMap((text) => {
      const line = text.trim();
      const [, kind, name = ""] = /^(table|set|map|chain) (.*?)(?: \{.*)?$/.exec(line) ?? [];
      if (kind === "table") {
        table = name;
        return [`add table ${name}`];
      }
      if (kind === "chain") chain = name;
      if (kind === "set" || kind === "map") return [`add set ${table} ${name}`];
      if (kind === "chain") return [`add chain ${table} ${name}`];
      if (kind !== undefined || line === "" || line.startsWith("type ")) return [];
      if (line === "}") {
        chain = "";
        return [];
      }
      return chain === "" ? [line] : [`add rule ${table} ${chain} ${line}`];
    });
  }

  #do(line: string): void {
    const [, how, what, name, rest = ""] = /^(add|delete|flush) (\w+) (\w+ \w+) ?(.*)$/.exec(line) ?? [];
    if (name === undefined) throw new Error(`not understood: ${line}`);
    if (what === "table") {
      if (how === "delete") this.#tables.delete(name);
      else if (!this.#tables.has(name)) this.#tables.set(name, { sets: new Map(), chains: new Map() });
      return;
    }
    const table = this.#tables.get(name);
    if (table === undefined) throw new Error(`no such table: ${line}`);
    const { sets, chains } = table;
    const [, subject = "", text = ""] = /^(\S+) ?(.*)$/.exec(rest) ?? [];
    if (what === "set") sets.set(subject, new Map());
    else if (what === "chain" && how === "add") chains.set(subject, chains.get(subject) ?? []);
    else if (what === "rule") chains.get(subject)!.push(text);
    else if (how === "flush") chains.get(subject)!.length = 0;
    else if (what === "chain") {
      if (!chains.delete(subject)) throw new Error(`no such chain: ${line}`);
    } else {
      const elements = sets.get(subject)!;
      for (const element of text.slice(2, -2).split(", ")) {
        const [key = "", value = ""] = element.split(" : ");
        if (how === "delete" && !elements.delete(key)) throw new Error(`no element ${key}: ${line}`);
        if (how === "add" && elements.has(key) && elements.get(key) !== value)
          throw new Error(`there is ${key}: ${line}`);
        if (how === "add") elements.set(key, value);
      }
    }
  }
}

/** The host's network, as a kernel keeps it: what hangs on a device ends with it. */
export class ModelHost {
  readonly links = new Map<string, HostLink>();
  readonly addresses = new Map<string, true>();
  readonly routes = new Map<string, HostRoute>();
  readonly neighbours = new Map<string, string>();
  readonly forwarding = new Map<string, string>();
  readonly returnTables = new Map<string, true>();

  get network(): HostNetwork {
    return { ...this, addresses: new Set(this.addresses.keys()), returnTables: new Set(this.returnTables.keys()) };
  }

  deleteLink(name: string): void {
    this.links.delete(name);
    for (const map of [this.addresses, this.neighbours, this.forwarding])
      for (const key of map.keys()) if (unpair(key)[0] === name) map.delete(key);
    for (const [key, { device }] of this.routes) if (device === name) this.routes.delete(key);
  }

  carryOut(plan: HostPlan, links: HostNetwork["links"]): void {
    for (const name of plan.deleteLinks) this.deleteLink(name);
    for (const name of [...plan.createLinks, ...plan.changeLinks]) {
      const link = links.get(name)!;
      // The kernel doesn't tell "any address".
      const vxlan = link.vxlan && { ...link.vxlan, local: link.vxlan.local.replace(/^::$/, "") };
      this.links.set(name, vxlan === undefined ? link : { ...link, vxlan });
    }
    for (const entry of plan.dropEntries) {
      const device = entry.kind === "route" ? entry.route.device : entry.kind === "rule" ? undefined : entry.device;
      if (device !== undefined && !this.links.has(device)) throw new Error(`no device ${device}`);
      if (entry.kind === "route") this.routes.delete(routeKey(entry.route));
      else if (entry.kind === "neighbour") this.neighbours.delete(pair(entry.device, entry.address));
      else if (entry.kind === "forwarding") this.forwarding.delete(pair(entry.device, entry.mac));
      else if (entry.kind === "address") this.addresses.delete(pair(entry.device, entry.address));
      else this.returnTables.delete(pair(String(entry.family), String(entry.table)));
    }
    for (const entry of plan.addEntries) {
      const device = entry.kind === "route" ? entry.route.device : entry.kind === "rule" ? undefined : entry.device;
      if (device !== undefined && !this.links.has(device)) throw new Error(`no device ${device}`);
      if (entry.kind === "route") this.routes.set(routeKey(entry.route), entry.route);
      else if (entry.kind === "neighbour") this.neighbours.set(pair(entry.device, entry.address), entry.mac);
      else if (entry.kind === "forwarding") this.forwarding.set(pair(entry.device, entry.mac), entry.destination);
      else if (entry.kind === "address") this.addresses.set(pair(entry.device, entry.address), true);
      else this.returnTables.set(pair(String(entry.family), String(entry.table)), true);
    }
  }
}
