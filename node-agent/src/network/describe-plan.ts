/** Pure: no clock, no I/O, no randomness. */
import type { HostRoute } from "./host-network.ts";
import type { Entry, HostPlan } from "./plan-host.ts";

/** What an audit names: `subject` is a kind of thing, `detail` a sentence about one. */
export interface Finding {
  readonly subject: string;
  readonly detail: string;
}

/** The differences that a plan would mend, in words. */
export function describePlan(plan: HostPlan): readonly Finding[] {
  const device = (name: string, what: string): Finding => ({ subject: "device", detail: `${name} ${what}` });
  const made = new Set(plan.createLinks);
  const gone = new Set(plan.deleteLinks);
  // What hangs on a device that is missing is missing with it.
  const ofMissing = (entry: Entry) => "device" in entry && made.has(entry.device);
  return [
    ...plan.deleteLinks.filter((name) => !made.has(name)).map((name) => device(name, "should not be there")),
    ...plan.createLinks.map((name) => device(name, gone.has(name) ? "is of another kind" : "is missing")),
    ...plan.changeLinks.map((name) => device(name, "has another bridge, MTU or address than it should")),
    ...plan.dropEntries.map((entry) => describeEntry(entry, "should not be there")),
    ...plan.addEntries
      .filter((entry) => !ofMissing(entry))
      .map((entry) => describeEntry(entry, "is missing, or differs")),
  ];
}

/** Changes that would mend eBPF maps, a sentence for each map. */
export function describeMaps(changes: readonly { readonly map: string }[]): readonly string[] {
  return [...new Set(changes.map(({ map }) => map))].map((map) => {
    const count = changes.filter((change) => change.map === map).length;
    return `${count} entries of the eBPF map ${map} are not as they should be`;
  });
}

function describeEntry(entry: Entry, what: string): Finding {
  const { kind: subject } = entry;
  switch (entry.kind) {
    case "address":
      return { subject, detail: `${entry.address} on ${entry.device} ${what}` };
    case "route":
      return { subject, detail: `${routeText(entry.route)} ${what}` };
    case "neighbour":
      return { subject, detail: `${entry.address} at ${entry.mac} on ${entry.device} ${what}` };
    case "forwarding": {
      const to = entry.destination === "" ? "" : ` to ${entry.destination}`;
      return { subject, detail: `${entry.mac}${to} on ${entry.device} ${what}` };
    }
    case "rule":
      return { subject, detail: `routing rule of IPv${entry.family} replies to table ${entry.table} ${what}` };
  }
}

const routeText = ({ destination, device, gateway, table, local }: HostRoute): string =>
  `${local ? "local " : ""}${destination}${gateway === undefined ? "" : ` via ${gateway}`}${device === undefined ? "" : ` on ${device}`}${table === undefined ? "" : ` in table ${table}`}`;
